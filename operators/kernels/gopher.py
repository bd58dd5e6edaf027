"""All statistics of Gopher's quality and repetition filters in one pass over each text.

Rae et al. 2021, "Scaling Language Models: Methods, Analysis & Insights from Training Gopher" (arXiv:2112.11446),
appendix A1.1. `gristmill.operators.measures.gopher` says what each statistic is.
"""

# mypy: ignore-errors
from __future__ import annotations

import numpy as np

from gristmill.operators.kernels.buffers import PADDING
from gristmill.operators.kernels.characters import CONTENT, LETTER, MARK
from gristmill.operators.kernels.compiling import kernel
from gristmill.operators.kernels.lines import is_ellipsis_character, line_shapes, split_lines, split_paragraphs
from gristmill.operators.kernels.primitives import GOLDEN, hash_word, load_word, longest, trailing_zeros
from gristmill.operators.kernels.repeats import (
    characters_in_repeats,
    characters_of_most_frequent,
    count_members,
    count_repeats,
    first_equal,
    longer_candidates,
    table_bits,
)
from gristmill.operators.kernels.words import LOW_BITS, classify, count_characters, edges_of, first_bytes, mask_of

#: Rows of the statistics, in order.
STATISTICS = (
    "words",
    "mean_word_length",
    "hash_ratio",
    "ellipsis_ratio",
    "symbol_ratio",
    "bullet_lines",
    "ellipsis_lines",
    "alpha_words",
    "stop_words",
    "dup_lines",
    "dup_line_chars",
    "dup_paragraphs",
    "dup_paragraph_chars",
    "top_2gram",
    "top_3gram",
    "top_4gram",
    "dup_5grams",
    "dup_6grams",
    "dup_7grams",
    "dup_8grams",
    "dup_9grams",
    "dup_10grams",
)
_WORDS, _MEAN_WORD_LENGTH, _HASH_RATIO, _ELLIPSIS_RATIO, _SYMBOL_RATIO = range(5)
_BULLET_LINES, _ELLIPSIS_LINES, _ALPHA_WORDS, _STOP_WORDS = range(5, 9)
_DUP_LINES, _DUP_LINE_CHARS, _DUP_PARAGRAPHS, _DUP_PARAGRAPH_CHARS, _TOP_2GRAM = range(9, 14)

STOP_WORDS = ("the", "be", "to", "of", "and", "that", "have", "with")
#: Binary logarithm of the slots of a hash table in which no two stop words meet, so that one look decides.
_STOP_TABLE_BITS = 7


def _stop_table():
    """Return for each slot its stop word as a number (the length above the bytes), and its bit among those seen."""
    words, bits = np.zeros(1 << _STOP_TABLE_BITS, np.uint64), np.zeros(1 << _STOP_TABLE_BITS, np.uint64)
    for k, word in enumerate(STOP_WORDS):
        key = int.from_bytes(word.encode(), "little") | len(word) << 56
        slot = (key * int(GOLDEN) & 0xFFFFFFFFFFFFFFFF) >> (64 - _STOP_TABLE_BITS)
        words[slot], bits[slot] = key, 1 << k
    return words, bits


_STOP_TABLE, _STOP_BITS = _stop_table()
_ONE = np.uint64(1)
_HASH, _FULL_STOP = 0x23, 0x2E


@kernel
def gopher_statistics(data, offsets, table):
    """Return Gopher's statistics of n texts, float64[len(STATISTICS), n], rows in the order of STATISTICS.

    data: uint8 UTF-8; offsets: int64[n + 1]; table: `character_classes()`. Texts are shorter than 2 GiB. Scratch is at
    most 22 bytes for each byte of the longest text; ordinary text touches less than half of it.
    """
    count = offsets.shape[0] - 1
    size = longest(offsets)
    text = np.empty(size + PADDING, np.uint8)
    classes = np.empty(size + PADDING, np.uint8)
    pieces = size // 2 + 2  # no text has more words, non-empty lines or paragraphs
    keys = np.empty(pieces, np.uint64)
    characters = np.empty(pieces + 1, np.int32)
    positions = np.empty(pieces, np.int32)
    first = np.empty(pieces, np.int32)
    members = np.empty(pieces, np.int32)
    slots = np.empty(1 << table_bits(pieces), np.int32)
    out = np.zeros((len(STATISTICS), count))
    for d in range(count):
        length = offsets[d + 1] - offsets[d]
        if length == 0:
            continue
        statistics = out[:, d]
        is_ascii = classify(data, offsets[d], length, text, classes, table)
        total = max(length if is_ascii else count_characters(text, 0, length), 1)
        statistics[_BULLET_LINES], statistics[_ELLIPSIS_LINES] = line_shapes(text, classes, length)
        lines = split_lines(text, length, is_ascii, keys, characters)
        repeats, repeated_characters = count_repeats(keys, characters, lines, slots, first)
        statistics[_DUP_LINES] = repeats / max(lines, 1)
        statistics[_DUP_LINE_CHARS] = repeated_characters / total
        paragraphs = split_paragraphs(text, classes, length, is_ascii, keys, characters)
        repeats, repeated_characters = count_repeats(keys, characters, paragraphs, slots, first)
        statistics[_DUP_PARAGRAPHS] = repeats / max(paragraphs, 1)
        statistics[_DUP_PARAGRAPH_CHARS] = repeated_characters / total
        words = _split_words(text, classes, length, is_ascii, keys, characters, statistics)
        _ngram_shares(keys, characters, words, total, positions, slots, first, members, statistics[_TOP_2GRAM:])
    return out


@kernel
def _split_words(text, classes, length, is_ascii, keys, characters, statistics):
    """Hash the words into `keys`, sum up their `characters`, fill in statistics of words; return their number."""
    letters, content, marks = np.uint64(LETTER) * LOW_BITS, np.uint64(CONTENT) * LOW_BITS, np.uint64(MARK) * LOW_BITS
    words, with_letter, with_content, content_characters, hashes, ellipses = 0, 0, 0, 0, 0, 0
    stop_words = np.uint64(0)
    characters[0] = 0
    start, carry = -1, np.uint64(0)
    for block in range(0, length + 1, 64):  # one byte more than the text: its padding ends the last word
        mask = mask_of(classes, block, 0)
        edges = edges_of(mask, carry)
        carry = mask >> np.uint64(63)
        while edges != 0:
            edge = block + trailing_zeros(edges)
            edges &= edges - _ONE
            if start < 0:
                start = edge
                continue
            size = edge - start
            kinds = _kinds(classes, start, edge)
            in_word = size if is_ascii else count_characters(text, start, edge)
            keys[words] = hash_word(text, start, size)
            characters[words + 1] = characters[words] + in_word
            words += 1
            with_letter += (kinds & letters) != 0
            has_content = (kinds & content) != 0
            with_content += has_content
            content_characters += in_word * has_content
            if kinds & marks != 0:
                hashes += _count_hashes(text, start, edge)
                ellipses += _count_ellipses(text, start, edge)
            stop_words |= _stop_word(text, start, size)
            start = -1
    every = max(words, 1)
    statistics[_WORDS] = with_content
    statistics[_MEAN_WORD_LENGTH] = content_characters / max(with_content, 1)
    statistics[_HASH_RATIO] = hashes / every
    statistics[_ELLIPSIS_RATIO] = ellipses / every
    statistics[_SYMBOL_RATIO] = max(hashes, ellipses) / every
    statistics[_ALPHA_WORDS] = with_letter / every
    statistics[_STOP_WORDS] = _count_bits(stop_words)
    return words


@kernel
def _kinds(classes, start, end):
    """Return the classes of the bytes start .. end - 1, joined by or into 8 bytes."""
    kinds = load_word(classes, start) & first_bytes(min(end - start, 8))
    for i in range(start + 8, end, 8):
        kinds |= load_word(classes, i) & first_bytes(min(end - i, 8))
    return kinds


@kernel
def _stop_word(text, start, size):
    """Return the bit of the stop word at text[start : start + size], zero if it is none."""
    key = load_word(text, start) & first_bytes(min(size, 7)) | np.uint64(size) << np.uint64(56)
    slot = (key * GOLDEN) >> np.uint64(64 - _STOP_TABLE_BITS)
    return _STOP_BITS[slot] if _STOP_TABLE[slot] == key else np.uint64(0)


@kernel
def _count_bits(mask):
    bits = 0
    while mask != 0:
        mask &= mask - _ONE
        bits += 1
    return bits


@kernel
def _count_hashes(text, start, end):
    hashes = 0
    for i in range(start, end):
        hashes += text[i] == _HASH
    return hashes


@kernel
def _count_ellipses(text, start, end):
    """Count ellipsis characters, and groups of three full stops that do not overlap."""
    ellipses, full_stops = 0, 0
    for i in range(start, end):
        full_stops = full_stops + 1 if text[i] == _FULL_STOP else 0
        if full_stops == 3:
            ellipses += 1
            full_stops = 0
        ellipses += is_ellipsis_character(text, i)
    return ellipses


@kernel
def _ngram_shares(keys, characters, words, total, positions, slots, first, members, out):
    """Fill in the shares of characters in the most frequent 2- to 4-gram and in repeated 5- to 10-grams."""
    candidates = max(words - 1, 0)
    for k in range(candidates):
        positions[k] = k
        keys[k] = keys[k] * GOLDEN + keys[k + 1]
    for n in range(2, 11):
        first_equal(keys, candidates, slots, first)
        count_members(first, candidates, members)
        if n <= 4:
            ngram_characters = characters_of_most_frequent(n, words, characters, positions, first, members, candidates)
        else:
            ngram_characters = characters_in_repeats(n, characters, positions, first, slots, candidates)
        out[n - 2] = ngram_characters / total
        candidates = longer_candidates(positions, keys, first, members, candidates)
