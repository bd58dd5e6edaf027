"""The dictionary of a fastText classifier: hash tables of its spellings and of the buckets that pruning kept."""

# mypy: ignore-errors
from __future__ import annotations

from typing import NamedTuple

import numpy as np

from gristmill.operators.kernels.compiling import kernel
from gristmill.operators.kernels.primitives import GOLDEN, SECRET_1, SECRET_2, multiply_fold, prefetch

_FNV_PRIME = np.uint32(16777619)
#: Initial values of both hashes of a spelling.
HASH_START, KEY_START = np.uint32(2166136261), SECRET_2
#: Bytes of a spelling that are hashed in one step.
CHUNK = 8
#: Bytes of a slot of a hash table.
SLOT = 16
#: Slots are prefetched this far ahead of the search.
AHEAD = 16


class Dictionary(NamedTuple):
    """The tables that turn a text into features. Entries are words, then labels.

    A spelling is known by its 64-bit hash: among a million words the odds that any two share one are 3 in 10^8.
    """

    entries: np.ndarray  #: hash table from the key of a spelling to its entry
    kept: np.ndarray  #: hash table from a bucket to its row, where pruning kept some; else empty: bucket b has row b
    filter: np.ndarray  #: uint64, see `bucket_filter`; empty where `kept` is
    words: int
    word_ngrams: int  #: words of the longest word n-gram, at least 1
    buckets: int  #: of hashed n-grams, whose rows follow those of the words
    #: int64 [2], characters of the shortest and of the longest character n-gram. Where there are none it has two
    #: dimensions, so that a kernel is compiled without them: its type tells the cases apart
    ngrams: np.ndarray


@kernel
def scan_entries(file, position, starts, lengths, counts, kinds, keys):
    """Read the entries of a dictionary: a spelling that ends with NUL, an int64 count, a byte that says word or label.

    Fills in one element of each array per entry: where its spelling begins, its length, its count, 0 for a word and 1
    for a label, the key of its spelling. Returns the position after the last entry, or -1 if the file ends before it.
    """
    for e in range(starts.shape[0]):
        starts[e] = position
        while position < file.shape[0] and file[position] != 0:
            position += 1
        lengths[e] = position - starts[e]
        keys[e], _ = spelling_hashes(file, starts[e], position)
        if position + 10 > file.shape[0]:
            return -1
        count = np.uint64(0)
        for byte in range(8):
            count |= np.uint64(file[position + 1 + byte]) << np.uint64(8 * byte)
        counts[e] = np.int64(count)
        kinds[e] = file[position + 9]
        position += 10
    return position


@kernel
def hash_table(keys):
    """Return an open-addressing table, at most half full, from keys, uint64 [n], to their positions.

    A slot, one row of the uint64 array, is a key and its position + 1, which is 0 where the slot is free.
    """
    size = 2
    while size < 2 * keys.shape[0]:
        size *= 2
    table = np.zeros((size, 2), np.uint64)
    for i in range(keys.shape[0]):
        slot = first_slot(table, keys[i])
        while table[slot, 1] != 0:
            slot = (slot + 1) & (size - 1)
        table[slot, 0] = keys[i]
        table[slot, 1] = i + 1
    return table


@kernel
def find(table, key):
    """Return the position of a key in the array that the hash table was made of, or -1."""
    slot = first_slot(table, key)
    while table[slot, 1] != 0:
        if table[slot, 0] == key:
            return np.int64(table[slot, 1]) - 1
        slot = (slot + 1) & (table.shape[0] - 1)
    return -1


@kernel
def first_slot(table, key):
    """Return the slot at which the search for a key begins."""
    return np.int64((key * GOLDEN) >> np.uint64(32)) & (table.shape[0] - 1)


@kernel
def bucket_filter(buckets):
    """Return bits, uint64 [n], in which the lowest digits of some buckets, uint64, are set: 16 bits for each bucket."""
    size = 1
    while 4 * size < buckets.shape[0]:
        size *= 2
    bits = np.zeros(size, np.uint64)
    for bucket in buckets:
        bits[(bucket >> np.uint64(6)) & np.uint64(size - 1)] |= np.uint64(1) << (bucket & np.uint64(63))
    return bits


@kernel
def may_be_kept(bucket, bits):
    """Return 0 where a bucket is not among those of which a filter was made, else 1: without a branch.

    An empty filter lets every bucket pass.
    """
    if bits.shape[0] == 0:
        return 1
    word = bits[np.int64(bucket >> np.uint64(6)) & (bits.shape[0] - 1)]
    return np.int64((word >> (bucket & np.uint64(63))) & np.uint64(1))


@kernel
def kept_rows(rows, n, dictionary):
    """Turn rows[:n], each ~entry of a word or a bucket, into rows of the matrix; return how many there are.

    Those of pruned buckets fall out. Slots are prefetched: the table is larger than the caches next to the core.
    """
    table, words = dictionary.kept, dictionary.words
    if table.shape[0] == 0:
        for i in range(n):
            rows[i] = ~rows[i] if rows[i] < 0 else words + rows[i]
        return n
    kept = 0
    for i in range(n):
        if i + AHEAD < n:
            prefetch(table, SLOT * first_slot(table, np.uint64(rows[i + AHEAD])))
        row = ~rows[i]
        if row < 0:
            place = find(table, np.uint64(rows[i]))
            row = words + place if place >= 0 else -1
        rows[kept] = row
        kept += row >= 0
    return kept


@kernel
def bucket_row(ngram_hash, buckets, kept):
    """Return the row of an n-gram's bucket after the rows of the words, or -1 if pruning has removed it."""
    bucket = ngram_hash % np.uint64(buckets)
    if kept.shape[0] > 0:
        return find(kept, bucket)
    return np.int64(bucket)


@kernel
def spelling_hashes(data, start, stop):
    """Return the key of the spelling data[start : stop], and fastText's hash of it."""
    key, word_hash = KEY_START, HASH_START
    while start < stop:
        size = min(CHUNK, stop - start)
        chunk = np.uint64(0)
        for i in range(size):
            chunk |= np.uint64(data[start + i]) << np.uint64(8 * i)
        key, word_hash = next_key(key, chunk), hash_chunk(word_hash, chunk, size)
        start += size
    return key, np.int32(word_hash)


@kernel
def next_key(key, chunk):
    """Return the key of a spelling after a chunk of eight bytes, the last filled with zeros (a spelling has no NUL)."""
    return multiply_fold(key ^ chunk, SECRET_1)


@kernel
def hash_chunk(word_hash, chunk, size):
    """Return fastText's hash after the first `size` bytes of a chunk.

    Always eight steps, of which the superfluous ones are masked out: a branch that depends on the length of a word is
    mispredicted at every other word, and costs more.
    """
    for i in range(CHUNK):
        after = next_hash(word_hash, np.uint8(chunk >> np.uint64(8 * i)))
        counts = np.uint32(0) - np.uint32(i < size)
        word_hash = np.uint32((after & counts) | (word_hash & ~counts))
    return word_hash


@kernel
def next_hash(word_hash, byte):
    """Return 32-bit FNV-1a (Fowler, Noll and Vo 1991) after one more byte, signed as in fastText."""
    return np.uint32((word_hash ^ np.uint32(np.int32(np.int8(byte)))) * _FNV_PRIME)
