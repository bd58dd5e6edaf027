"""Texts without the lines that rules take: `gristmill.operators.transforms.clean_lines` says what each rule is.

A line is looked at where it stands in the text. Where something is taken out of the middle of it, it is copied to a
buffer of its own first.
"""

# mypy: ignore-errors
from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from gristmill.operators.kernels.buffers import PADDING
from gristmill.operators.kernels.characters import CONTENT, INK, code_point
from gristmill.operators.kernels.compiling import kernel
from gristmill.operators.kernels.line_characters import (
    DECIMAL,
    DIGIT,
    UPPER,
    character_before,
    classify_characters,
    count_class,
    count_words,
    without_white_space,
)
from gristmill.operators.kernels.phrases import Phrases, kinds_within, next_phrase, stands_at
from gristmill.operators.kernels.primitives import longest
from gristmill.operators.kernels.words import count_characters, next_newline

#: What takes a line, by the number that kernels have for it; nothing takes those of number 0.
TAKERS = (
    "",
    "max_empty_lines",
    "max_word_length",
    "citations",
    "end_marks",
    "ellipses",
    "max_uppercase",
    "max_digits",
    "counters",
    "min_words",
    "script_words",
    "policy_phrases",
    "cut_anywhere",
    "cut_at_end",
    "cut_at_start",
)
_KEPT, _MAX_EMPTY_LINES, _MAX_WORD_LENGTH, _CITATIONS, _END_MARKS, _ELLIPSES = range(6)
_MAX_UPPERCASE, _MAX_DIGITS, _COUNTERS, _MIN_WORDS, _SCRIPT_WORDS, _POLICY_PHRASES = range(6, 12)
_CUT_ANYWHERE, _CUT_AT_END, _CUT_AT_START = range(12, 15)

#: Kinds of phrases, as bits.
SCRIPT, POLICY, ANYWHERE = np.uint8(1), np.uint8(2), np.uint8(4)

_LINE_FEED, _FULL_STOP, _COMMA, _OPEN, _CLOSE, _CURLY = 0x0A, 0x2E, 0x2C, 0x5B, 0x5D, 0x7B


class LineRules(NamedTuple):
    """What a line must be to stay, in the order in which it is looked at."""

    strip: bool  #: white space at both ends of a line goes first, and at the end that of the text
    max_empty_lines: int  #: in a row; -1: any number
    max_word_length: int  #: characters
    citations: bool  #: they are taken out of lines
    end_marks: NDArray[np.int64]  #: code points; none: a line may end as it likes
    ellipses: bool  #: lines that end in three full stops go
    max_uppercase: float
    max_digits: float
    counters: Phrases  #: what is counted
    min_words: int
    phrases: Phrases  #: of the kinds SCRIPT, POLICY and ANYWHERE
    page_marks: Phrases  #: what `c4_rules` drops the page for
    at_end: Phrases
    at_start: Phrases
    cut_max_words: int  #: nothing is cut from longer lines
    edited: Phrases  #: `[edit]` and `[citation needed]`, as they are spelt here


class _Text(NamedTuple):
    """A text with the class of each byte, as `classify_characters` gives them: a whole one, or a line of it."""

    text: np.ndarray
    classes: np.ndarray


@kernel
def clean_texts_by_line(data, offsets, rules, table, takers):
    """Take lines from n texts; return new data, offsets, and the words of each text (int64[n]) before and after.

    data: uint8 UTF-8; offsets: int64[n + 1]; table: `line_classes()`; takers: uint8[lines of all texts], set to what
    takes each line, or uint8[0].
    """
    count = offsets.shape[0] - 1
    size = longest(offsets) + PADDING
    whole = _Text(np.empty(size, np.uint8), np.empty(size, np.uint8))
    room = _Text(np.empty(size, np.uint8), np.empty(size, np.uint8))
    out = np.empty(offsets[count] - offsets[0], np.uint8)
    new_offsets = np.zeros(count + 1, np.int64)
    before, after = np.zeros(count, np.int64), np.zeros(count, np.int64)
    written, lines = 0, 0
    for d in range(count):
        length = offsets[d + 1] - offsets[d]
        if length > 0:
            is_ascii = classify_characters(data, offsets[d], length, whole.text, whole.classes, table)
            before[d] = count_words(whole.classes, 0, length)
            size, lines, lost = _clean(whole, length, is_ascii, room, rules, out[written:], takers, lines)
            after[d] = before[d] - lost
            written += size
        new_offsets[d + 1] = written
    return out[:written], new_offsets, before, after


@kernel
def _clean(whole, length, is_ascii, room, rules, out, takers, lines):
    """Write the lines of a text that stay to `out`; return their bytes, the number of lines, and the words lost."""
    text, classes = whole.text, whole.classes
    size, kept, lost, empty_lines = 0, 0, 0, 0
    content = 0  # bytes up to the last ink where the ends of a text are stripped
    start = 0
    while start <= length:
        newline = next_newline(text, start, length)
        taker, in_room, left, right = _judge(text, classes, start, newline, is_ascii, room, rules)
        if taker == _KEPT and left == right:
            empty_lines += 1
            if rules.max_empty_lines >= 0 and empty_lines > rules.max_empty_lines:
                taker = _MAX_EMPTY_LINES
        elif taker == _KEPT:
            empty_lines = 0
        if taker == _KEPT:
            line = room if in_room else whole
            if in_room or right - left < newline - start:
                lost += count_words(classes, start, newline) - count_words(line.classes, left, right)
            if rules.strip and content == 0:
                left = without_white_space(line.text, line.classes, left, right)[0]
            if left < right or content > 0 or not rules.strip:
                if kept > 0:
                    out[size] = _LINE_FEED
                    size += 1
                out[size : size + right - left] = line.text[left:right]
                size += right - left
                kept += 1
                if not rules.strip:
                    content = size
                elif left < right:
                    content = size - (right - without_white_space(line.text, line.classes, left, right)[1])
        else:
            lost += count_words(classes, start, newline)
        if takers.shape[0] > 0:
            takers[lines] = taker
        lines += 1
        start = newline + 1
    return content, lines, lost


@kernel
def _judge(text, classes, start, end, is_ascii, room, rules):
    """Return what takes the line text[start : end], and what of it stays: whether it stands in `room`, and where."""
    left, right = without_white_space(text, classes, start, end) if rules.strip else (start, end)
    if left == right:
        return _KEPT, False, left, right
    if right - left > rules.max_word_length and _longest_word(text, classes, left, right) > rules.max_word_length:
        return _MAX_WORD_LENGTH, False, left, right
    few = _has_fewer_words(classes, left, right, rules.min_words)
    in_room = False
    if rules.citations:
        size = _without_citations(text, classes, left, right, rules.edited, room)
        if size < right - left:
            in_room, text, classes, left, right = True, room.text, room.classes, 0, size
            if _is_blank(classes, left, right):
                return _CITATIONS, in_room, left, right
    if rules.end_marks.shape[0] > 0 and not _ends_in(text, left, right, rules.end_marks):
        return _END_MARKS, in_room, left, right
    if rules.ellipses and _ends_in_full_stops(text, left, right):
        return _ELLIPSES, in_room, left, right
    if rules.max_uppercase < 1.0 or rules.max_digits < 1.0:
        characters = right - left if is_ascii else count_characters(text, left, right)
        if count_class(classes, left, right, UPPER) / characters > rules.max_uppercase:
            return _MAX_UPPERCASE, in_room, left, right
        digits = count_class(classes, left, right, DIGIT)
        if digits / characters > rules.max_digits:
            return _MAX_DIGITS, in_room, left, right
    if rules.counters.kinds.shape[0] > 0 and _is_counter(text, classes, left, right, rules.counters):
        return _COUNTERS, in_room, left, right
    if few:
        return _MIN_WORDS, in_room, left, right
    kinds = kinds_within(text, left, right, rules.phrases)
    if kinds & (SCRIPT | POLICY) != 0:
        # what is dropped for the whole page is left for the page's rules to see, as C4's code has it
        marks = kinds_within(text, left, right, rules.page_marks)
        if kinds & SCRIPT != 0 and marks == 0:
            return _SCRIPT_WORDS, in_room, left, right
        if kinds & POLICY != 0 and marks == 0 and not _holds(text, left, right, _CURLY):
            return _POLICY_PHRASES, in_room, left, right
    return _cut(text, classes, left, right, in_room, room, kinds & ANYWHERE != 0, rules)


@kernel
def _cut(text, classes, left, right, in_room, room, anywhere, rules):
    """Cut phrases from a short line; return the same as `_judge`."""
    if anywhere and _has_fewer_words(classes, left, right, rules.cut_max_words + 1):
        right = _without_phrases(text, classes, left, right, rules.phrases, room)
        in_room, text, classes, left = True, room.text, room.classes, 0
        if _is_blank(classes, left, right):
            return _CUT_ANYWHERE, in_room, left, right
    for phrase in range(rules.at_end.kinds.shape[0]):
        end = without_white_space(text, classes, left, right)[1]
        i = end - (rules.at_end.bounds[phrase + 1] - rules.at_end.bounds[phrase])
        stands = stands_at(text, i, left, end, rules.at_end, phrase)
        if stands and _has_fewer_words(classes, left, right, rules.cut_max_words + 1):
            right = _after_white_space(text, classes, left, i)
            if _is_blank(classes, left, right):
                return _CUT_AT_END, in_room, left, right
    for phrase in range(rules.at_start.kinds.shape[0]):
        i = without_white_space(text, classes, left, right)[0]
        stands = stands_at(text, i, left, right, rules.at_start, phrase)
        if stands and _has_fewer_words(classes, left, right, rules.cut_max_words + 1):
            left = i + rules.at_start.bounds[phrase + 1] - rules.at_start.bounds[phrase]
            if left < right and classes[left] & INK == 0:
                left += code_point(text, left, right)[1] if text[left] >= 0x80 else 1
            if _is_blank(classes, left, right):
                return _CUT_AT_START, in_room, left, right
    return _KEPT, in_room, left, right


@kernel
def _after_white_space(text, classes, start, end):
    """Return `end`, or where one character of white space begins that stands before it."""
    if end > start and classes[end - 1] & INK == 0:
        return character_before(text, start, end)
    return end


@kernel
def _without_phrases(text, classes, left, right, phrases, room):
    """Copy text[left : right] to `room` without phrases of the kind ANYWHERE; return its length.

    One character of white space before a phrase goes with it.
    """
    size = _copy(text, classes, left, right, room, 0)
    for phrase in range(phrases.kinds.shape[0]):
        if phrases.kinds[phrase] != ANYWHERE:
            continue
        width = phrases.bounds[phrase + 1] - phrases.bounds[phrase]
        source, resume, end = room.text, 0, size
        size = 0
        i = next_phrase(source, resume, end, phrases, phrase)
        while i >= 0:
            size = _copy(source, room.classes, resume, _after_white_space(source, room.classes, resume, i), room, size)
            resume = i + width
            i = next_phrase(source, resume, end, phrases, phrase)
        size = _copy(source, room.classes, resume, end, room, size)
    return size


@kernel
def _without_citations(text, classes, left, right, edited, room):
    """Copy text[left : right] to `room` without citations; return its length, or `right - left` if it has none.

    Of a line without citations nothing is copied.
    """
    size, resume = 0, left
    i = left
    while i < right:
        if text[i] == _OPEN:
            end = _end_of_citation(text, classes, i, right, edited)
            if end > i:
                size = _copy(text, classes, resume, i, room, size)
                resume = i = end
                continue
        i += 1
    if resume == left:
        return right - left
    return _copy(text, classes, resume, right, room, size)


@kernel
def _end_of_citation(text, classes, i, right, edited):
    """Return where the citation at text[i] ends, `i` if none stands there."""
    for phrase in range(edited.kinds.shape[0]):
        first, last = edited.bounds[phrase], edited.bounds[phrase + 1]
        same = i + last - first <= right
        for k in range(first, last):
            same = same and text[i + k - first] == edited.text[k]
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


@kernel
def _longest_word(text, classes, left, right):
    """Return the characters of the longest word of a line."""
    most, characters = 0, 0
    for k in range(left, right):
        if classes[k] & INK == 0:
            characters = 0
        elif text[k] & 0xC0 != 0x80:
            characters += 1
            most = max(most, characters)
    return most


@kernel
def _has_fewer_words(classes, left, right, least):
    """Return whether a line has fewer words than `least`; reads no further than it must."""
    words, ink = 0, False
    for k in range(left, right):
        if words >= least:
            return False
        has_ink = classes[k] & INK != 0
        words += has_ink and not ink
        ink = has_ink
    return words < least


@kernel
def _is_blank(classes, left, right):
    return count_words(classes, left, right) == 0


@kernel
def _holds(text, left, right, byte):
    result = False
    for k in range(left, right):
        result |= text[k] == byte
    return result


@kernel
def _ends_in(text, left, right, marks):
    """Return whether the last character of a line is one of `marks`."""
    i = character_before(text, left, right)
    value = np.int64(text[i]) if text[i] < 0x80 else code_point(text, i, right)[0]
    result = False
    for mark in marks:
        result |= mark == value
    return result


@kernel
def _ends_in_full_stops(text, left, right):
    if right - left < 3:
        return False
    return text[right - 1] == _FULL_STOP and text[right - 2] == _FULL_STOP and text[right - 3] == _FULL_STOP


@kernel
def _is_counter(text, classes, left, right, counters):
    r"""Return whether all content of a line is `\d[\d,.]*[kmb]?\s+(...)`, with what `counters` has in the brackets."""
    i = left
    while i < right and classes[i] & CONTENT == 0:
        i += 1
    if i == right or classes[i] & DECIMAL == 0:
        return False
    while i < right and (classes[i] & DECIMAL != 0 or text[i] & 0xC0 == 0x80 or text[i] in (_COMMA, _FULL_STOP)):
        i += 1
    if i < right and text[i] | 0x20 in (0x6B, 0x6D, 0x62):  # k, m, b
        i += 1
    spaces = i
    while i < right and classes[i] & INK == 0:
        i += 1
    if i == spaces:
        return False
    for phrase in range(counters.kinds.shape[0]):
        if stands_at(text, i, left, right, counters, phrase):
            end = i + counters.bounds[phrase + 1] - counters.bounds[phrase]
            while end < right and classes[end] & CONTENT == 0:
                end += 1
            if end == right:
                return True
    return False
