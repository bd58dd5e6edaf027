"""Pairs of documents, as tables."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

#: Two addresses, the smaller first.
PAIRS = pa.schema([("left", pa.uint64()), ("right", pa.uint64())])


def pair_table(left: NDArray[np.uint64], right: NDArray[np.uint64]) -> pa.Table:
    """Return a table of PAIRS."""
    return pa.table([pa.array(left), pa.array(right)], schema=PAIRS)


def pair_arrays(pairs: pa.Table) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
    """Return the smaller addresses (n) of pairs and the larger ones (n)."""
    return np.asarray(pairs["left"]), np.asarray(pairs["right"])
