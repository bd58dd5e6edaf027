"""Paragraphs and lines of a text: their hashes, and the text without some of them.

A piece is a paragraph or a line. A line ends with its line feed, and is blank where it holds nothing but white space. A
paragraph is a run of lines that are not blank, with the blank lines after it; by line, every line that is not blank is
a piece. So pieces never overlap, and what is in none of them is blank.
"""

# mypy: ignore-errors
from __future__ import annotations

import numpy as np

from gristmill.operators.kernels.buffers import PADDING
from gristmill.operators.kernels.characters import INK, code_point
from gristmill.operators.kernels.compiling import kernel
from gristmill.operators.kernels.hashes import normalize
from gristmill.operators.kernels.primitives import hash_128, longest
from gristmill.operators.kernels.words import count_characters, next_newline

UNCOUNTED = np.uint64(0)  #: in the place of the hash of a piece that is too short to be counted

_LINE_FEED = 0x0A


@kernel
def hash_pieces(data, offsets, by_line, min_characters, classes, lower):
    """Return the hashes (uint64[m]) and byte lengths (uint64[m]) of the pieces of n texts, and bounds (int32[n + 1]).

    A hash is half of `hash_128` of the piece, normalised as `hash_normalized_texts` does it; UNCOUNTED where that has
    fewer than `min_characters` code points. Lengths are those of the pieces as they are, all their bytes counted.

    data: uint8 UTF-8; offsets: int64[n + 1]; classes: `character_classes()`; lower: `lower_case()`.
    """
    count = offsets.shape[0] - 1
    size = longest(offsets)
    text = np.empty(size + PADDING, np.uint8)
    normalized = np.empty(size + size // 2 + PADDING, np.uint8)  # a lower case of 3 bytes may stand for a capital of 2
    most = (offsets[count] - offsets[0]) // 2 + count  # only the last piece of a text may be a single byte
    hashes, lengths, bounds = np.empty(most, np.uint64), np.empty(most, np.uint64), np.zeros(count + 1, np.int32)
    pieces = 0
    for d in range(count):
        length = _append(data, offsets[d], offsets[d + 1], text, 0)
        start, end = _next_piece(text, 0, length, by_line, classes)
        while start < length:
            short = normalize(data, offsets[d] + start, offsets[d] + end, normalized, classes, lower)
            counted = count_characters(normalized, 0, short) >= min_characters
            hashes[pieces] = max(hash_128(normalized, 0, short)[0], np.uint64(1)) if counted else UNCOUNTED
            lengths[pieces] = end - start
            pieces += 1
            start, end = _next_piece(text, end, length, by_line, classes)
        bounds[d + 1] = pieces
    return hashes[:pieces].copy(), lengths[:pieces].copy(), bounds


@kernel
def remove_pieces(data, offsets, by_line, positions, bounds, classes):
    """Remove pieces from n texts, the rest staying byte for byte; return new data and offsets.

    positions: uint32[m], which pieces go, ascending for each text; bounds: int32[n + 1], where each text's begin.
    """
    count = offsets.shape[0] - 1
    out = np.empty(offsets[count] - offsets[0], np.uint8)
    new_offsets = np.zeros(count + 1, np.int64)
    text = np.empty(longest(offsets) + PADDING, np.uint8)
    size = 0
    for d in range(count):
        if bounds[d] == bounds[d + 1]:
            size = _append(data, offsets[d], offsets[d + 1], out, size)
        else:
            length = _append(data, offsets[d], offsets[d + 1], text, 0)
            gone = positions[bounds[d] : bounds[d + 1]]
            size = _append_rest(text, length, by_line, gone, classes, out, size)
        new_offsets[d + 1] = size
    return out[:size], new_offsets


@kernel
def _append_rest(text, length, by_line, gone, classes, out, written):
    """Append text[:length] without the pieces at `gone` to out[:written]; return its new length."""
    piece, rest_start, start, end = -1, 0, 0, 0
    for position in gone:
        while piece < position:
            start, end = _next_piece(text, end, length, by_line, classes)
            piece += 1
        written = _append(text, rest_start, start, out, written)
        rest_start = end
    return _append(text, rest_start, length, out, written)


@kernel
def _append(source, start, end, out, written):
    """Append source[start : end] to out[:written]; return its new length."""
    out[written : written + end - start] = source[start:end]
    return written + end - start


@kernel
def _next_piece(text, start, length, by_line, classes):
    """Return the bounds of the first piece at or after `start`, which begins a line; `length` twice without one.

    `text` is padded.
    """
    start = _skip_blank_lines(text, start, length, classes)
    end = min(next_newline(text, start, length) + 1, length)
    while not by_line and end < length:
        behind = _skip_blank_lines(text, end, length, classes)
        if behind != end:
            return start, behind
        end = min(next_newline(text, end, length) + 1, length)
    return start, end


@kernel
def _skip_blank_lines(text, start, length, classes):
    """Return the start of the first line that is not blank, or `length`. `start` begins a line."""
    i = start
    while i < length:
        value, width = (np.int64(text[i]), 1) if text[i] < 0x80 else code_point(text, i, length)
        if classes[value] & INK != 0:
            return start
        i += width
        if value == _LINE_FEED:
            start = i
    return length
