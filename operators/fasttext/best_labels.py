"""The best labels of texts by a fastText classifier: what the library's predict(k) gives, within 1e-5."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from gristmill.operators.fasttext.classifier import TEXTS_AT_A_TIME, Classifier, in_memory
from gristmill.operators.fasttext.huffman import huffman_tree
from gristmill.operators.fasttext.reader import ModelFile
from gristmill.operators.kernels.fasttext import mean_rows
from gristmill.operators.kernels.fasttext_best import best_leaves, best_of_sigmoid, best_of_softmax
from gristmill.operators.kernels.fasttext_matrix import Matrix, dense_rows

#: A quantised matrix is written out where it then has at most this many bytes (lid.176.ftz: 3.2 MB).
WRITTEN_OUT_BYTES = 1 << 26


class BestLabels(NamedTuple):
    """The labels of the highest probability of n texts."""

    labels: NDArray[np.int64]  #: [n, k], positions in the model's labels, the best first; -1: there are no more
    probabilities: NDArray[np.float64]  #: [n, k]


#: From hidden vectors [n, dim] to labels [n, k] and their probabilities [n, k], both filled in.
_Ranking = Callable[[NDArray[np.float32], NDArray[np.int64], NDArray[np.float64]], None]


def best_labels(classifier: Classifier, k: int) -> Callable[[NDArray[np.uint8], NDArray[np.int64]], BestLabels]:
    """Return a thread-safe function from texts (UTF-8 bytes, offsets int64 [n + 1]) to their k best labels.

    A text is scored as one line, its newlines being white space. Of labels of equal probability the one that was more
    frequent in training comes first. There are fewer than k where the model has no more, where hierarchical softmax
    gives the others less than 1e-5, and where a text has no feature that the model knows: as fastText predicts them.
    """
    model = classifier.model
    rank, matrix = _ranking(model), _written_out(model)

    def best(data: NDArray[np.uint8], offsets: NDArray[np.int64]) -> BestLabels:
        n = len(offsets) - 1
        labels, probabilities = np.empty((n, k), np.int64), np.empty((n, k), np.float64)
        for first in range(0, n, TEXTS_AT_A_TIME):
            part = slice(first, min(first + TEXTS_AT_A_TIME, n))
            hidden = np.empty((part.stop - first, model.arguments.dim), np.float32)
            features = np.empty(len(hidden), np.int64)
            mean_rows(data, offsets[first : part.stop + 1], model.dictionary, matrix, hidden, features)
            rank(hidden, labels[part], probabilities[part])
            labels[part][features == 0] = -1
        classifier.check_finite(probabilities)
        return BestLabels(labels, probabilities)

    return best


def _ranking(model: ModelFile) -> _Ranking:
    if model.arguments.loss == "hierarchical softmax":
        output, children = model.output, huffman_tree(model.labels.counts)
        return lambda hidden, labels, values: best_leaves(hidden, output, children, labels, values)
    weights = np.ascontiguousarray(model.output.T)
    rank = best_of_softmax if model.arguments.loss == "softmax" else best_of_sigmoid
    return lambda hidden, labels, values: rank(hidden, weights, labels, values)


def _written_out(model: ModelFile) -> Matrix:
    """Return the input matrix, in numbers instead of codes where they take little memory: the same sums, sooner."""
    if not model.matrix.quantised or 4 * model.rows * model.arguments.dim > WRITTEN_OUT_BYTES:
        return model.matrix
    rows = np.empty((model.rows, model.arguments.dim), np.float32)
    dense_rows(model.matrix, rows)
    model.release()
    return in_memory(rows, model.matrix)
