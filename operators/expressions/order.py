"""Columns as 64-bit integers in the same order, on which exact quantiles, thresholds and rankings are found.

A float's bits, read as an integer, are in its order once negative numbers are complemented (Herf 2001, "Radix tricks").
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

_SIGN = np.uint64(1 << 63)


def is_ordered(type: pa.DataType) -> bool:
    """Return whether a type has order keys: booleans, integers, floats, dates, times, timestamps, durations do."""
    return bool(
        pa.types.is_boolean(type)
        or pa.types.is_integer(type)
        or pa.types.is_floating(type)
        or (pa.types.is_temporal(type) and not pa.types.is_interval(type))
    )


def order_keys(column: pa.Array | pa.ChunkedArray) -> tuple[NDArray[np.uint64], NDArray[np.bool_]]:
    """Return keys (n, uint64) in the order of the values, and a mask (n) of those not null or NaN. -0.0 equals 0.0."""
    array = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    valid = np.asarray(array.is_valid())
    if pa.types.is_floating(array.type):
        values = _plain(array, pa.float64()) + 0.0  # -0.0 + 0.0 is 0.0
        bits = values.view(np.uint64)
        negative = (bits & _SIGN) != 0
        return np.where(negative, ~bits, bits | _SIGN), valid & ~np.isnan(values)
    if pa.types.is_boolean(array.type) or pa.types.is_unsigned_integer(array.type):
        return _plain(array, pa.uint64()), valid
    if pa.types.is_signed_integer(array.type):
        return _plain(array, pa.int64()).view(np.uint64) ^ _SIGN, valid
    return _plain(array, _storage(array.type), pa.int64()).view(np.uint64) ^ _SIGN, valid


def value_of(key: int, type: pa.DataType) -> pa.Scalar:
    """Return the value that has this key: the inverse of `order_keys`."""
    bits = np.array([key], np.uint64)
    if pa.types.is_floating(type):
        plain = np.where((bits & _SIGN) != 0, bits ^ _SIGN, ~bits).view(np.float64)
        return pa.array(plain).cast(type)[0]
    if pa.types.is_boolean(type) or pa.types.is_unsigned_integer(type):
        return pa.array(bits).cast(type)[0]
    signed = pa.array((bits ^ _SIGN).view(np.int64))
    return (signed if pa.types.is_signed_integer(type) else signed.cast(_storage(type))).cast(type)[0]


def _storage(type: pa.DataType) -> pa.DataType:
    return pa.int32() if type.bit_width == 32 else pa.int64()


def _plain(array: pa.Array, *types: pa.DataType) -> NDArray[Any]:
    """Return the values after one cast or several, zero for null."""
    for type in types:
        array = array.cast(type)
    return np.asarray(pc.fill_null(array, pa.scalar(0, array.type)))
