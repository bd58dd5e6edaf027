"""Lines and paragraphs: how lines begin and end, and both as keys by which repeats are found."""

# mypy: ignore-errors
from __future__ import annotations

from gristmill.operators.kernels.characters import INK
from gristmill.operators.kernels.compiling import kernel
from gristmill.operators.kernels.primitives import hash_128
from gristmill.operators.kernels.words import count_characters, next_newline

_LINE_FEED, _HYPHEN, _FULL_STOP = 0x0A, 0x2D, 0x2E


@kernel
def line_shapes(text, classes, length):
    """Return the shares of lines that start with a bullet and that end with an ellipsis, white space put aside.

    The text is not empty; `text` and `classes` are as `classify` left them.
    """
    lines, bullets, ellipses, start = 0, 0, 0, 0
    while start < length:
        newline = next_newline(text, start, length)
        lines += 1
        left, right = without_white_space(classes, start, newline)
        if left < right:
            bullets += _is_bullet(text, left)
        if right - left >= 3:
            ellipses += _is_three_full_stops(text, right - 3) or is_ellipsis_character(text, right - 3)
        start = newline + 1
    return bullets / lines, ellipses / lines


@kernel
def without_white_space(classes, start, end):
    """Return the span start .. end without the white space at its ends."""
    while start < end and classes[start] & INK == 0:
        start += 1
    while end > start and classes[end - 1] & INK == 0:
        end -= 1
    return start, end


@kernel
def _is_bullet(text, i):
    return text[i] == _HYPHEN or (text[i] == 0xE2 and text[i + 1] == 0x80 and text[i + 2] == 0xA2)


@kernel
def _is_three_full_stops(text, i):
    return text[i] == _FULL_STOP and text[i + 1] == _FULL_STOP and text[i + 2] == _FULL_STOP


@kernel
def is_ellipsis_character(text, i):
    """Return whether U+2026 stands at text[i]."""
    return text[i] == 0xE2 and text[i + 1] == 0x80 and text[i + 2] == 0xA6


@kernel
def split_lines(text, length, is_ascii, keys, characters):
    """Hash the lines that are not empty into `keys`, sum up their `characters`; return their number."""
    lines, start = 0, 0
    characters[0] = 0
    while start < length:
        newline = next_newline(text, start, length)
        if newline > start:
            lines = _add_piece(text, start, newline, is_ascii, keys, characters, lines)
        start = newline + 1
    return lines


@kernel
def split_paragraphs(text, classes, length, is_ascii, keys, characters):
    """Do the same for paragraphs, which two or more line feeds separate once the text is stripped of white space."""
    start, end = without_white_space(classes, 0, length)
    paragraphs = 0
    characters[0] = 0
    i = start
    while i < end:
        i = next_newline(text, i, end)
        if i == end or text[i + 1] == _LINE_FEED:
            paragraphs = _add_piece(text, start, i, is_ascii, keys, characters, paragraphs)
            while i < end and text[i] == _LINE_FEED:
                i += 1
            start = i
        else:
            i += 1
    return paragraphs


@kernel
def _add_piece(text, start, end, is_ascii, keys, characters, pieces):
    """Append text[start : end] to the pieces; return their number."""
    keys[pieces] = hash_128(text, start, end - start)[0]
    characters[pieces + 1] = characters[pieces] + (end - start if is_ascii else count_characters(text, start, end))
    return pieces + 1
