"""128-bit hashes of whole texts: as they are, and normalised."""

# mypy: ignore-errors
from __future__ import annotations

import numpy as np

from gristmill.operators.kernels.buffers import PADDING
from gristmill.operators.kernels.characters import INK, LOWER_CASE_LIMIT, code_point, put_code_point
from gristmill.operators.kernels.compiling import kernel
from gristmill.operators.kernels.primitives import hash_128, longest
from gristmill.operators.kernels.words import next_beyond_ascii

_SPACE = np.uint8(32)


@kernel
def hash_texts(data, offsets):
    """Return `hash_128` of each of n texts, uint64[n, 2]. data: uint8; offsets: int64[n + 1]."""
    count = offsets.shape[0] - 1
    out = np.empty((count, 2), np.uint64)
    for d in range(count):
        out[d, 0], out[d, 1] = hash_128(data, offsets[d], offsets[d + 1] - offsets[d])
    return out


@kernel
def hash_normalized_texts(data, offsets, classes, lower):
    """Return `hash_128` (uint64[n, 2]) of n texts in lower case, runs of white space made one space, trimmed.

    data: uint8 UTF-8; offsets: int64[n + 1]; classes: `character_classes()`; lower: `lower_case()`.
    """
    count = offsets.shape[0] - 1
    size = longest(offsets)
    out = np.empty((count, 2), np.uint64)
    normalized = np.empty(size + size // 2 + PADDING, np.uint8)  # a lower case of 3 bytes may stand for a capital of 2
    for d in range(count):
        length = normalize(data, offsets[d], offsets[d + 1], normalized, classes, lower)
        out[d, 0], out[d, 1] = hash_128(normalized, 0, length)
    return out


@kernel
def normalize(data, start, end, out, classes, lower):
    """Write the normalised data[start : end] to `out`; return its length."""
    length, after_space = 0, True  # white space at the start is none
    i = start
    while i < end:
        beyond = next_beyond_ascii(data, i, end)
        length, after_space = _normalize_ascii(data[i:beyond], out, length, after_space)
        i = beyond
        while i < end and data[i] >= 0x80:
            value, width = code_point(data, i, end)
            if classes[value] & INK == 0:
                out[length] = _SPACE
                length += not after_space
                after_space = True
            else:
                length += put_lower(data[i : i + width], value, lower, out, length)
                after_space = False
            i += width
    if length > 0 and out[length - 1] == _SPACE:
        length -= 1
    return length


@kernel
def _normalize_ascii(text, out, length, after_space):
    """Append an ASCII text to `out`; return the new length and whether it ends in white space.

    Without branches: every byte is written, and a space after a space is overwritten by what follows.
    """
    for k in range(text.shape[0]):
        c = text[k]
        space = (c == _SPACE) | (np.uint8(c - np.uint8(9)) < 5) | (np.uint8(c - np.uint8(28)) < 4)
        capital = np.uint8(c - np.uint8(65)) < 26
        out[length] = _SPACE if space else c | np.uint8(32) if capital else c
        length += 1 - (space & after_space)
        after_space = space
    return length, after_space


@kernel
def put_lower(spelt, value, lower, out, at):
    """Write a character's lower case, or itself where it has none, at out[at]; return its length in bytes."""
    if value < LOWER_CASE_LIMIT and lower[value] != value:
        return put_code_point(lower[value], out, at)
    for k in range(spelt.shape[0]):
        out[at + k] = spelt[k]
    return spelt.shape[0]
