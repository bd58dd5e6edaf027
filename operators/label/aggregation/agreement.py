"""Agreement of annotators: Krippendorff's alpha over all, Cohen's kappa of two."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gristmill.operators.label.aggregation.votes import Floats, Votes, pairs_of_annotators

Level = Literal["nominal", "ordinal"]


class Kappa(NamedTuple):
    """The agreement of two annotators on the items that both voted on."""

    first: int
    second: int
    items: int
    agreement: float  #: share of the items on which they voted alike
    kappa: float | None  #: None where both only ever gave one and the same label


def alpha(votes: Votes, level: Level, among: NDArray[np.bool_] | None = None) -> float | None:
    """Return Krippendorff's alpha (2011, "Computing Krippendorff's Alpha-Reliability", sections D and E).

    1 is perfect agreement, 0 that of chance. `among` (items) restricts it to some items. `ordinal` takes labels for
    ordered by their numbers. None where no item has two votes, or all votes are for one label.
    """
    k = votes.n_labels
    counts = np.bincount(votes.items * k + votes.labels, minlength=votes.n_items * k).reshape(-1, k)
    if among is not None:
        counts = counts[among]
    per_item = counts.sum(axis=1)
    counts, per_item = counts[per_item > 1].astype(np.float64), per_item[per_item > 1]
    if not len(counts):
        return None
    weighed = counts / (per_item - 1)[:, None]
    pairs = counts.T @ weighed
    pairs[np.diag_indices(k)] -= weighed.sum(axis=0)
    totals = pairs.sum(axis=1)
    n = totals.sum()
    distance = _ordinal(totals) if level == "ordinal" else 1.0 - np.eye(k)
    expected = float((np.outer(totals, totals) * distance).sum()) / (n - 1)
    return None if expected == 0 else 1.0 - float((pairs * distance).sum()) / expected


def _ordinal(totals: Floats) -> Floats:
    """Return the squared distances of labels (labels, labels): by how many votes lie between two of them."""
    place = np.cumsum(totals) - totals / 2
    distance: Floats = (place[:, None] - place[None, :]) ** 2
    return distance


def kappas(votes: Votes, annotators: Sequence[int], level: Level, least: int = 2) -> list[Kappa]:
    """Return Cohen's kappa of each two of some annotators with at least so many items in common, by those.

    Of ordinal labels it is the weighted one, with the squares of the distances of their numbers as weights (Cohen
    1968).
    """
    k, size = votes.n_labels, len(annotators)
    tables = np.zeros(size * size * k * k)
    for a, b, first, second in pairs_of_annotators(votes, annotators):
        tables += np.bincount(((a * size + b) * k + first) * k + second, minlength=len(tables))
    steps = np.arange(k)
    weights = (steps[:, None] - steps[None, :]) ** 2.0 if level == "ordinal" else 1.0 - np.eye(k)
    result = []
    for at, table in enumerate(tables.reshape(size * size, k, k)):
        n = table.sum()
        if n >= least:
            expected = float((np.outer(table.sum(axis=1), table.sum(axis=0)) * weights).sum()) / n
            kappa = None if expected == 0 else 1.0 - float((table * weights).sum()) / expected
            pair_of = (annotators[at // size], annotators[at % size])
            result.append(Kappa(*pair_of, int(n), float(np.trace(table) / n), kappa))
    return sorted(result, key=lambda kappa: (-kappa.items, kappa.first, kappa.second))
