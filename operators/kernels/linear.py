"""Logistic regression on sparse rows by coordinate ascent in the dual.

Yu, Huang and Lin 2011, "Dual coordinate descent methods for logistic regression and maximum entropy models", with
targets between 0 and 1. The weights are the sum of the rows, each times its dual variable, at any time: what a model
says of a text is, to rounding, the sum of what its examples say (representer points, Yeh et al. 2018, section 3).
"""

# mypy: ignore-errors
from __future__ import annotations

import numpy as np

from gristmill.operators.kernels.compiling import kernel

_NEWTON_STEPS = 20
#: Of the draws of an order: Knuth's linear congruential generator, whose high bits are random enough.
_MULTIPLIER, _INCREMENT, _HIGH = np.uint64(6364136223846793005), np.uint64(1442695040888963407), np.uint64(33)


@kernel
def fit_dual(starts, columns, values, squares, targets, weights, duals, costs, rounds, tolerance):
    """Fit weights (float64[d]) and duals (float64[n]) to rows, starting at those that are there; return the rounds.

    Row i has values[starts[i] : starts[i + 1]] (float64) at columns of the same places (int64) and the squared length
    squares[i]; targets: float64[n] in 0..1. Makes |weights|^2 / 2 + (sum of costs (float64[n]) * log losses) least.
    Looks at all rows in each round, in an order of its own (Hsieh et al. 2008, section 3.1: it ends sooner); ends where
    no dual moves by over the tolerance times its cost.
    """
    n = targets.shape[0]
    order = np.arange(n)
    state = np.uint64(n)
    for done in range(rounds):
        largest = 0.0
        for k in range(n):
            state = state * _MULTIPLIER + _INCREMENT
            other = k + np.int64((state >> _HIGH) % np.uint64(n - k))
            i = order[other]
            order[other] = order[k]
            order[k] = i
            margin = 0.0
            for j in range(starts[i], starts[i + 1]):
                margin += weights[columns[j]] * values[j]
            old = duals[i]
            new = _solved(old, margin, squares[i], targets[i], costs[i])
            step = new - old
            if step != 0.0:
                duals[i] = new
                for j in range(starts[i], starts[i + 1]):
                    weights[columns[j]] += step * values[j]
                largest = max(largest, abs(step) / costs[i])
        if largest <= tolerance:
            return done + 1
    return rounds


@kernel
def _solved(dual, margin, square, target, cost):
    """Return the dual that is cost * (target - sigmoid(margin)), all others as they are: Newton, safeguarded."""
    low, high = cost * (target - 1.0), cost * target
    new = min(max(dual, low), high)
    for _ in range(_NEWTON_STEPS):
        sigmoid = 1.0 / (1.0 + np.exp(-(margin + (new - dual) * square)))
        residue = new - cost * (target - sigmoid)
        if residue > 0.0:
            high = new
        else:
            low = new
        step = residue / (1.0 + cost * sigmoid * (1.0 - sigmoid) * square)
        moved = new - step
        if moved <= low or moved >= high:
            moved = (low + high) / 2.0
        if abs(moved - new) <= 1e-12 * cost:
            return moved
        new = moved
    return new


@kernel
def products(starts, columns, values, weights, out):
    """Write out[i, k] (float64[n, labels]): the product of row i and weights[k] (float64[labels, d])."""
    for i in range(starts.shape[0] - 1):
        for k in range(weights.shape[0]):
            total = 0.0
            for j in range(starts[i], starts[i + 1]):
                total += weights[k, columns[j]] * values[j]
            out[i, k] = total
