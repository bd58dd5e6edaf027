"""Pieces of a sequence (words, lines, n-grams) that occur more than once, and how much text they hold.

Pieces are given by 64-bit keys; equal keys stand for equal pieces. n-grams are found level by level, as in the Apriori
algorithm: an n-gram can only repeat where the two (n-1)-grams that it consists of repeat, so each level looks at the
survivors of the one before, and its key is the exact pair of their numbers.
"""

# mypy: ignore-errors
from __future__ import annotations

import numpy as np

from gristmill.operators.kernels.compiling import kernel
from gristmill.operators.kernels.primitives import GOLDEN


@kernel
def table_bits(count):
    """Return the binary logarithm of the slots of a hash table for `count` keys, at most half full."""
    bits = 4
    while (1 << bits) < 2 * count:
        bits += 1
    return bits


@kernel
def first_equal(keys, count, slots, first):
    """Set first[k] to the smallest j with keys[j] == keys[k], for k < count.

    keys: uint64[>= count]; first: int32[>= count]; slots: int32[>= 2 ** table_bits(count)], scratch.
    """
    bits = table_bits(count)
    last_slot = (1 << bits) - 1
    shift = np.uint64(64 - bits)
    slots[: last_slot + 1] = -1
    for k in range(count):
        key = keys[k]
        slot = np.int64((key * GOLDEN) >> shift)
        while slots[slot] >= 0 and keys[slots[slot]] != key:
            slot = (slot + 1) & last_slot
        if slots[slot] < 0:
            slots[slot] = k
        first[k] = slots[slot]


@kernel
def count_repeats(keys, characters, count, slots, first):
    """Return how many of `count` pieces equal an earlier one, and how many characters those hold.

    characters[k] is the number of characters before piece k, characters[count] the sum.
    """
    first_equal(keys, count, slots, first)
    repeats, repeated_characters = 0, 0
    for k in range(count):
        if first[k] != k:
            repeats += 1
            repeated_characters += characters[k + 1] - characters[k]
    return repeats, repeated_characters


@kernel
def count_members(first, count, members):
    """Set members[j] to the number of k < count with first[k] == j; other members are zero."""
    members[:count] = 0
    for k in range(count):
        members[first[k]] += 1


@kernel
def longer_candidates(positions, keys, first, members, count):
    """Turn `count` candidate n-grams into the candidate (n+1)-grams, in place; return their number.

    positions: int32, ascending, where each n-gram starts (in words); keys: uint64. An (n+1)-gram stays a candidate
    where the n-grams at p and p + 1 both repeat.
    """
    size = 0
    for k in range(count - 1):
        here, behind = first[k], first[k + 1]
        adjacent = positions[k + 1] == positions[k] + 1
        positions[size] = positions[k]
        keys[size] = np.uint64(here) << np.uint64(32) | np.uint64(behind)
        size += adjacent & (members[here] > 1) & (members[behind] > 1)  # without a branch: nothing predicts it
    return size


@kernel
def characters_of_most_frequent(n, words, characters, positions, first, members, count):
    """Count the characters in all occurrences of the most frequent n-gram, with a space between words.

    Overlapping occurrences each count; in a tie it is the first n-gram. Where none repeats it is the text's first.
    """
    if words < n:
        return 0
    most, position = 1, 0
    for k in range(count):
        if members[k] > most:
            most, position = members[k], positions[k]
    return most * (characters[position + n] - characters[position] + n - 1)


@kernel
def characters_in_repeats(n, characters, positions, first, seen, count):
    """Count the characters (without spaces) in n-grams that occurred before, none counted twice.

    Reading from left to right, an n-gram that was read before counts, and reading goes on after it.
    """
    seen[:count] = 0
    repeated, resume = 0, 0
    for k in range(count):
        p = positions[k]
        if p < resume:
            continue
        if seen[first[k]]:
            repeated += characters[p + n] - characters[p]
            resume = p + n
        seen[first[k]] = 1
    return repeated
