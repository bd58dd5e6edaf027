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
    next_of_class,
)
from gristmill.operators.kernels.line_edits import (
    ANYWHERE,
    AT_END,
    AT_START,
    COUNTED,
    FILLER,
    OPEN_BRACKETS,
    POLICY,
    SCRIPT,
    LineText,
    after_white_space,
    without_citations,
    without_phrases,
)
from gristmill.operators.kernels.lines import without_white_space
from gristmill.operators.kernels.phrases import Phrases, kinds_within, next_phrase, stands_at, width_of
from gristmill.operators.kernels.primitives import longest
from gristmill.operators.kernels.words import count_characters, next_byte, next_newline

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

_LINE_FEED, _FULL_STOP, _COMMA, _CURLY = 0x0A, 0x2E, 0x2C, 0x7B


class LineShape(NamedTuple):
    """Conditions under which a line stays, by its characters."""

    strip: bool  #: white space at both ends of a line goes first, and at the end that of the text
    max_empty_lines: int  #: in a row; -1: any number
    max_word_length: int  #: characters
    citations: bool  #: they are taken out of lines
    ellipses: bool  #: lines that end in three full stops go
    max_uppercase: float
    max_digits: float
    counters: bool  #: lines go that count phrases of the kind COUNTED
    min_words: int
    cut_max_words: int  #: nothing is cut from longer lines


class LineRules(NamedTuple):
    """All that decides whether a line stays. Kernels that see every line take no more of it than they need."""

    shape: LineShape
    end_marks: NDArray[np.int64]  #: code points; none: a line may end as it likes
    phrases: Phrases  #: of the kinds SCRIPT to EDITED


@kernel
def clean_texts_by_line(data, offsets, rules, table, takers):
    """Take lines from n texts; return new data, offsets, and the words of each text (int64[n]) before and after.

    data: uint8 UTF-8; offsets: int64[n + 1]; table: `line_classes()`; takers: uint8[lines of all texts], set to what
    takes each line, or uint8[0].
    """
    count = offsets.shape[0] - 1
    size = longest(offsets) + PADDING
    whole = LineText(np.empty(size, np.uint8), np.empty(size, np.uint8))
    room = LineText(np.empty(size, np.uint8), np.empty(size, np.uint8))
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
    text, classes, shape, end_marks = whole.text, whole.classes, rules.shape, rules.end_marks
    size, kept, lost, empty_lines = 0, 0, 0, 0
    content = 0  # bytes up to the last ink where the ends of a text are stripped
    phrases_occur = kinds_within(text, 0, length, rules.phrases) != 0
    citations_occur = shape.citations and next_byte(text, 0, length, OPEN_BRACKETS) < length
    start = 0
    while start <= length:
        newline = next_newline(text, start, length)
        left, right = without_white_space(classes, start, newline) if shape.strip else (start, newline)
        close_look = phrases_occur or citations_occur
        close_look = close_look or (shape.counters and _begins_with_a_number(classes, left, right))
        taker, in_room = _KEPT, False
        if left == right:
            empty_lines += 1
            if shape.max_empty_lines >= 0 and empty_lines > shape.max_empty_lines:
                taker = _MAX_EMPTY_LINES
        elif close_look:
            taker, in_room, left, right = _judge_closely(text, classes, left, right, is_ascii, room, rules)
        else:
            taker = _judge(text, classes, left, right, is_ascii, shape, end_marks)
        if taker == _KEPT:
            empty_lines = empty_lines if left == right else 0
            first, last = left, right
            if close_look:  # something may have been cut
                rest = room.classes if in_room else classes
                lost += count_words(classes, start, newline) - count_words(rest, left, right)
                first, last = without_white_space(rest, left, right)
            if shape.strip and content == 0:
                left = first
            if left < right or content > 0 or not shape.strip:
                if kept > 0:
                    out[size] = _LINE_FEED
                    size += 1
                kept += 1
                size = _append(room.text if in_room else text, left, right, out, size)
                if left < right or not shape.strip:
                    content = size - (right - last if shape.strip else 0)
        else:
            lost += count_words(classes, start, newline)
        if takers.shape[0] > 0:
            takers[lines] = taker
        lines += 1
        start = newline + 1
    return content, lines, lost


@kernel
def _judge(text, classes, left, right, is_ascii, shape, end_marks):
    """Return what takes the line text[left : right], which is not empty, for its shape, counters apart."""
    if right - left > shape.max_word_length and _longest_word(text, classes, left, right) > shape.max_word_length:
        return _MAX_WORD_LENGTH
    taker = _judge_without_citations(text, classes, left, right, is_ascii, shape, end_marks)
    if taker == _KEPT and _has_fewer_words(classes, left, right, shape.min_words):
        return _MIN_WORDS
    return taker


@kernel
def _judge_without_citations(text, classes, left, right, is_ascii, shape, end_marks):
    """Return what takes a line for what its shape is once citations are gone."""
    if end_marks.shape[0] > 0 and not _ends_in(text, left, right, end_marks):
        return _END_MARKS
    if shape.ellipses and _ends_in_full_stops(text, left, right):
        return _ELLIPSES
    if shape.max_uppercase < 1.0 or shape.max_digits < 1.0:
        characters = right - left if is_ascii else count_characters(text, left, right)
        if count_class(classes, left, right, UPPER) / characters > shape.max_uppercase:
            return _MAX_UPPERCASE
        if count_class(classes, left, right, DIGIT) / characters > shape.max_digits:
            return _MAX_DIGITS
    return _KEPT


@kernel
def _judge_closely(text, classes, left, right, is_ascii, room, rules):
    """Return what takes a line, and what of it stays: whether it stands in `room`, and where."""
    shape, in_room = rules.shape, False
    if right - left > shape.max_word_length and _longest_word(text, classes, left, right) > shape.max_word_length:
        return _MAX_WORD_LENGTH, False, left, right
    few = _has_fewer_words(classes, left, right, shape.min_words)  # citations are words
    if shape.citations:
        size = without_citations(text, classes, left, right, rules.phrases, room)
        if size < right - left:
            in_room, text, classes, left, right = True, room.text, room.classes, 0, size
            if count_words(classes, left, right) == 0:
                return _CITATIONS, in_room, left, right
    taker = _judge_without_citations(text, classes, left, right, is_ascii, shape, rules.end_marks)
    if taker == _KEPT and shape.counters and _is_counter(text, classes, left, right, rules.phrases):
        taker = _COUNTERS
    if taker == _KEPT and few:
        taker = _MIN_WORDS
    if taker == _KEPT:
        taker = _judge_phrases(text, left, right, rules.phrases)
    if taker != _KEPT:
        return taker, in_room, left, right
    return _cut(text, classes, left, right, in_room, room, rules)


@kernel
def _judge_phrases(text, left, right, phrases):
    """Return what takes a line for phrases in it.

    A line that drops the whole page is left for the page's rules to see, as C4's code has it.
    """
    kinds = kinds_within(text, left, right, phrases)
    if kinds & (1 << SCRIPT | 1 << POLICY) == 0 or _has_filler(text, left, right, phrases):
        return _KEPT
    if kinds & 1 << SCRIPT != 0:
        return _SCRIPT_WORDS
    return _KEPT if _holds(text, left, right, _CURLY) else _POLICY_PHRASES


@kernel
def _cut(text, classes, left, right, in_room, room, rules):
    """Cut phrases from a short line; return the same as `_judge_closely`."""
    phrases, most = rules.phrases, rules.shape.cut_max_words + 1
    holds = kinds_within(text, left, right, phrases) & 1 << ANYWHERE != 0
    if holds and _has_fewer_words(classes, left, right, most):
        right = without_phrases(text, classes, left, right, phrases, room)
        in_room, text, classes, left = True, room.text, room.classes, 0
        if count_words(classes, left, right) == 0:
            return _CUT_ANYWHERE, in_room, left, right
    for phrase in range(phrases.kinds[AT_END], phrases.kinds[AT_END + 1]):
        end = without_white_space(classes, left, right)[1]
        i = end - width_of(phrases, phrase)
        if stands_at(text, i, left, end, phrases, phrase) and _has_fewer_words(classes, left, right, most):
            right = after_white_space(text, classes, left, i)
            if count_words(classes, left, right) == 0:
                return _CUT_AT_END, in_room, left, right
    for phrase in range(phrases.kinds[AT_START], phrases.kinds[AT_START + 1]):
        i = without_white_space(classes, left, right)[0]
        if stands_at(text, i, left, right, phrases, phrase) and _has_fewer_words(classes, left, right, most):
            left = i + width_of(phrases, phrase)
            if left < right and classes[left] & INK == 0:
                left += code_point(text, left, right)[1] if text[left] >= 0x80 else 1
            if count_words(classes, left, right) == 0:
                return _CUT_AT_START, in_room, left, right
    return _KEPT, in_room, left, right


@kernel
def _append(source, start, end, out, size):
    """Append source[start : end] to out[:size]; return the new length."""
    for k in range(end - start):
        out[size + k] = source[start + k]
    return size + end - start


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
def _has_filler(text, left, right, phrases):
    for phrase in range(phrases.kinds[FILLER], phrases.kinds[FILLER + 1]):
        if next_phrase(text, left, right, phrases, phrase) >= 0:
            return True
    return False


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
def _begins_with_a_number(classes, left, right):
    """Return whether the first character of a line that has content is a digit."""
    i = next_of_class(classes, left, right, CONTENT)
    return i < right and classes[i] & DECIMAL != 0


@kernel
def _is_counter(text, classes, left, right, phrases):
    r"""Return whether all content of a line is `\d[\d,.]*[kmb]?\s+(...)`, of the phrases of the kind COUNTED."""
    if not _begins_with_a_number(classes, left, right):
        return False
    i = next_of_class(classes, left, right, CONTENT)
    while i < right and (classes[i] & DECIMAL != 0 or text[i] & 0xC0 == 0x80 or text[i] in (_COMMA, _FULL_STOP)):
        i += 1
    if i < right and text[i] | 0x20 in (0x6B, 0x6D, 0x62):  # k, m, b
        i += 1
    spaces = i
    while i < right and classes[i] & INK == 0:
        i += 1
    if i == spaces:
        return False
    for phrase in range(phrases.kinds[COUNTED], phrases.kinds[COUNTED + 1]):
        if stands_at(text, i, left, right, phrases, phrase):
            end = i + width_of(phrases, phrase)
            if next_of_class(classes, end, right, CONTENT) == right:
                return True
    return False
