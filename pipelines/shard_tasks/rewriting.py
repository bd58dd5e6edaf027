"""Texts as a rule changes them when they are written."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from gristmill.operators import columns
from gristmill.operators.base import Rewrite
from gristmill.operators.errors import FatalError
from gristmill.pipelines.shard_tasks.measure import lengths


def rewritten(rewrite: Rewrite, texts: pa.LargeStringArray, documents: pa.Table) -> pa.LargeStringArray:
    """Return the texts (n) of documents (n rows of `rewrite.columns` and `bytes`) as they are written.

    Raises FatalError where they are not as long as was decided.
    """
    rest = rewrite.apply(texts, documents)
    if not np.array_equal(lengths(rest), rewrite.lengths(documents)):
        raise FatalError(f"{rewrite.name} left other texts than it decided; nothing is committed: please report it")
    return rest


def written_bytes(documents: pa.Table, rewrite: Rewrite | None) -> NDArray[np.uint64]:
    """Return the UTF-8 bytes (n) of the texts of documents (n rows) as they are written."""
    measured: NDArray[np.uint64] = documents[columns.BYTES].to_numpy()
    return measured if rewrite is None else rewrite.lengths(documents)
