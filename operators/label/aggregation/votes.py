"""Votes of annotators on items, and the sums over them that methods of aggregation are made of."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
#: Votes that are worked on at a time where their number times that of labels squared would be held.
_BLOCK = 1 << 18
UNKNOWN = -1  #: the gold of an item that has none


class Votes(NamedTuple):
    """Votes (n), those of an item together; items, annotators and labels are numbers from 0.

    A vote is one label, or where `shares` are there, a probability of each label.
    """

    items: NDArray[np.int64]  #: (n), ascending
    annotators: NDArray[np.int64]  #: (n)
    labels: NDArray[np.int64]  #: (n), the label voted for, or the most probable one
    shares: Floats | None  #: (n, labels), of which each row adds up to 1
    n_items: int
    n_annotators: int
    n_labels: int
    gold: NDArray[np.int64]  #: (items), the true label, or UNKNOWN
    #: (n) number of the stretch of time of each vote, from 0; None: annotators stay as they are
    periods: NDArray[np.int64] | None = None
    half_life: float = 1.0  #: periods after which a vote counts half for what an annotator is like

    @property
    def n_periods(self) -> int:
        """Return the number of periods."""
        return 1 if self.periods is None or not len(self.periods) else int(self.periods.max()) + 1

    def without_gold(self) -> Votes:
        """Return the same votes with no gold."""
        return self._replace(gold=np.full(self.n_items, UNKNOWN, np.int64))


def make_votes(
    items: NDArray[np.int64],
    annotators: NDArray[np.int64],
    labels: NDArray[np.int64],
    sizes: tuple[int, int, int],
    shares: Floats | None = None,
    gold: NDArray[np.int64] | None = None,
    periods: NDArray[np.int64] | None = None,
    half_life: float = 1.0,
) -> Votes:
    """Return votes (n) in the order of their items; `sizes` are the numbers of items, annotators and labels."""
    order = np.argsort(items, kind="stable")
    return Votes(
        items[order],
        annotators[order],
        labels[order],
        None if shares is None else shares[order],
        *sizes,
        np.full(sizes[0], UNKNOWN, np.int64) if gold is None else gold,
        None if periods is None else periods[order],
        half_life,
    )


class Aggregation(NamedTuple):
    """The result of a method."""

    shares: Floats  #: (items, labels): the soft label of each item, each row adds up to 1
    accuracy: Floats  #: (annotators): estimated probability that a vote of theirs is right; NaN without votes
    confusions: Floats | None  #: (annotators, labels, labels): probability of a vote, by the true label; else None
    iterations: int


def summed(where: NDArray[np.int64], values: Floats, size: int) -> Floats:
    """Return the sum of the values (n) at each place (size)."""
    return np.bincount(where, values, size).astype(np.float64, copy=False)


def summed_by_label(votes: Votes, where: NDArray[np.int64], values: Floats, size: int) -> Floats:
    """Return the sum of a value (n) of the votes for each label, at the place (n) of each vote: (size, labels)."""
    k = votes.n_labels
    if votes.shares is None:
        return summed(where * k + votes.labels, values, size * k).reshape(size, k)
    return np.stack([summed(where, values * votes.shares[:, label], size) for label in range(k)], axis=1)


def of_votes(votes: Votes, where: NDArray[np.int64], values: Floats) -> Floats:
    """Return of values (size, labels) that of the label of each vote (n), at the place (n) of the vote."""
    if votes.shares is None:
        picked: Floats = values[where, votes.labels]
    else:
        picked = np.einsum("nl,nl->n", votes.shares, values[where])
    return picked


def evidence(votes: Votes, values: Floats) -> Floats:
    """Return for each item and label (items, labels) the sum of a value (n) of the votes for it."""
    return summed_by_label(votes, votes.items, values, votes.n_items)


def credit(votes: Votes, shares: Floats) -> Floats:
    """Return for each vote (n) the probability that it is right, by the soft labels (items, labels)."""
    return of_votes(votes, votes.items, shares)


def per_annotator(votes: Votes, values: Floats) -> Floats:
    """Return the sum of a value (n) of the votes of each annotator."""
    return summed(votes.annotators, values, votes.n_annotators)


def pairs_of_annotators(votes: Votes, annotators: Sequence[int]) -> Iterator[tuple[NDArray[np.int64], ...]]:
    """Yield the pairs (m) of votes of two of some annotators on one item: their places among these, and their labels.

    The first of two has the smaller place; together the pairs are all that there are.
    """
    place = np.full(votes.n_annotators, -1, np.int64)
    place[np.asarray(annotators, np.int64)] = np.arange(len(annotators))
    for distance in range(1, int(np.bincount(votes.items).max(initial=0))):
        earlier, later = slice(None, -distance), slice(distance, None)
        a, b = place[votes.annotators[earlier]], place[votes.annotators[later]]
        pair = (votes.items[earlier] == votes.items[later]) & (a >= 0) & (b >= 0) & (a != b)
        a, b, first, second = a[pair], b[pair], votes.labels[earlier][pair], votes.labels[later][pair]
        swap = a > b
        yield np.where(swap, b, a), np.where(swap, a, b), np.where(swap, second, first), np.where(swap, first, second)


def confusion_counts(votes: Votes, shares: Floats) -> Floats:
    """Return how often each annotator gave each label where another is true: (annotators, periods, true, given).

    True labels are known as far as the soft labels (items, labels) are. Votes of other periods count less the longer
    they are away.
    """
    k, periods = votes.n_labels, votes.n_periods
    who = votes.annotators if votes.periods is None else votes.annotators * periods + votes.periods
    counts: Floats = np.empty((votes.n_annotators * periods, k, k))
    for true in range(k):
        known = shares[votes.items, true]
        if votes.shares is None:
            flat = summed(who * k + votes.labels, known, votes.n_annotators * periods * k)
            counts[:, true] = flat.reshape(-1, k)
        else:
            for given in range(k):
                weights = known * votes.shares[:, given]
                counts[:, true, given] = summed(who, weights, votes.n_annotators * periods)
    counts = counts.reshape(votes.n_annotators, periods, k, k)
    return counts if periods == 1 else _smoothed(counts, 0.5 ** (1 / votes.half_life))


def _smoothed(counts: Floats, decay: float) -> Floats:
    """Return counts by period in which those of each other period are added, less by `decay` for each in between."""
    before, after = counts.copy(), counts.copy()
    for period in range(1, counts.shape[1]):
        before[:, period] += decay * before[:, period - 1]
        after[:, -1 - period] += decay * after[:, -period]
    return before + after - counts


def log_likelihoods(votes: Votes, logs: Floats) -> Floats:
    """Return for each item and true label (items, labels) the sum of the logs of its votes' probabilities.

    `logs` are those of the annotators: (annotators, periods, true, given).
    """
    k = votes.n_labels
    by_given = np.ascontiguousarray(logs.transpose(0, 1, 3, 2)).reshape(-1, k, k)  # (who, given, true)
    who = votes.annotators if votes.periods is None else votes.annotators * votes.n_periods + votes.periods
    sums = np.zeros((votes.n_items, k))
    for start in range(0, len(votes.items), _BLOCK):
        block = slice(start, start + _BLOCK)
        if votes.shares is None:
            values = by_given[who[block], votes.labels[block]]
        else:
            values = np.einsum("ng,ngt->nt", votes.shares[block], by_given[who[block]])
        first, last = votes.items[block][0], votes.items[block][-1]
        for true in range(k):
            sums[first : last + 1, true] += summed(votes.items[block] - first, values[:, true], last - first + 1)
    return sums


def normalized(logs: Floats, gold: NDArray[np.int64]) -> Floats:
    """Return probabilities (items, labels) from their logs up to a constant for each item; gold is certain."""
    shares = np.exp(logs - logs.max(axis=1, keepdims=True))
    shares /= shares.sum(axis=1, keepdims=True)
    return with_gold(shares, gold)


def with_gold(shares: Floats, gold: NDArray[np.int64]) -> Floats:
    """Return soft labels (items, labels) in which those of gold are certain."""
    known = np.flatnonzero(gold != UNKNOWN)
    shares[known] = 0.0
    shares[known, gold[known]] = 1.0
    return shares


def coded(values: Sequence[Any], names: Sequence[Any]) -> NDArray[np.int64]:
    """Return the place of each value (n) among names, UNKNOWN for one that is not there."""
    places = {name: place for place, name in enumerate(names)}
    return np.array([places.get(value, UNKNOWN) for value in values], np.int64)
