"""Texts that need cleaning, found at the speed of memory; line ends and control characters, put right."""

# mypy: ignore-errors
from __future__ import annotations

import numpy as np

from gristmill.operators.kernels.characters import code_point
from gristmill.operators.kernels.compiling import kernel
from gristmill.operators.kernels.words import next_beyond_ascii

#: Bit of an inspection: the text holds what `clean_texts` takes away.
UNCLEAN = np.uint64(1)

_TAB, _LINE_FEED, _VERTICAL_TAB, _FORM_FEED, _CARRIAGE_RETURN, _SPACE, _DELETE = 9, 10, 11, 12, 13, 32, 127


@kernel
def inspect_texts(data, offsets, class_of, as_first, as_second):
    """Return which clues each of n texts holds: uint64[n], bit UNCLEAN and the bits of pairs of characters that occur.

    class_of: uint8[0x110000], a class for every code point; a character of class a followed by one of class b gives the
    bits as_first[a] & as_second[b] (uint64). Only pairs whose first or second is beyond ASCII are looked at; the
    character before a text is a space.
    """
    count = offsets.shape[0] - 1
    clues = np.zeros(count, np.uint64)
    for d in range(count):
        start, end = offsets[d], offsets[d + 1]
        if _has_control(data[start:end]):
            clues[d] |= UNCLEAN
        i = next_beyond_ascii(data, start, end)
        while i < end:
            before = class_of[data[i - 1] if i > start else _SPACE]
            while i < end and data[i] >= 0x80:
                value, width = code_point(data, i, end)
                if _is_separator(value):
                    clues[d] |= UNCLEAN
                kind = class_of[value]
                clues[d] |= as_first[before] & as_second[kind]
                before = kind
                i += width
            if i < end:
                clues[d] |= as_first[before] & as_second[class_of[data[i]]]
                i = next_beyond_ascii(data, i, end)
    return clues


@kernel
def _has_control(text):
    """Return whether there is an ASCII control character but tab and line feed. No branches: it is vectorised."""
    result = False
    for k in range(text.shape[0]):
        c = text[k]
        result |= ((c < _SPACE) & (c != _TAB) & (c != _LINE_FEED)) | (c == _DELETE)
    return result


@kernel
def _is_separator(value):
    """Return whether a code point is U+2028 LINE SEPARATOR or U+2029 PARAGRAPH SEPARATOR."""
    return value == 0x2028 or value == 0x2029


@kernel
def clean_texts(data, offsets, unclean):
    """Clean the texts for which bool[n] `unclean` is set, copy the others; return new data and offsets.

    CR LF, CR, VT, FF, U+2028 and U+2029 become a line feed; other ASCII control characters but tab and line feed go.
    """
    count = offsets.shape[0] - 1
    out = np.empty(offsets[count] - offsets[0], np.uint8)
    new_offsets = np.zeros(count + 1, np.int64)
    size = 0
    for d in range(count):
        text = data[offsets[d] : offsets[d + 1]]
        if unclean[d]:
            size += _clean(text, out[size:])
        else:
            out[size : size + text.shape[0]] = text
            size += text.shape[0]
        new_offsets[d + 1] = size
    return out[:size], new_offsets


@kernel
def _clean(text, out):
    size, i, end = 0, 0, text.shape[0]
    while i < end:
        c, width = np.int64(text[i]), 1
        if c == 0xE2:
            value, width = code_point(text, i, end)
            if _is_separator(value):
                c, width = _LINE_FEED, 3
            else:
                width = 1
        elif c < _SPACE or c == _DELETE:
            if c == _CARRIAGE_RETURN and i + 1 < end and text[i + 1] == _LINE_FEED:
                width = 2
            if _VERTICAL_TAB <= c <= _CARRIAGE_RETURN:
                c = _LINE_FEED
            if c != _LINE_FEED and c != _TAB:
                i += 1
                continue
        out[size] = c
        size += 1
        i += width
    return size
