"""Building blocks of the kernels: wide multiplies, unaligned loads, word and document hashes.

The hashes mix 8 bytes at a time by a 64x64 -> 128-bit multiply whose halves are folded together, as wyhash does
(https://github.com/wangyi-fudan/wyhash). They are gristmill's own: stable across machines and versions, not
cryptographic.
"""

# mypy: ignore-errors
from __future__ import annotations

import numpy as np

from gristmill.operators.kernels.compiling import kernel

SECRET_0 = np.uint64(0xA0761D6478BD642F)
SECRET_1 = np.uint64(0xE7037ED1A0B428DB)
SECRET_2 = np.uint64(0x8EBC6AF09C88C6E3)
GOLDEN = np.uint64(0x9E3779B97F4A7C15)

_ONES = np.uint64(0xFFFFFFFFFFFFFFFF)


# The next six are instructions: `numba_backend` says which, and only kernels can call them.


def multiply_fold(a, b):
    """Return high half xor low half of the 128-bit product of two uint64."""
    raise NotImplementedError


def load_word(array, index):
    """Return the 8 bytes index .. index + 7 of a uint8 array as a little-endian uint64, aligned or not."""
    raise NotImplementedError


def load_float32(array, index):
    """Return the little-endian float32 that starts at byte `index` of a uint8 array, aligned or not."""
    raise NotImplementedError


def prefetch(array, index):
    """Prefetch the cache line that holds byte `index` of an array's data; never fault, whatever the index."""
    raise NotImplementedError


def trailing_zeros(a):
    """Return the index of the lowest set bit of a uint64 (64 for zero)."""
    raise NotImplementedError


def bytes_with(array, index, bits):
    """Return a 64-bit mask of the bytes index .. index + 63 of a uint8 array: which have one of the `bits`, a uint8."""
    raise NotImplementedError


@kernel
def hash_word(data, start, length):
    """Return a 64-bit hash of data[start : start + length], length >= 1. May read 8 bytes past the end: pad `data`."""
    h = np.uint64(length) * SECRET_0
    while length > 8:
        h = multiply_fold(h ^ load_word(data, start), SECRET_1)
        start += 8
        length -= 8
    tail = load_word(data, start) & (_ONES >> np.uint64(64 - 8 * length))
    return multiply_fold(h ^ tail, SECRET_1)


@kernel
def hash_128(data, start, length):
    """Return a 128-bit hash (two uint64) of data[start : start + length], in four lanes. Never reads past the end."""
    n = np.uint64(length)
    h0, h1, h2, h3 = n * SECRET_0, SECRET_1 ^ n, SECRET_2, GOLDEN
    i, end = start, start + length
    while i + 32 <= end:
        h0 = multiply_fold(h0 ^ load_word(data, i), SECRET_1)
        h1 = multiply_fold(h1 ^ load_word(data, i + 8), SECRET_2)
        h2 = multiply_fold(h2 ^ load_word(data, i + 16), GOLDEN)
        h3 = multiply_fold(h3 ^ load_word(data, i + 24), SECRET_0)
        i += 32
    while i + 8 <= end:
        word = load_word(data, i)
        h0 = multiply_fold(h0 ^ word, SECRET_1)
        h1 = multiply_fold(h1 ^ word, SECRET_2)
        i += 8
    tail, shift = np.uint64(0), np.uint64(0)
    while i < end:
        tail |= np.uint64(data[i]) << shift
        shift += np.uint64(8)
        i += 1
    h0 = multiply_fold(h0 ^ tail, SECRET_1)
    h1 = multiply_fold(h1 ^ tail, SECRET_2)
    return multiply_fold(h0 ^ h2, SECRET_2 ^ h1) ^ h3, multiply_fold(h1 ^ h3, SECRET_0 ^ h0) ^ h2


@kernel
def longest(offsets):
    """Return the bytes of the longest text: how much scratch a batch needs."""
    most = 0
    for d in range(offsets.shape[0] - 1):
        most = max(most, offsets[d + 1] - offsets[d])
    return most
