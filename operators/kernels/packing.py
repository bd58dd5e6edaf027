"""Packing of token sequences: which pieces of documents share a sequence, copies of pieces, and keyed orders."""

# mypy: ignore-errors
from __future__ import annotations

import numpy as np

from gristmill.operators.kernels.compiling import kernel
from gristmill.operators.kernels.primitives import GOLDEN, SECRET_0, SECRET_1, SECRET_2, multiply_fold

_ROUNDS = 6


@kernel
def shuffle_keys(seed, words):
    """Return 64-bit keys (n) by which documents are shuffled: hashes of a seed (uint64) and ids (n x 2, uint64)."""
    keys = np.empty(words.shape[0], np.uint64)
    key = multiply_fold(seed ^ SECRET_0, GOLDEN)
    for i in range(words.shape[0]):
        mixed = multiply_fold(words[i, 0] ^ SECRET_1, words[i, 1] ^ key)
        keys[i] = multiply_fold(mixed ^ words[i, 1], key ^ SECRET_2)
    return keys


@kernel
def best_fit(sizes, order, capacity):
    """Return the bin (int64[n]) of each item, of `capacity` places each, and how many bins there are.

    Best-fit decreasing, if `order` (int64[n]) lists the items by falling size (int64[n], 1 to `capacity`): each goes
    to the bin with the least room that it fits into, of several to the one that was used last, else to a new one. Bins
    are found by their room in a binary tree, O(n log capacity), as in Ding et al. 2024, "Fewer Truncations Improve
    Language Modeling", algorithm 1.
    """
    n = sizes.shape[0]
    leaves = 1
    while leaves <= capacity:
        leaves *= 2
    some = np.zeros(2 * leaves, np.bool_)  # of each node: whether a bin below it has that much room
    top = np.full(capacity + 1, -1, np.int64)  # of each room: the bin that was used last
    below, bins = np.empty(n, np.int64), np.empty(n, np.int64)
    count = 0
    for k in range(n):
        item = order[k]
        room = _least_room(some, leaves, sizes[item])
        if room < 0:
            found, room = count, capacity
            count += 1
        else:
            found = top[room]
            top[room] = below[found]
            if top[room] < 0:
                _set(some, leaves + room, False)
        bins[item] = found
        room -= sizes[item]
        below[found] = top[room]
        top[room] = found
        _set(some, leaves + room, True)
    return bins, count


@kernel
def _least_room(some, leaves, size):
    """Return the least room, `size` or more, that a bin has; -1 where none has."""
    node = leaves + size
    if some[node]:
        return size
    while node > 1:
        if node % 2 == 0 and some[node + 1]:
            node += 1
            while node < leaves:
                node = 2 * node if some[2 * node] else 2 * node + 1
            return node - leaves
        node //= 2
    return -1


@kernel
def _set(some, node, value):
    """Set a leaf of the tree, and what its nodes above say of it."""
    some[node] = value
    while node > 1:
        node //= 2
        either = some[2 * node] or some[2 * node + 1]
        if some[node] == either:
            return
        some[node] = either


@kernel
def copy_pieces(values, starts, sizes, places, out):
    """Copy values[starts[i] : starts[i] + sizes[i]] to out[places[i] : ...] for each piece i (all int64[n])."""
    for i in range(starts.shape[0]):
        start, place = starts[i], places[i]
        for j in range(sizes[i]):
            out[place + j] = values[start + j]


@kernel
def permuted(key, size, positions):
    """Return the values (int64[m]) of a permutation of 0 .. size - 1 at positions (int64[m]).

    A Feistel network over the least even number of bits that hold `size`, walked until it falls below `size`: the
    permutation needs no memory, each `key` (uint64) gives another (Black and Rogaway 2002, "Ciphers with Arbitrary
    Finite Domains", cycle walking).
    """
    half = 1
    while size > 1 << (2 * half):
        half += 1
    low = np.uint64((1 << half) - 1)
    bits = np.uint64(half)
    out = np.empty(positions.shape[0], np.int64)
    for i in range(positions.shape[0]):
        value = np.uint64(positions[i])
        while True:
            left, right = value >> bits, value & low
            for turn in range(_ROUNDS):
                mixed = multiply_fold(right ^ key, SECRET_0 ^ np.uint64(turn) * GOLDEN)
                left, right = right, left ^ (multiply_fold(mixed ^ key, SECRET_1 ^ right) & low)
            value = left << bits | right
            if value < np.uint64(size):
                break
        out[i] = value
    return out
