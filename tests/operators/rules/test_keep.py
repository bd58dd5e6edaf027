"""The keep-policy."""

import math

import numpy as np
import pyarrow as pa
import pytest
from pydantic import TypeAdapter, ValidationError

from gristmill.operators.rules.keep import Keep, rank_column, ranks


def preferred(keep, **columns):
    """Rows in the order in which they are kept."""
    table = pa.table(columns)
    unranked, rank = ranks(keep, table)
    return np.lexsort((np.arange(table.num_rows), rank, unranked)).tolist()


def test_order():
    assert preferred("first", bytes=[1, 9, 5]) == [0, 1, 2]
    assert preferred("longest", bytes=pa.array([1, 9, 5, 9], pa.uint64())) == [1, 3, 2, 0]
    assert preferred("best: q", q=[None, 0.0, math.nan, 9.0, -math.inf, math.inf]) == [5, 3, 1, 4, 0, 2]
    assert preferred("best: q", q=pa.array([0, None, -(1 << 63), (1 << 63) - 1])) == [3, 0, 2, 1]
    assert preferred("best: q", q=pa.chunked_array([[1, 2], [3]])) == [2, 1, 0]


def test_fields():
    keep = TypeAdapter(Keep)
    assert [rank_column(keep.validate_python(text)) for text in ("first", "longest", "best:  q ")] == [
        None,
        "bytes",
        "q",
    ]
    for wrong in ("last", "best:", "best: "):
        with pytest.raises(ValidationError, match='keep is first, longest or "best: COLUMN"'):
            keep.validate_python(wrong)
