"""The keep policy: the choice of the survivor among copies. Exact and fuzzy deduplication share it."""

from __future__ import annotations

from typing import Annotated

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pydantic import AfterValidator, Field

from gristmill.operators import columns
from gristmill.operators.expressions.order import order_keys

BEST = "best:"


def _check(value: str) -> str:
    if value not in ("first", "longest") and not (value.startswith(BEST) and value.removeprefix(BEST).strip()):
        raise ValueError(f'keep is first, longest or "best: COLUMN", not {value!r}')
    return value


#: `first` keeps the smallest address, `longest` the most bytes, `best: COLUMN` the highest value (null and NaN lose).
Keep = Annotated[
    str,
    AfterValidator(_check),
    Field(description='first, longest, or "best: COLUMN" (the highest value)'),
]


def rank_column(keep: str) -> str | None:
    """Return the column whose highest value survives; None where the first document does."""
    if keep == "longest":
        return columns.BYTES
    return keep.removeprefix(BEST).strip() if keep.startswith(BEST) else None


def ranks(keep: str, documents: pa.Table) -> tuple[NDArray[np.bool_], NDArray[np.uint64]]:
    """Return a mask (n) of documents that have nothing to be ranked by, and ranks (n, uint64): smaller is better.

    Of copies the smallest (unranked, rank, address) survives. `documents` has `rank_column(keep)`.
    """
    column = rank_column(keep)
    if column is None:
        return np.zeros(documents.num_rows, np.bool_), np.zeros(documents.num_rows, np.uint64)
    keys, ranked = order_keys(documents[column])
    return ~ranked, np.where(ranked, ~keys, np.uint64(0))  # the highest value first
