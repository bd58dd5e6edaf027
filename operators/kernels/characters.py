"""Unicode code points in kernels: their classes, their lower case, and how UTF-8 spells them.

The tables follow the Unicode version of the running Python (`unicodedata.unidata_version`).
"""

# mypy: ignore-errors
from __future__ import annotations

import functools
import sys
import unicodedata

import numpy as np
from numpy.typing import NDArray

from gristmill.operators.kernels.compiling import kernel

CODE_POINTS = sys.maxunicode + 1
CLASSIFIED = 0x40000  #: above lie neither letters nor punctuation: tags, variation selectors, private use
REPLACEMENT = 0xFFFD
#: Lower case is looked up below this code point; the few scripts with case above it are left as they are.
LOWER_CASE_LIMIT = 0x10000

INK = np.uint8(1)  #: anything but white space: words are made of it
LETTER = np.uint8(2)  #: `str.isalpha`: the general categories L*
CONTENT = np.uint8(4)  #: ink that is neither punctuation (P*), nor a symbol (S*), nor a control character (Cc)
MARK = np.uint8(8)  #: "#", "." and "…": counted by Gopher's symbol-to-word ratio


@functools.cache
def character_classes() -> NDArray[np.uint8]:
    """Return bits INK, LETTER, CONTENT, MARK of every code point, by `str.isspace` and the general categories."""
    classes = np.full(CODE_POINTS, INK | CONTENT, np.uint8)
    characters = [chr(c) for c in range(CLASSIFIED)]
    kinds = {"L": INK | LETTER | CONTENT, "P": INK, "S": INK}
    classes[:CLASSIFIED] = [kinds.get(unicodedata.category(c)[0], INK | CONTENT) for c in characters]
    classes[[ord(c) for c in characters if unicodedata.category(c) == "Cc"]] = INK
    classes[[ord(c) for c in characters if c.isspace()]] = 0
    classes[[ord(c) for c in "#.…"]] |= MARK
    classes.flags.writeable = False
    return classes


@functools.cache
def lower_case() -> NDArray[np.uint32]:
    """Return the lower case of every code point below LOWER_CASE_LIMIT if it is a single code point, else itself."""
    lowered = (chr(c).lower() for c in range(LOWER_CASE_LIMIT))
    table = np.array([ord(low) if len(low) == 1 else c for c, low in enumerate(lowered)], np.uint32)
    table.flags.writeable = False
    return table


@kernel
def code_point(data, start, end):
    """Return the code point at data[start], a byte >= 0x80, and its length in bytes.

    What is not UTF-8 (a stray continuation byte, a sequence cut by `end`) reads as U+FFFD, one byte long; the values of
    continuation bytes are not checked.
    """
    lead = np.int64(data[start])
    if lead < 0xC0 or lead >= 0xF8:
        return REPLACEMENT, 1
    length = 2 + (lead >= 0xE0) + (lead >= 0xF0)
    if start + length > end:
        return REPLACEMENT, 1
    value = lead & (0x7F >> length)
    for k in range(1, length):
        value = value << 6 | np.int64(data[start + k]) & 0x3F
    if value >= CODE_POINTS:
        return REPLACEMENT, 1
    return value, length


@kernel
def put_code_point(value, out, at):
    """Write a code point below U+10000 as UTF-8 at out[at]; return its length in bytes."""
    if value < 0x80:
        out[at] = np.uint8(value)
        return 1
    last = np.uint8(0x80 | value & 0x3F)
    if value < 0x800:
        out[at] = np.uint8(0xC0 | value >> 6)
        out[at + 1] = last
        return 2
    out[at] = np.uint8(0xE0 | value >> 12)
    out[at + 1] = np.uint8(0x80 | value >> 6 & 0x3F)
    out[at + 2] = last
    return 3


@kernel
def first_characters(data, offsets, most):
    """Return the first `most` characters of each text, UTF-8 bytes and offsets int64 [n + 1], of the texts (n).

    A character goes from a byte that begins one to the next; bytes that are no UTF-8 stay as they are.
    """
    stops, total = np.empty(offsets.shape[0] - 1, np.int64), 0
    for d in range(stops.shape[0]):
        stops[d] = stop_of_characters(data, offsets[d], offsets[d + 1], most)
        total += stops[d] - offsets[d]
    cut, borders = np.empty(total, np.uint8), np.zeros(offsets.shape[0], np.int64)
    for d in range(stops.shape[0]):
        borders[d + 1] = borders[d] + stops[d] - offsets[d]
        cut[borders[d] : borders[d + 1]] = data[offsets[d] : stops[d]]
    return cut, borders


@kernel
def stop_of_characters(data, start, end, most):
    """Return the byte at which the first `most` characters of data[start : end] end."""
    left = most
    while 0 < left <= end - start:
        characters = 0
        for byte in data[start : start + left]:  # so many bytes begin as many characters at most
            characters += not continues_character(byte)
        start += left
        left -= characters
    if left > 0:
        return end
    while start < end and continues_character(data[start]):
        start += 1
    return start


@kernel
def continues_character(byte):
    """Return whether a byte of UTF-8 is not the first of its character."""
    return byte & np.uint8(0xC0) == np.uint8(0x80)
