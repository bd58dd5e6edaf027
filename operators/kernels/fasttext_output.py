"""The label side of a fastText classifier: from hidden vectors to scores, from scores to the probability of one label.

Scores are dot products with rows of the output matrix, in float32 in fastText's own order; the rows are the lanes, so
that they are computed side by side. One function per loss of fastText 0.9 (loss.cc) takes it from there. fastText
reports exp(log(p + 1e-5)), a little more than the probability p, and so do these.
"""

# mypy: ignore-errors
from __future__ import annotations

import math

import numpy as np

from gristmill.operators.kernels.compiling import kernel

#: Added by fastText to a probability before it takes the logarithm.
EPSILON = 1e-5

#: fastText looks its sigmoid up in a table over [-8, 8]; outside it is 0 or 1.
_SIGMOID_STEPS = 512
_SIGMOID_LIMIT = 8

_LOG2_E = 1.4426950408889634
_LN2_HIGH = 0.693147180369123816490  # 33 bits of ln 2: its product with a small integer is exact
_LN2_LOW = 1.90821492927058770002e-10


@kernel
def scores_of(hidden, weights, scores):
    """Fill in scores float32 [n, m] of hidden vectors float32 [n, dim] by weights float32 [dim, m]."""
    for d in range(hidden.shape[0]):
        dot_products(hidden[d], weights, scores[d])


@kernel
def softmax(label, scores, probabilities):
    """Fill in the probability of one label among all. scores [n, labels]; result float32 [n]."""
    for d in range(scores.shape[0]):
        highest, total = scores[d, 0], 0.0
        for other in range(1, scores.shape[1]):
            highest = max(highest, scores[d, other])
        for other in range(scores.shape[1]):
            total += exponential(np.float64(scores[d, other]) - highest)
        probabilities[d] = exponential(np.float64(scores[d, label]) - highest) / total + EPSILON


@kernel
def sigmoid(scores, probabilities):
    """Fill in the probability of one label on its own: losses one-vs-all and negative sampling.

    scores float32 [n, 1]; result float32 [n].
    """
    table = sigmoid_table()
    for d in range(scores.shape[0]):
        probabilities[d] = sigmoid_of(scores[d, 0], table) + EPSILON


@kernel
def sigmoid_table():
    """Return fastText's table of the sigmoid, float32."""
    table = np.empty(_SIGMOID_STEPS + 1, np.float32)
    for i in range(_SIGMOID_STEPS + 1):
        table[i] = logistic(2.0 * _SIGMOID_LIMIT * i / _SIGMOID_STEPS - _SIGMOID_LIMIT)
    return table


@kernel
def sigmoid_of(score, table):
    """Return the sigmoid of a float32 score as the table has it."""
    if np.isnan(score):
        return np.nan
    if score < -_SIGMOID_LIMIT:
        return 0.0
    if score > _SIGMOID_LIMIT:
        return 1.0
    # The same float32 steps as fastText's, so that the same cell of the table is taken.
    cell = np.float32(score + np.float32(_SIGMOID_LIMIT)) * np.float32(_SIGMOID_STEPS)
    return np.float64(table[np.int64(cell / np.float32(2 * _SIGMOID_LIMIT))])


@kernel
def hierarchical_softmax(rights, scores, probabilities):
    """Fill in the probability of the leaf to which a path of binary decisions leads.

    scores [n, decisions], of the inner nodes from the root down; rights bool [decisions], whether the path goes right
    there; result float32 [n].
    """
    for d in range(scores.shape[0]):
        probability = 1.0
        for i in range(scores.shape[1]):
            right = logistic(np.float64(scores[d, i]))
            probability *= (right if rights[i] else 1.0 - right) + EPSILON
        probabilities[d] = probability


@kernel
def dot_products(vector, matrix, products):
    """Multiply vector [dim] by matrix [dim, m], all float32, each product summed from first dimension to last."""
    products[:] = np.float32(0)
    for k in range(vector.shape[0]):
        for i in range(products.shape[0]):
            products[i] += matrix[k, i] * vector[k]


@kernel
def logistic(x):
    """Return 1 / (1 + e**-x)."""
    return 1.0 / (1.0 + exponential(-x))


@kernel
def exponential(x):
    """Return e**x in float64, within 2 units in the last place.

    Made of IEEE operations alone, unlike the C library's, whose last bit depends on the machine: x = k ln 2 + r, and a
    Taylor polynomial of degree 13 for |r| <= ln(2) / 2.
    """
    if x > 709.0:
        return np.inf
    if x < -708.0:
        return 0.0
    k = math.floor(x * _LOG2_E + 0.5)
    r = (x - k * _LN2_HIGH) - k * _LN2_LOW
    power = 1.0
    for n in range(13, 0, -1):
        power = 1.0 + power * r / n
    return math.ldexp(power, np.int32(k))
