"""White-space words: class bytes for a text, bit masks of 64 of them at a time, edges by trailing zeros."""

# mypy: ignore-errors
from __future__ import annotations

import numpy as np

from gristmill.operators.kernels.buffers import PADDING
from gristmill.operators.kernels.characters import CONTENT, INK, LETTER, MARK, code_point
from gristmill.operators.kernels.compiling import kernel
from gristmill.operators.kernels.primitives import load_word, trailing_zeros

LOW_BITS = np.uint64(0x0101010101010101)
HIGH_BITS = np.uint64(0x8080808080808080)
NEWLINES = np.uint64(0x0A0A0A0A0A0A0A0A)
_GATHER = np.uint64(0x0102040810204080)  # a multiply by it brings the low bits of 8 bytes together in the top byte
_ONE = np.uint64(1)
_BYTE = np.uint64(8)
_TOP_BYTE = np.uint64(56)


@kernel
def classify(data, start, length, text, classes, table):
    """Copy data[start : start + length] to `text`, give every byte its character's class; return True if all is ASCII.

    `table` is `character_classes()`. Both outputs are uint8[length + PADDING] or longer and end in zeros (no ink).
    """
    source = data[start : start + length]  # indices that could be negative would keep the loop from being vectorised
    for k in range(length):
        text[k] = source[k]
    text[length : length + PADDING] = 0
    classes[length : length + PADDING] = 0
    _classify_ascii(text, length, classes)
    beyond = next_beyond_ascii(text, 0, length)
    _classify_beyond_ascii(text, beyond, length, classes, table)
    return beyond == length


@kernel
def _classify_ascii(text, length, classes):
    """Write what `table` holds for ASCII, by comparisons: the compiler makes vector instructions of them."""
    for k in range(length):
        c = text[k]
        letter = np.uint8((c | np.uint8(32)) - np.uint8(97)) < np.uint8(26)
        digit = np.uint8(c - np.uint8(48)) < np.uint8(10)
        control = (np.uint8(c - np.uint8(9)) < np.uint8(5)) | (np.uint8(c - np.uint8(28)) < np.uint8(4))
        mark = (c == np.uint8(35)) | (c == np.uint8(46))
        kind = np.uint8(0) if control | (c == np.uint8(32)) else INK
        kind |= (LETTER | CONTENT) if letter else np.uint8(0)
        kind |= CONTENT if digit else np.uint8(0)
        kind |= MARK if mark else np.uint8(0)
        classes[k] = kind


@kernel
def _classify_beyond_ascii(text, start, length, classes, table):
    while start < length:
        value, width = code_point(text, start, length)
        classes[start : start + width] = table[value]
        start += width
        if text[start] < 0x80:
            start = next_beyond_ascii(text, start, length)


@kernel
def next_beyond_ascii(text, start, end):
    """Return the position of the first byte >= 0x80 in text[start : end], else `end`. Reads nothing after `end`."""
    while start + 8 <= end:
        high = load_word(text, start) & HIGH_BITS
        if high != 0:
            return start + (trailing_zeros(high) >> 3)
        start += 8
    while start < end and text[start] < 0x80:
        start += 1
    return start


@kernel
def next_newline(text, start, length):
    """Return the position of the first line feed of the padded `text` at or after `start`, else `length`."""
    return next_byte(text, start, length, NEWLINES)


@kernel
def next_byte(text, start, length, repeated):
    """Do the same for the byte that the 64-bit word `repeated` is made of."""
    while start < length:
        difference = load_word(text, start) ^ repeated
        zero_bytes = (difference - LOW_BITS) & ~difference & HIGH_BITS
        if zero_bytes != 0:
            return min(start + (trailing_zeros(zero_bytes) >> 3), length)
        start += 8
    return length


@kernel
def mask_of(classes, block, bit):
    """Return a 64-bit mask of classes[block : block + 64]: bit k is set where byte k has class bit number `bit`."""
    mask = np.uint64(0)
    for k in range(8):
        low = (load_word(classes, block + 8 * k) >> np.uint64(bit)) & LOW_BITS
        mask |= ((low * _GATHER) >> _TOP_BYTE) << np.uint64(8 * k)
    return mask


@kernel
def edges_of(mask, carry):
    """Return bits where runs of ones start or end; `carry` is the last bit of the block before."""
    return mask ^ (mask << _ONE | carry)


@kernel
def first_bytes(count):
    """Return a mask of the first `count` bytes of a 64-bit word, 1 to 8."""
    return np.uint64(0xFFFFFFFFFFFFFFFF) >> np.uint64(64 - 8 * count)


@kernel
def count_characters(text, start, end):
    """Count code points in text[start : end]: bytes that do not continue a UTF-8 sequence. `text` is padded."""
    continuations = np.int64(0)
    i = start
    while i < end:
        word = load_word(text, i) & first_bytes(min(end - i, 8))
        # a continuation byte has its highest bit set and the next one clear
        continues = (word & ~(word << _ONE) & HIGH_BITS) >> np.uint64(7)
        continuations += np.int64((continues * LOW_BITS) >> _TOP_BYTE)
        i += 8
    return end - start - continuations
