"""Hashed n-grams of tokens: from text to buckets, and what is counted or summed over them.

The features of DSIR (Xie et al. 2023, "Data Selection for Language Models via Importance Resampling", section 3):
every n-gram of order 1 to `order` of the lower-cased tokens falls in one of a fixed number of buckets.
"""

# mypy: ignore-errors
from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from gristmill.operators.kernels.compiling import kernel
from gristmill.operators.kernels.primitives import GOLDEN, SECRET_2, hash_word, longest, multiply_fold
from gristmill.operators.kernels.sha256 import sha256_modulo
from gristmill.operators.kernels.wordpunct import Characters, find_tokens, lower_and_mark, room_for

#: Tokens are found and hashed about this many at a time, so that scratch stays in the first-level cache.
_BLOCK = 1024
_HALF = np.uint64(32)


#: Of two dimensions, so that a kernel is compiled for one of the hashes alone: its type tells them apart.
UNCACHED = np.zeros((0, 0), np.uint64)


class Features(NamedTuple):
    """The way from text to buckets."""

    characters: Characters
    order: int  #: longest n-gram
    buckets: int  #: number of buckets, up to 2**32
    #: UNCACHED: buckets by gristmill's hash. Else by int(sha256(the n-gram's tokens joined by spaces)) % buckets, some
    #: of which it remembers between calls: uint64[a power of two >= buckets], zeros at first; for one thread
    cache: NDArray[np.uint64]


class _Scratch(NamedTuple):
    text: np.ndarray  #: the lower-cased document
    marks: np.ndarray  #: set at the bytes at which its tokens begin
    starts: np.ndarray  #: tokens of this block, after the last order - 1 of the block before
    ends: np.ndarray
    hashes: np.ndarray  #: of the tokens
    grams: np.ndarray  #: of the n-grams that end with each token
    buckets: np.ndarray  #: of this block's n-grams, order by order
    gram: np.ndarray  #: an n-gram's tokens joined by spaces
    words: np.ndarray  #: SHA-256's


@kernel
def _scratch(offsets, order, sha256):
    room = room_for(longest(offsets))
    tokens = _BLOCK + order
    return _Scratch(
        np.empty(room, np.uint8),
        np.empty(room, np.uint8),
        np.empty(tokens, np.int64),
        np.empty(tokens, np.int64),
        np.empty(tokens, np.uint64),
        np.empty(tokens, np.uint64),
        np.empty(tokens * order, np.int64),
        np.empty(room + order if sha256 else 0, np.uint8),
        np.empty(72, np.uint32),
    )


@kernel
def count_buckets(data, offsets, features, counts):
    """Add the n-grams of all texts to counts (int64[buckets]). Returns the number of tokens."""
    scratch = _scratch(offsets, features.order, features.cache.size > 0)
    tokens = 0
    for d in range(offsets.shape[0] - 1):
        length = lower_and_mark(data, offsets[d], offsets[d + 1], features.characters, scratch.text, scratch.marks)
        position, carried = 0, 0
        while position <= length:
            n, position, carried, new = _next_buckets(features, scratch, length, position, carried)
            tokens += new
            for i in range(n):
                counts[scratch.buckets[i]] += 1
    return tokens


@kernel
def sum_over_buckets(data, offsets, features, values, sums, lengths):
    """Sum values (float32 or float64, [buckets, k]) over the n-grams of each of n texts, and count its n-grams.

    Writes sums (float64[n, k]) and lengths (int64[n]). A sum adds block sums, in the order of the text, so its rounding
    errors stay small in long texts. The values of a bucket lie side by side: they are fetched together.
    """
    scratch = _scratch(offsets, features.order, features.cache.size > 0)
    of_block = np.empty(values.shape[1])
    for d in range(offsets.shape[0] - 1):
        length = lower_and_mark(data, offsets[d], offsets[d + 1], features.characters, scratch.text, scratch.marks)
        position, carried = 0, 0
        sums[d], lengths[d] = 0.0, 0
        while position <= length:
            n, position, carried, _ = _next_buckets(features, scratch, length, position, carried)
            lengths[d] += n
            _sum_values(values, scratch.buckets[:n], of_block)
            for k in range(values.shape[1]):
                sums[d, k] += of_block[k]


@kernel
def list_buckets(data, offsets, features, starts, buckets):
    """Write the buckets of the n-grams of each of n texts, those of text d at starts[d] to starts[d + 1] of `buckets`.

    starts: int64[n + 1], as their numbers by `sum_over_buckets` make them; buckets: int64[starts[n]].
    """
    scratch = _scratch(offsets, features.order, features.cache.size > 0)
    for d in range(offsets.shape[0] - 1):
        length = lower_and_mark(data, offsets[d], offsets[d + 1], features.characters, scratch.text, scratch.marks)
        position, carried, at = 0, 0, starts[d]
        while position <= length:
            n, position, carried, _ = _next_buckets(features, scratch, length, position, carried)
            buckets[at : at + n] = scratch.buckets[:n]
            at += n


@kernel
def _sum_values(values, buckets, totals):
    """Write totals (float64[k]): the sums of values (float32 or float64, [buckets, k]) over buckets.

    For 1, 4 and 8 values the sums stay in registers: a table is padded to one of these. A bucket without a sign needs
    no look at whether it counts from the end.
    """
    if values.shape[1] == 1:
        total = 0.0
        for bucket in buckets:
            total += values[np.uint64(bucket), 0]
        totals[0] = total
    elif values.shape[1] == 4:
        a = b = c = d = 0.0
        for bucket in buckets:
            row = np.uint64(bucket)
            a += values[row, 0]
            b += values[row, 1]
            c += values[row, 2]
            d += values[row, 3]
        totals[0], totals[1], totals[2], totals[3] = a, b, c, d
    elif values.shape[1] == 8:
        a = b = c = d = e = f = g = h = 0.0
        for bucket in buckets:
            row = np.uint64(bucket)
            a += values[row, 0]
            b += values[row, 1]
            c += values[row, 2]
            d += values[row, 3]
            e += values[row, 4]
            f += values[row, 5]
            g += values[row, 6]
            h += values[row, 7]
        totals[0], totals[1], totals[2], totals[3] = a, b, c, d
        totals[4], totals[5], totals[6], totals[7] = e, f, g, h
    else:
        totals[:] = 0.0
        for bucket in buckets:
            row = np.uint64(bucket)
            for k in range(values.shape[1]):
                totals[k] += values[row, k]


@kernel
def _next_buckets(features, scratch, length, position, carried):
    """Fill in the buckets of the n-grams that end in the next block of tokens.

    The first `carried` tokens are the last of the block before. Returns the number of buckets, the position and
    carried tokens to go on with, and the number of new tokens.
    """
    text, starts, ends, hashes, grams = scratch.text, scratch.starts, scratch.ends, scratch.hashes, scratch.grams
    tokens, position = find_tokens(scratch.marks, length, position, starts, ends, carried)
    for t in range(tokens):
        hashes[t] = grams[t] = hash_word(text, starts[t], ends[t] - starts[t])
    n = 0
    for order in range(1, features.order + 1):
        if order > 1:
            for t in range(tokens - 1, order - 2, -1):
                grams[t] = multiply_fold(grams[t - 1] * GOLDEN + hashes[t], SECRET_2)
        first = max(carried, order - 1)
        new = max(0, tokens - first)
        buckets = scratch.buckets[n : n + new]
        _fill(text, starts, ends, grams, first, order, features.buckets, features.cache, scratch, buckets)
        n += new
    overlap = min(tokens, features.order - 1)
    for t in range(overlap):
        starts[t], ends[t] = starts[tokens - overlap + t], ends[tokens - overlap + t]
    return n, position, overlap, tokens - carried


@kernel
def _fill(text, starts, ends, grams, first, order, buckets, cache, scratch, out):
    """Fill in the buckets of the n-grams of one order that end with the tokens from `first` on."""
    if cache.ndim == 1:
        _sha256_buckets(text, starts, ends, grams, first, order, buckets, cache, scratch.gram, scratch.words, out)
    else:
        _buckets(grams[first:], buckets, out)


@kernel
def _buckets(grams, buckets, out):
    """Scale the high half of each hash to 0 .. buckets - 1: for powers of two its highest bits."""
    for i in range(out.shape[0]):
        out[i] = np.int64((grams[i] >> _HALF) * np.uint64(buckets) >> _HALF)


@kernel
def _sha256_buckets(text, starts, ends, grams, first, order, buckets, cache, gram, words, out):
    """Fill in SHA-256 buckets of the n-grams that end with the tokens from `first` on, cached ones from the cache.

    An entry of the cache is the n-gram's own 64-bit hash with the low bits, which its place tells, replaced by the
    bucket: it is taken for another n-gram only where all 64 bits agree. An empty entry (zero) is taken for none.
    """
    low = np.uint64(cache.shape[0] - 1)
    for i in range(out.shape[0]):
        key = grams[first + i]
        entry = cache[key & low]
        if entry == 0 or (entry ^ key) & ~low != 0:
            length = _join(text, starts, ends, first + i - order + 1, first + i, gram)
            entry = key & ~low | np.uint64(sha256_modulo(gram, 0, length, buckets, words))
            cache[key & low] = entry
        out[i] = np.int64(entry & low)


@kernel
def _join(text, starts, ends, first, last, gram):
    """Write tokens first to last, with a space between them, to `gram`. Returns the length."""
    n = 0
    for t in range(first, last + 1):
        if t > first:
            gram[n] = 32
            n += 1
        length = ends[t] - starts[t]
        for i in range(length):
            gram[n + i] = text[starts[t] + i]
        n += length
    return n
