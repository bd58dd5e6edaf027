"""The text side of a fastText classifier: from a text to the mean of the rows of its features, its hidden vector.

Features are, as in fastText 0.9 (Joulin et al. 2016, "Bag of Tricks for Efficient Text Classification", section 2): the
words of the dictionary, the character n-grams of every word (Bojanowski et al. 2017, section 3.2) and the hashed word
n-grams. A text is one line: white space (newlines and NUL too) separates words, and an end-of-line token follows the
last. Rows are added one after the other in float32, in fastText's own order, so that the sums are equal to its sums.
"""

# mypy: ignore-errors
from __future__ import annotations

from typing import NamedTuple

import numpy as np

from gristmill.operators.kernels.characters import continues_character
from gristmill.operators.kernels.compiling import kernel
from gristmill.operators.kernels.fasttext_dictionary import (
    CHUNK,
    HASH_START,
    KEY_START,
    SLOT,
    bucket_row,
    find,
    first_slot,
    hash_chunk,
    kept_rows,
    may_be_kept,
    next_hash,
    next_key,
    spelling_hashes,
)
from gristmill.operators.kernels.fasttext_matrix import add_rows
from gristmill.operators.kernels.primitives import load_word, longest, prefetch, trailing_zeros
from gristmill.operators.kernels.words import HIGH_BITS, LOW_BITS

END_OF_LINE = b"</s>"
LABEL_PREFIX = b"__label__"
LONGEST_NGRAM = 100

#: Words, and features, that are held at a time: scratch is bounded, however long a text is.
SEGMENT = 1 << 16

_NGRAM_FACTOR = np.uint64(116049371)
_ONE = np.uint64(1)
_END_OF_LINE_CHUNK = np.uint64(int.from_bytes(END_OF_LINE, "little"))
_LEFT, _RIGHT = ord("<"), ord(">")


class Words(NamedTuple):
    """Scratch: a segment of a text in words. The end-of-line token is an empty word."""

    starts: np.ndarray  #: int64 [SEGMENT], first byte in the text
    stops: np.ndarray  #: int64 [SEGMENT], byte after the last
    keys: np.ndarray  #: uint64 [SEGMENT], of their spellings
    hashes: np.ndarray  #: int32 [SEGMENT], fastText's
    entries: np.ndarray  #: int64 [SEGMENT], in the dictionary; -1: none


@kernel
def mean_rows(data, offsets, dictionary, matrix, means, features):
    """Fill in the mean of the matrix's rows over the features of each text, and the number of these features.

    data uint8, offsets int64 [n + 1]: the texts; means float32 [n, width of the matrix]; features int64 [n]. The mean
    of no features is zero.
    """
    starts, stops, entries = np.empty(SEGMENT, np.int64), np.empty(SEGMENT, np.int64), np.empty(SEGMENT, np.int64)
    words = Words(starts, stops, np.empty(SEGMENT, np.uint64), np.empty(SEGMENT, np.int32), entries)
    rows = np.empty(SEGMENT, np.int64)
    bracketed = np.empty(longest(offsets) + 2 if dictionary.ngrams.size > 0 else 0, np.uint8)
    for d in range(features.shape[0]):
        total = means[d]
        for k in range(total.shape[0]):
            total[k] = np.float32(0)
        features[d] = add_text(data, offsets[d], offsets[d + 1], dictionary, matrix, words, rows, bracketed, total)
        factor = np.float32(1.0 / max(features[d], 1))
        for k in range(total.shape[0]):
            total[k] *= factor


@kernel
def add_text(data, position, end, dictionary, matrix, words, rows, bracketed, total):
    """Add the rows of all features of data[position : end] to `total`; return how many there are."""
    features = 0
    carried = 0  # words of the segment before, whose n-grams reach into this one
    line_ended = False
    while not line_ended:
        n, position, line_ended = read_words(data, position, end, dictionary.entries, words, carried)
        n = find_words(data, dictionary, words, carried, n)
        features += add_each(data, dictionary, dictionary.ngrams, words, carried, n, matrix, rows, bracketed, total)
        complete = n if line_ended else max(0, n - (dictionary.word_ngrams - 1))
        if dictionary.word_ngrams > 1:
            features += add_word_ngrams(words.hashes[:n], complete, dictionary, matrix, rows, total)
        carried = n - complete
        for w in range(carried):
            words.hashes[w] = words.hashes[complete + w]
    return features


@kernel
def read_words(data, position, end, table, words, n):
    """Split data[position : end] into words, appended to the n there are, until the line or the segment ends.

    The end-of-line token itself ends a line for fastText. Prefetches the words' slots of the table of entries. Returns
    the number of words, the position reached, and whether the line has ended.
    """
    starts, stops, keys, hashes = words.starts, words.stops, words.keys, words.hashes
    while n < SEGMENT:
        while position < end and is_space(data[position]):
            position += 1
        start, key, word_hash, size = position, KEY_START, HASH_START, CHUNK
        while size == CHUNK:
            chunk, size = next_chunk(data, position, end)
            if size > 0:
                key, word_hash = next_key(key, chunk), hash_chunk(word_hash, chunk, size)
            position += size
        starts[n], stops[n], keys[n], hashes[n] = start, position, key, np.int32(word_hash)
        prefetch(table, SLOT * first_slot(table, key))
        n += 1
        if position == start or (position - start == len(END_OF_LINE) and chunk == _END_OF_LINE_CHUNK):
            stops[n - 1] = start
            keys[n - 1], hashes[n - 1] = spelling_hashes(END_OF_LINE, 0, len(END_OF_LINE))
            return n, position, True
    return n, position, False


@kernel
def next_chunk(data, position, end):
    """Return the bytes from `position` to the next white space or `end`, at most eight, as a word; and their number."""
    if position + CHUNK <= end:
        chunk = load_word(data, position)
        spaces = spaces_of(chunk)
        if spaces == 0:
            return chunk, CHUNK
        size = trailing_zeros(spaces) >> 3
        return chunk & ((_ONE << np.uint64(8 * size)) - _ONE), size
    chunk, size = np.uint64(0), 0
    while position + size < end and not is_space(data[position + size]):
        chunk |= np.uint64(data[position + size]) << np.uint64(8 * size)
        size += 1
    return chunk, size


@kernel
def spaces_of(chunk):
    """Return the highest bit of every byte that is white space, see `is_space`; the others are clear.

    Seven bits plus the difference to 128 never carry into the next byte.
    """
    low = chunk & ~HIGH_BITS
    control = (low + LOW_BITS * np.uint64(128 - 9)) & ~(low + LOW_BITS * np.uint64(128 - 14))
    space = ~((low ^ LOW_BITS * np.uint64(32)) + LOW_BITS * np.uint64(127))
    nul = ~(low + LOW_BITS * np.uint64(127))
    return (control | space | nul) & ~chunk & HIGH_BITS


@kernel
def find_words(data, dictionary, words, first, stop):
    """Look up words first to stop - 1 in the dictionary and drop the labels among them; return the new stop."""
    starts, stops, keys, hashes, entries = words.starts, words.stops, words.keys, words.hashes, words.entries
    table, n_words = dictionary.entries, dictionary.words
    n = first
    for w in range(first, stop):
        entry = find(table, keys[w])
        is_label = entry >= n_words or (entry < 0 and begins_with(data, starts[w], stops[w], LABEL_PREFIX))
        if not is_label:
            starts[n], stops[n], hashes[n], entries[n] = starts[w], stops[w], hashes[w], entry
            n += 1
    return n


@kernel
def add_each(data, dictionary, ngrams, words, first, stop, matrix, rows, bracketed, total):
    """Add the features of words first to stop - 1, one by one; return how many there are."""
    if ngrams.ndim == 1:
        return add_subwords(data, dictionary, words, first, stop, matrix, rows, bracketed, total)
    else:  # noqa: RET505 - numba leaves out the branch that a type rules out, and only an explicit one
        return add_words(words.entries[first:stop], matrix, rows, total)


@kernel
def add_words(entries, matrix, rows, total):
    """Add the features of words that are in the dictionary; return how many there are."""
    n = 0
    for entry in entries:
        if entry >= 0:
            rows[n] = entry
            n += 1
    add_rows(matrix, rows, n, total)
    return n


@kernel
def add_subwords(data, dictionary, words, first, stop, matrix, rows, bracketed, total):
    """Add the features of words first to stop - 1 and of their character n-grams; return how many there are."""
    starts, stops, entries = words.starts, words.stops, words.entries
    features = n = 0
    for w in range(first, stop):
        if entries[w] >= 0:
            rows[n] = ~entries[w]  # until it is known which buckets have rows
            n += 1
        length = bracket(data, starts[w], stops[w], bracketed)
        position, n = character_ngrams(bracketed, 0, length, dictionary, rows, n)
        while position < length:
            features += add_kept(rows, n, dictionary, matrix, total)
            position, n = character_ngrams(bracketed, position, length, dictionary, rows, 0)
    return features + add_kept(rows, n, dictionary, matrix, total)


@kernel
def add_kept(rows, n, dictionary, matrix, total):
    """Add the rows of rows[:n], which are ~entry of a word or a bucket that may have one; return how many have."""
    n = kept_rows(rows, n, dictionary)
    add_rows(matrix, rows, n, total)
    return n


@kernel
def bracket(data, start, stop, bracketed):
    """Write "<word>" into `bracketed`, return its length; the end of the line has no characters and no brackets."""
    if start == stop:
        return 0
    bracketed[0] = _LEFT
    for i in range(start, stop):
        bracketed[i - start + 1] = data[i]
    bracketed[stop - start + 1] = _RIGHT
    return stop - start + 2


@kernel
def character_ngrams(bracketed, position, length, dictionary, buckets, n):
    """Append to buckets[:n] those of a word's n-grams that start at `position` or later, if they may have a row.

    There are none within a character, and neither bracket is an n-gram. Returns the position reached, which is `length`
    unless the room for buckets ends, and the new n.
    """
    fewest, most, n_buckets = dictionary.ngrams[0], dictionary.ngrams[1], np.uint64(dictionary.buckets)
    bits = dictionary.filter
    while position < length and n + LONGEST_NGRAM < buckets.shape[0]:
        ngram_hash, stop, characters = HASH_START, position, 0
        while stop < length and characters < most:
            ngram_hash = next_hash(ngram_hash, bracketed[stop])
            stop += 1
            while stop < length and continues_character(bracketed[stop]):
                ngram_hash = next_hash(ngram_hash, bracketed[stop])
                stop += 1
            characters += 1
            is_bracket = characters == 1 and (position == 0 or stop == length)
            if characters >= fewest and not is_bracket:
                bucket = np.uint64(ngram_hash) % n_buckets
                buckets[n] = bucket
                n += may_be_kept(bucket, bits)
        position += 1
        while position < length and continues_character(bracketed[position]):
            position += 1
    return position, n


@kernel
def add_word_ngrams(hashes, starts, dictionary, matrix, rows, total):
    """Add the features of n-grams, of two words or more, that start at the first `starts` words; return how many."""
    n_words, buckets, kept_buckets = dictionary.words, dictionary.buckets, dictionary.kept
    features = n = 0
    for i in range(starts):
        if n + LONGEST_NGRAM >= SEGMENT:
            add_rows(matrix, rows, n, total)
            features += n
            n = 0
        ngram_hash = np.uint64(np.int64(hashes[i]))
        for j in range(i + 1, min(i + dictionary.word_ngrams, hashes.shape[0])):
            ngram_hash = ngram_hash * _NGRAM_FACTOR + np.uint64(np.int64(hashes[j]))
            row = bucket_row(ngram_hash, buckets, kept_buckets)
            if row >= 0:
                rows[n] = n_words + row
                n += 1
    add_rows(matrix, rows, n, total)
    return features + n


@kernel
def begins_with(data, start, stop, prefix):
    """Return whether data[start : stop] begins with a bytes constant."""
    if stop - start < len(prefix):
        return False
    for i in range(len(prefix)):  # noqa: SIM110 - numba compiles no generator expressions
        if data[start + i] != prefix[i]:
            return False
    return True


@kernel
def is_space(byte):
    """Return whether a byte is white space to fastText: space, tab, newline, vertical tab, form feed, CR and NUL."""
    return byte == 32 or (byte <= 13 and (byte >= 9 or byte == 0))
