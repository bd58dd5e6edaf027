"""Tokens that are found in a text before it is cut into words, such as `<|endoftext|>`: leftmost, then longest."""

# mypy: ignore-errors
from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from gristmill.operators.kernels.compiling import borrowing
from gristmill.operators.kernels.primitives import load_word
from gristmill.operators.kernels.words import HIGH_BITS, LOW_BITS


class Added(NamedTuple):
    """A list of such tokens (n), by first byte, the longest first."""

    firsts: NDArray[np.uint64]  #: [k] the first bytes, each repeated to a word of 8
    bounds: NDArray[np.int64]  #: [k + 1] where the tokens of each begin
    starts: NDArray[np.int64]  #: [n + 1] where each begins in `spellings`
    spellings: NDArray[np.uint8]
    ids: NDArray[np.uint32]  #: [n]
    conditions: NDArray[np.bool_]  #: [n] whether more than the spelling decides where it is found, and how far it goes


def added_tokens(tokens: Sequence[tuple[bytes, int, bool]]) -> Added:
    """Return the list of tokens that are given as spelling, id, conditions."""
    ordered = sorted(tokens, key=lambda token: (token[0][:1], -len(token[0])))
    spellings = [spelling for spelling, _, _ in ordered]
    firsts, bounds = np.unique([spelling[0] for spelling in spellings], return_index=True)
    return Added(
        firsts.astype(np.uint64) * LOW_BITS,
        np.array([*bounds, len(ordered)], np.int64),
        np.cumsum([0, *map(len, spellings)], dtype=np.int64),
        np.frombuffer(b"".join(spellings) + b" ", np.uint8).copy(),
        np.array([token for _, token, _ in ordered], np.uint32),
        np.array([conditions for _, _, conditions in ordered], np.bool_),
    )


@borrowing
def next_added(data, start, end, added, ahead):
    """Return where the first token in data[start : end] begins, and its number in the list; or `end` and -1.

    ahead: int64 [k], where the next byte that is the first of a token is known to lie; -1 where it is not known yet.
    """
    nearest = end
    for k in range(added.firsts.shape[0]):
        if ahead[k] < start:
            ahead[k] = _next_of(data, start, end, added, k)
        nearest = min(nearest, ahead[k])
    if nearest == end:
        return end, -1
    return nearest, _longest_at(data, nearest, end, added)


@borrowing
def _next_of(data, start, end, added, k):
    """Return where the first token in data[start : end] begins whose first byte is number k, or `end`."""
    first = added.firsts[k]
    while start < end:
        if start + 8 <= end:
            difference = load_word(data, start) ^ first
            if (difference - LOW_BITS) & ~difference & HIGH_BITS == 0:
                start += 8
                continue
        stop = min(start + 8, end)
        while start < stop:
            if data[start] == np.uint8(first) and _longest_of(data, start, end, added, k) >= 0:
                return start
            start += 1
    return end


@borrowing
def _longest_at(data, start, end, added):
    for k in range(added.firsts.shape[0]):
        if data[start] == np.uint8(added.firsts[k]):
            return _longest_of(data, start, end, added, k)
    return -1


@borrowing
def _longest_of(data, start, end, added, k):
    """Return the number of the longest token that data[start : end] begins with, of those with first byte k; or -1."""
    for i in range(added.bounds[k], added.bounds[k + 1]):
        first, size = added.starts[i], added.starts[i + 1] - added.starts[i]
        if size <= end - start:
            same = 1
            while same < size and data[start + same] == added.spellings[first + same]:
                same += 1
            if same == size:
                return i
    return -1
