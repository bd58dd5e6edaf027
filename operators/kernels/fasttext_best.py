"""The best labels of a fastText classifier: from hidden vectors to the k labels of the highest probability.

One function per loss of fastText 0.9 (loss.cc). Each fills in labels, int64 [n, k], the best first, -1 where there are
fewer, and what fastText reports as their probabilities, float64 [n, k]: NaN throughout where a text's scores are not
numbers. Of labels of equal probability that with the lower number comes first: it was more frequent in training.
"""

# mypy: ignore-errors
from __future__ import annotations

import numpy as np

from gristmill.operators.kernels.compiling import kernel
from gristmill.operators.kernels.fasttext_output import (
    EPSILON,
    dot_products,
    exponential,
    logistic,
    sigmoid_of,
    sigmoid_table,
)


@kernel
def best_leaves(hidden, output, children, labels, probabilities):
    """Fill in the best leaves of the Huffman tree of hierarchical softmax, and their probabilities.

    hidden float32 [n, dim]; output float32 [labels, dim], the weights of the inner nodes first; children int64
    [labels - 1, 2], see `huffman_tree`. As in fastText a branch is given up where its probability is less than that of
    the last of the best so far, or than 1e-5: a label below that is none. The likelier branch is tried first.
    """
    n_labels, k = output.shape[0], labels.shape[1]
    nodes, reached = np.empty(n_labels + 1, np.int64), np.empty(n_labels + 1, np.float64)
    for d in range(hidden.shape[0]):
        clear(labels[d], probabilities[d])
        waiting = 1
        nodes[0], reached[0] = 2 * n_labels - 2, 1.0
        while waiting > 0:
            waiting -= 1
            node, probability = nodes[waiting], reached[waiting]
            if probability < EPSILON or (labels[d, k - 1] >= 0 and probability < probabilities[d, k - 1]):
                continue
            if node < n_labels:
                rank(node, probability, labels[d], probabilities[d])
                continue
            right = logistic(np.float64(dot(hidden[d], output[node - n_labels])))
            if np.isnan(right):
                probabilities[d] = np.nan
                break
            likelier = 1 if right > 0.5 else 0
            for side in (1 - likelier, likelier):  # the last is taken first
                share = right if side == 1 else 1.0 - right
                nodes[waiting], reached[waiting] = children[node - n_labels, side], probability * (share + EPSILON)
                waiting += 1


@kernel
def best_of_softmax(hidden, weights, labels, probabilities):
    """Fill in the best labels by softmax, and their probabilities. hidden float32 [n, dim], weights [dim, labels]."""
    scores = np.empty(weights.shape[1], np.float32)
    for d in range(hidden.shape[0]):
        clear(labels[d], probabilities[d])
        dot_products(hidden[d], weights, scores)
        for label in range(scores.shape[0]):
            rank(label, np.float64(scores[label]), labels[d], probabilities[d])
        highest, total = probabilities[d, 0], 0.0
        for label in range(scores.shape[0]):
            total += exponential(np.float64(scores[label]) - highest)
        for i in range(min(labels.shape[1], scores.shape[0])):
            probabilities[d, i] = exponential(probabilities[d, i] - highest) / total + EPSILON


@kernel
def best_of_sigmoid(hidden, weights, labels, probabilities):
    """Fill in the best labels, each on its own, and their probabilities: losses one-vs-all and negative sampling.

    hidden float32 [n, dim], weights float32 [dim, labels]
    """
    scores, table = np.empty(weights.shape[1], np.float32), sigmoid_table()
    for d in range(hidden.shape[0]):
        clear(labels[d], probabilities[d])
        dot_products(hidden[d], weights, scores)
        for label in range(scores.shape[0]):
            probability = sigmoid_of(scores[label], table) + EPSILON
            if np.isnan(probability):
                probabilities[d] = np.nan
                break
            rank(label, probability, labels[d], probabilities[d])


@kernel
def clear(labels, probabilities):
    """Make labels [k] none and their probabilities [k] zero."""
    labels[:] = -1
    probabilities[:] = 0.0


@kernel
def rank(label, value, labels, values):
    """Put a label in its place among the k best so far, by falling value, then by rising label; or leave it out."""
    place = labels.shape[0]
    while place > 0 and precedes(label, value, labels[place - 1], values[place - 1]):
        place -= 1
        if place + 1 < labels.shape[0]:
            labels[place + 1], values[place + 1] = labels[place], values[place]
    if place < labels.shape[0]:
        labels[place], values[place] = label, value


@kernel
def precedes(label, value, other, other_value):
    """Return whether a label comes before another of the best, which may be none (-1)."""
    return other < 0 or value > other_value or (value == other_value and label < other)


@kernel
def dot(a, b):
    """Return the product of two float32 vectors, summed from first dimension to last, as fastText does."""
    product = np.float32(0)
    for k in range(a.shape[0]):
        product += a[k] * b[k]
    return product
