"""Texts as short dense vectors: word n-grams hashed to coordinates with a sign.

Feature hashing (Weinberger et al. 2009, "Feature Hashing for Large Scale Multitask Learning", section 2): n-grams that
fall on the same coordinate cancel as often as they add up, so inner products stay right on average.
"""

# mypy: ignore-errors
from __future__ import annotations

import numpy as np

from gristmill.operators.kernels.compiling import kernel
from gristmill.operators.kernels.shingles import fill_shingles, scratch_for

_HALF = np.uint64(32)
_ONE = np.uint64(1)


@kernel
def hash_ngrams(data, offsets, order, alphabet, vectors):
    """Write the vector of each of n texts to `vectors` (float32[n, d]): of length 1, or zero for a text without words.

    data: uint8 UTF-8; offsets: int64[n + 1]; order: longest n-gram, in words; alphabet: `shingles.alphabet()`. A
    coordinate is the square root of its signed count, the sign kept: what a text repeats counts for less.
    """
    scratch = scratch_for(offsets)
    counts = np.empty(vectors.shape[1], np.int64)
    for d in range(offsets.shape[0] - 1):
        counts[:] = 0
        for n in range(1, order + 1):
            n_shingles = fill_shingles(data, offsets[d], offsets[d + 1], n, alphabet, scratch)
            _add_signed(scratch.hashes[:n_shingles], counts)
        _write_unit(counts, vectors[d])


@kernel
def _add_signed(hashes, counts):
    """Add a sign to a coordinate for each hash: the high half chooses the coordinate, the lowest bit the sign."""
    for h in hashes:
        at = np.int64((h >> _HALF) * np.uint64(counts.shape[0]) >> _HALF)
        counts[at] += 1 - 2 * np.int64(h & _ONE)


@kernel
def _write_unit(counts, vector):
    """Write signed square roots, divided by their length. Sums are of whole numbers: the same on every machine."""
    total = np.int64(0)
    for count in counts:
        total += abs(count)
    for i in range(counts.shape[0]):
        root = np.sqrt(abs(counts[i]) / max(total, 1))
        vector[i] = root if counts[i] > 0 else -root
