"""Statistics of pages in one pass over each text: `gristmill.operators.measures.page_statistics` says what each is."""

# mypy: ignore-errors
from __future__ import annotations

import numpy as np

from gristmill.operators.kernels.buffers import PADDING
from gristmill.operators.kernels.characters import CONTENT, INK, LETTER
from gristmill.operators.kernels.compiling import kernel
from gristmill.operators.kernels.line_characters import (
    CLOSING,
    DIGIT,
    TERMINAL,
    UPPER,
    character_before,
    classify_characters,
    count_class,
    count_words,
    next_of_class,
)
from gristmill.operators.kernels.lines import without_white_space
from gristmill.operators.kernels.phrases import kinds_within, next_phrase, stands_at, width_of
from gristmill.operators.kernels.primitives import hash_128, load_word, longest, trailing_zeros
from gristmill.operators.kernels.repeats import count_repeats, table_bits
from gristmill.operators.kernels.words import LOW_BITS, count_characters, next_byte, next_newline

#: Rows of the statistics, in order.
STATISTICS = (
    "ended_lines",
    "short_lines",
    "long_lines",
    "dup_line_chars",
    "newlines_per_word",
    "sentences",
    "digits",
    "uppercase",
    "url_chars",
    "curly_brackets",
    "lorem_ipsum",
)
_ENDED_LINES, _SHORT_LINES, _LONG_LINES, _DUP_LINE_CHARS, _NEWLINES_PER_WORD, _SENTENCES = range(6)
_DIGITS, _UPPERCASE, _URL_CHARS, _CURLY_BRACKETS, _LOREM_IPSUM = range(6, 11)

FILLER = ("lorem ipsum",)  #: text in place of text
SCHEMES = ("http://", "https://")  #: what URLs begin with

_FULL_STOP, _CURLY = 0x2E, 0x7B
_COLONS = np.uint64(0x3A3A3A3A3A3A3A3A)
_CONTENT_BIT = np.uint64(2)  # CONTENT is 1 << 2, INK 1 << 0


@kernel
def page_statistics(data, offsets, short_line, long_line, table, searched):
    """Return the statistics of n texts, float64[len(STATISTICS), n], rows in the order of STATISTICS.

    data: uint8 UTF-8; offsets: int64[n + 1]; short_line, long_line: characters; table: `line_classes()`; searched:
    `phrases` of FILLER, and of SCHEMES beside. Texts are shorter than 2 GiB.
    """
    count = offsets.shape[0] - 1
    size = longest(offsets)
    text, classes = np.empty(size + PADDING, np.uint8), np.empty(size + PADDING, np.uint8)
    pieces = size // 2 + 2  # no text has more lines that are not empty
    keys, characters = np.empty(pieces, np.uint64), np.empty(pieces + 1, np.int32)
    first, slots = np.empty(pieces, np.int32), np.empty(1 << table_bits(pieces), np.int32)
    out = np.zeros((len(STATISTICS), count))
    for d in range(count):
        length = offsets[d + 1] - offsets[d]
        if length == 0:
            continue
        statistics = out[:, d]
        is_ascii = classify_characters(data, offsets[d], length, text, classes, table)
        total = max(length if is_ascii else count_characters(text, 0, length), 1)
        newlines, lines = _lines(text, classes, length, is_ascii, short_line, long_line, keys, characters, statistics)
        repeated_characters = count_repeats(keys, characters, lines, slots, first)[1]
        statistics[_DUP_LINE_CHARS] = repeated_characters / max(total - newlines, 1)
        statistics[_NEWLINES_PER_WORD] = newlines / max(_count_words_and_marks(text, classes, length), 1)
        statistics[_DIGITS] = count_class(classes, 0, length, DIGIT) / total
        statistics[_UPPERCASE] = count_class(classes, 0, length, UPPER) / total
        statistics[_URL_CHARS] = _url_characters(text, classes, length, searched) / total
        statistics[_CURLY_BRACKETS] = _count_byte(text, length, _CURLY)
        statistics[_LOREM_IPSUM] = _count_filler(text, length, searched)
    return out


@kernel
def _lines(text, classes, length, is_ascii, short_line, long_line, keys, characters, statistics):
    """Hash the lines that are not blank, sum up their `characters`, fill in statistics of lines.

    Returns the number of line feeds, and of those lines.
    """
    newlines, lines, ended, short, long, sentences = 0, 0, 0, 0, 0, 0
    characters[0] = 0
    start = 0
    while start < length:
        end = next_newline(text, start, length)
        newlines += end < length
        in_line = end - start if is_ascii else count_characters(text, start, end)
        long += in_line >= long_line
        if without_white_space(classes, start, end)[0] < end:
            ended += classes[character_before(text, start, end)] & TERMINAL != 0
            short += in_line <= short_line
            sentences += _count_sentences(text, classes, start, end)
            keys[lines] = hash_128(text, start, end - start)[0]
            characters[lines + 1] = characters[lines] + in_line
            lines += 1
        start = end + 1
    statistics[_ENDED_LINES] = ended / max(lines, 1)
    statistics[_SHORT_LINES] = short / max(lines, 1)
    statistics[_LONG_LINES] = long
    statistics[_SENTENCES] = sentences
    return newlines, lines


@kernel
def _count_words_and_marks(text, classes, length):
    """Count runs of ink, and the characters without content at both ends of each; of a run of these alone no run."""
    count, i = count_words(classes, 0, length), 0
    while i < length:
        word = load_word(classes, i)
        marks = word & ~(word >> _CONTENT_BIT) & LOW_BITS  # ink, no content
        if marks == 0:
            i += 8
            continue
        start = i + (trailing_zeros(marks) >> 3)
        i, characters = start, 0
        while classes[i] & (INK | CONTENT) == INK:
            characters += text[i] & 0xC0 != 0x80
            i += 1
        first, last = start == 0 or classes[start - 1] & INK == 0, classes[i] & INK == 0
        if first or last:
            count += characters
        count -= first and last
    return count


@kernel
def _count_sentences(text, classes, start, end):
    sentences, i = 0, next_of_class(classes, start, end, CONTENT)
    while i < end:
        sentences += 1
        i = next_of_class(classes, _end_of_sentence(text, classes, i, start, end), end, CONTENT)
    return sentences


@kernel
def _end_of_sentence(text, classes, i, start, end):
    """Return the position behind the punctuation that ends the sentence at `i`, or the `end` of its line."""
    while i < end:
        first = next_of_class(classes, i, end, TERMINAL)
        i, beyond_ascii = first, False
        while i < end and (classes[i] & (TERMINAL | CLOSING) != 0 or text[i] & 0xC0 == 0x80):
            beyond_ascii |= classes[i] & TERMINAL != 0 and text[i] >= 0x80
            i += 1
        if beyond_ascii:
            return i
        parts = i == end or classes[i] & INK == 0
        parts = parts or (classes[i] & UPPER != 0 and _is_behind_a_small_letter(text, classes, start, first))
        if parts and not _is_part_of_a_word(text, classes, first, start, end):
            return i
    return end


@kernel
def _is_behind_a_small_letter(text, classes, start, i):
    return i > start and classes[character_before(text, start, i)] & (LETTER | UPPER) == LETTER


@kernel
def _is_part_of_a_word(text, classes, i, start, end):
    """Return whether the mark at `i` is of an ellipsis, or a full stop after a letter that stands alone."""
    if text[i] != _FULL_STOP:
        return False
    if i + 1 < end and text[i + 1] == _FULL_STOP:
        return True
    if i == start:
        return False
    before = character_before(text, start, i)
    if classes[before] & LETTER == 0:
        return False
    return before == start or classes[character_before(text, start, before)] & LETTER == 0


@kernel
def _url_characters(text, classes, length, searched):
    """Count the characters of URLs: from a scheme to the next white space."""
    characters, resume = 0, 0
    i = next_byte(text, 0, length, _COLONS)
    while i < length:
        for phrase in range(searched.kinds[1], searched.kinds[2]):
            begin = i + 3 - width_of(searched, phrase)  # they end in ://
            if stands_at(text, begin, resume, length, searched, phrase):
                resume = i
                while resume < length and classes[resume] & INK != 0:
                    resume += 1
                characters += count_characters(text, begin, resume)
        i = next_byte(text, max(resume, i + 1), length, _COLONS)
    return characters


@kernel
def _count_filler(text, length, searched):
    count = 0
    i = next_phrase(text, 0, length, searched, 0) if kinds_within(text, 0, length, searched) != 0 else -1
    while i >= 0:
        count += 1
        i = next_phrase(text, i + 1, length, searched, 0)
    return count


@kernel
def _count_byte(text, length, byte):
    count = np.int64(0)
    for k in range(length):
        count += text[k] == byte
    return count
