"""Arrow columns of the arrays that kernels return, null where the text is null."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray


def column(values: NDArray[Any], texts: pa.Array, type: pa.DataType) -> pa.Array:
    """Return values (n) as an Arrow array, null where `texts` (n) is."""
    return pa.array(values, type, mask=_nulls(texts))


def hash_column(hashes: NDArray[np.uint64], texts: pa.Array) -> pa.FixedSizeBinaryArray:
    """Return 128-bit hashes (uint64[n, 2]) as binary(16), little-endian bytes, null where `texts` (n) is."""
    content = pa.py_buffer(np.ascontiguousarray(hashes, "<u8"))
    nulls = _nulls(texts)
    validity = None if nulls is None else pa.array(~nulls).buffers()[1]
    return pa.FixedSizeBinaryArray.from_buffers(pa.binary(16), len(texts), [validity, content])


def list_column(values: NDArray[Any], bounds: NDArray[np.int32], texts: pa.Array) -> pa.ListArray:
    """Return lists (n) of values (m) between bounds (n + 1), null where `texts` (n) is; a null's list is empty."""
    nulls = _nulls(texts)
    mask = None if nulls is None else pa.array(nulls)
    return pa.ListArray.from_arrays(pa.array(bounds), pa.array(values), mask=mask)


def _nulls(texts: pa.Array) -> NDArray[np.bool_] | None:
    if texts.null_count == 0:
        return None
    return np.asarray(texts.is_null())
