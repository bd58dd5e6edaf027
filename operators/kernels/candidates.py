"""Candidate pairs from band keys: keys that occur again, the pairs of a bucket, pairs without repeats.

Banding: Leskovec, Rajaraman and Ullman, "Mining of Massive Datasets", section 3.4.
"""

# mypy: ignore-errors
from __future__ import annotations

import numpy as np

from gristmill.operators.kernels.compiling import kernel
from gristmill.operators.kernels.primitives import SECRET_0, SECRET_1, SECRET_2, multiply_fold

_ONE, _BIT, _WORD = np.uint64(1), np.uint64(63), np.uint64(6)


@kernel
def may_repeat(keys):
    """Return a mask (n, bool) of the keys (n, uint64, uniformly distributed) that may occur more than once.

    True for every key that does and for about one in thirty of the others: two bitmaps, of what was seen and of what
    was seen again, with 32 bits for each key. A cheap pass, so that only keys that matter are sorted.
    """
    n = keys.shape[0]
    slots = 64
    while slots < 32 * n:
        slots *= 2
    seen, again = np.zeros(slots >> 6, np.uint64), np.zeros(slots >> 6, np.uint64)
    last = np.uint64(slots - 1)
    for i in range(n):
        slot = keys[i] & last
        word, bit = slot >> _WORD, _ONE << (slot & _BIT)
        again[word] |= seen[word] & bit
        seen[word] |= bit
    mask = np.empty(n, np.bool_)
    for i in range(n):
        slot = keys[i] & last
        mask[i] = again[slot >> _WORD] >> (slot & _BIT) & _ONE
    return mask


@kernel
def bucket_pairs(addresses, starts, whole, predecessors):
    """Return pairs (left, right: uint64[m], left < right) of the documents that share a bucket.

    addresses: uint64[n], bucket by bucket, ascending within each; starts: int64[b + 1], bounds of the buckets. A bucket
    of up to `whole` documents gives all its pairs; in a larger one each document is paired with the bucket's first and
    with its `predecessors` nearest before it, so that the pairs stay linear in the documents.
    """
    most = 0
    for b in range(starts.shape[0] - 1):
        size = starts[b + 1] - starts[b]
        most += size * (size - 1) // 2 if size <= whole else size * (predecessors + 1)
    left, right = np.empty(most, np.uint64), np.empty(most, np.uint64)
    count = 0
    for b in range(starts.shape[0] - 1):
        first, end = starts[b], starts[b + 1]
        reach = whole if end - first <= whole else predecessors
        for i in range(first + 1, end):
            for j in range(max(first, i - reach), i):
                left[count], right[count] = addresses[j], addresses[i]
                count += 1
            if i - first > reach:
                left[count], right[count] = addresses[first], addresses[i]
                count += 1
    return left[:count], right[:count]


@kernel
def hash_pairs(left, right):
    """Return 64-bit hashes (n, uint64) of pairs (left, right: uint64[n])."""
    hashes = np.empty(left.shape[0], np.uint64)
    for i in range(left.shape[0]):
        hashes[i] = _hash_pair(left[i], right[i])
    return hashes


@kernel
def first_occurrences(left, right):
    """Return a mask (n, bool) of the pairs (left, right: uint64[n]) that equal no pair before them."""
    n = left.shape[0]
    size = 16
    while size < 2 * n:
        size *= 2
    table, last = np.full(size, -1, np.int32), np.uint64(size - 1)
    mask = np.zeros(n, np.bool_)
    for i in range(n):
        slot = _hash_pair(left[i], right[i]) & last
        while table[slot] >= 0 and (left[table[slot]] != left[i] or right[table[slot]] != right[i]):
            slot = (slot + _ONE) & last
        if table[slot] < 0:
            table[slot] = i
            mask[i] = True
    return mask


@kernel
def _hash_pair(left, right):
    return multiply_fold(multiply_fold(left ^ SECRET_0, right ^ SECRET_1) ^ left, SECRET_2)
