"""Arrow columns and texts: those that kernels return, null where the text is null, and texts of which some change."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from gristmill.operators.errors import ShardError

_LONGEST_TEXT = 2**31 - 1  # bytes: many kernels have positions in a text as 32-bit numbers


def check_lengths(measure: str, offsets: NDArray[np.int64]) -> None:
    """Raise ShardError where one of the texts between offsets (n + 1) is too long for the kernel of a measure."""
    size = int(np.diff(offsets).max(initial=0))
    if size > _LONGEST_TEXT:
        raise ShardError(f"{measure} measures texts below 2 GiB, this shard has one of {size:,} bytes; split it")


def text_array(texts: pa.LargeStringArray, data: NDArray[np.uint8], offsets: NDArray[np.int64]) -> pa.LargeStringArray:
    """Return other texts (n) of UTF-8 bytes and offsets (n + 1), null where `texts` (n) is."""
    array = pa.LargeStringArray.from_buffers(len(texts), pa.py_buffer(offsets), pa.py_buffer(data))
    return pc.if_else(texts.is_valid(), array, None) if texts.null_count else array


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


def replaced(texts: pa.LargeStringArray, where: Sequence[int], by: pa.LargeStringArray) -> pa.LargeStringArray:
    """Return the texts with those at the ascending positions `where` replaced."""
    pieces, start = [], 0
    for k, position in enumerate(where):
        pieces += [texts.slice(start, position - start), by.slice(k, 1)]
        start = position + 1
    return pa.concat_arrays([*pieces, texts.slice(start)])


def array_of(texts: Sequence[bytes]) -> pa.LargeStringArray:
    """Return texts (n) as an array, unchecked: what was not UTF-8 before need not be so after."""
    content = pa.array(texts, pa.large_binary())
    return pa.LargeStringArray.from_buffers(len(content), *content.buffers()[1:])


def partition_of(keys: NDArray[np.uint64], partitions: int | NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the partition (n) of uniformly distributed 64-bit keys (n): equal ranges of the upper 32 bits.

    There are as many for all keys, or so many for each (n).
    """
    return ((keys >> np.uint64(32)) * np.asarray(partitions, np.uint64) >> np.uint64(32)).astype(np.int64)
