"""Scores from comparisons: which of two items is better, or that they are alike."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from gristmill.operators.label.aggregation.votes import Floats, summed


class Strengths(NamedTuple):
    """Scores of items, by comparisons."""

    scores: Floats  #: (items), logs of strengths, their mean 0
    errors: Floats  #: (items), standard errors, as if the scores of all others were known
    tie: float  #: nu of the model: 0 where there are no ties
    iterations: int


_PRIOR = 0.1  # precision of the normal prior of scores: an item that wins always has a finite score
_DAMPING = 0.5  # with which steps on the diagonal of the Laplacian of comparisons cannot overshoot
_LARGEST = 2.0


def bradley_terry(
    left: NDArray[np.int64],
    right: NDArray[np.int64],
    outcome: Floats,
    n_items: int,
    iterations: int = 2000,
    tolerance: float = 1e-6,
) -> Strengths:
    """Return the scores of items by comparisons (n): `outcome` is 1 where left is better, 0 right, 0.5 they are alike.

    The model is that of Bradley and Terry (1952) with the ties of Davidson (1970): i beats j with probability
    a / (a + b + nu sqrt(ab)), a and b their strengths. Scores are logs of strengths, with a normal prior of
    variance 10.
    """
    ties = outcome == 0.5
    scores: Floats = np.zeros(n_items)
    information: Floats = np.ones(n_items)
    log_tie, done = 0.0 if ties.any() else -np.inf, 0
    for _ in range(iterations):
        done += 1
        half = (scores[left] - scores[right]) / 2
        top = np.maximum(np.abs(half), log_tie)
        win, lose, tie = np.exp(half - top), np.exp(-half - top), np.exp(log_tie - top)
        total = win + lose + tie
        win, lose, tie = win / total, lose / total, tie / total
        surprise = outcome - (win + tie / 2)
        gradient = summed(left, surprise, n_items) - summed(right, surprise, n_items) - _PRIOR * scores
        variance = win + tie / 4 - (win + tie / 2) ** 2
        information = summed(left, variance, n_items) + summed(right, variance, n_items) + _PRIOR
        step: Floats = np.clip(_DAMPING * gradient / information, -_LARGEST, _LARGEST)
        scores = scores + step
        moved = float(np.abs(step).max(initial=0.0))
        if ties.any():
            change = (float(ties.sum()) - float(tie.sum())) / max(1e-9, float((tie * (1 - tie)).sum()))
            log_tie += float(np.clip(_DAMPING * change, -_LARGEST, _LARGEST))
            moved = max(moved, abs(change))
        if moved < tolerance:
            break
    scores = scores - scores.mean() if n_items else scores
    return Strengths(scores, 1 / np.sqrt(information), float(np.exp(log_tie)), done)
