"""Parts that are taken out of a line: citations and phrases. A line that is changed in the middle is copied first."""

# mypy: ignore-errors
from __future__ import annotations

from typing import NamedTuple

import numpy as np

from gristmill.operators.kernels.characters import INK
from gristmill.operators.kernels.compiling import kernel
from gristmill.operators.kernels.line_characters import DECIMAL, character_before
from gristmill.operators.kernels.phrases import next_phrase, width_of
from gristmill.operators.kernels.words import next_byte

#: Kinds of phrases; the first five are searched for.
SCRIPT, POLICY, ANYWHERE, AT_END, AT_START, FILLER, COUNTED, EDITED = range(8)

OPEN_BRACKETS = np.uint64(0x5B5B5B5B5B5B5B5B)
_CLOSE = 0x5D


class LineText(NamedTuple):
    """A text with the class of each byte, as `classify_characters` gives them: a whole one, or a line of it."""

    text: np.ndarray
    classes: np.ndarray


@kernel
def after_white_space(text, classes, start, end):
    """Return `end`, or where one character of white space begins that stands before it."""
    if end > start and classes[end - 1] & INK == 0:
        return character_before(text, start, end)
    return end


@kernel
def without_phrases(text, classes, left, right, phrases, room):
    """Copy text[left : right] to `room` without phrases of the kind ANYWHERE; return its length.

    One character of white space before a phrase goes with it.
    """
    size = _copy(text, classes, left, right, room, 0)
    for phrase in range(phrases.kinds[ANYWHERE], phrases.kinds[ANYWHERE + 1]):
        source, resume, end = room.text, 0, size
        size = 0
        i = next_phrase(source, resume, end, phrases, phrase)
        while i >= 0:
            size = _copy(source, room.classes, resume, after_white_space(source, room.classes, resume, i), room, size)
            resume = i + width_of(phrases, phrase)
            i = next_phrase(source, resume, end, phrases, phrase)
        size = _copy(source, room.classes, resume, end, room, size)
    return size


@kernel
def without_citations(text, classes, left, right, phrases, room):
    """Copy text[left : right] to `room` without citations; return its length, or `right - left` if it has none.

    Of a line without citations nothing is copied.
    """
    size, resume = 0, left
    i = next_byte(text, left, right, OPEN_BRACKETS)
    while i < right:
        end = _end_of_citation(text, classes, i, right, phrases)
        if end > i:
            size = _copy(text, classes, resume, i, room, size)
            resume = end
        i = next_byte(text, max(end, i + 1), right, OPEN_BRACKETS)
    if resume == left:
        return right - left
    return _copy(text, classes, resume, right, room, size)


@kernel
def _end_of_citation(text, classes, i, right, phrases):
    """Return where the citation at text[i] ends, `i` if none stands there."""
    for phrase in range(phrases.kinds[EDITED], phrases.kinds[EDITED + 1]):
        first, last = phrases.bounds[phrase], phrases.bounds[phrase + 1]
        same = i + last - first <= right
        for k in range(first, last):
            same = same and text[i + k - first] == phrases.text[k]  # in this case alone
        if same:
            return i + last - first
    end = i + 1
    while end < right and (classes[end] & DECIMAL != 0 or text[end] & 0xC0 == 0x80):
        end += 1
    return end + 1 if end < right and text[end] == _CLOSE else i


@kernel
def _copy(text, classes, start, end, room, size):
    """Append text[start : end] and its classes to room[:size]; return the new length.

    The text may be that of the room, no further ahead than `size`.
    """
    for k in range(start, end):
        room.text[size + k - start] = text[k]
        room.classes[size + k - start] = classes[k]
    return size + max(end - start, 0)
