"""Scoring texts with a fastText classifier, by the kernels of operators/kernels/fasttext*.py."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from operators.errors import RecipeError
from operators.fasttext.reader import NO_NODE, read_model
from operators.kernels import fasttext_output
from operators.kernels.buffers import text_buffers
from operators.kernels.fasttext import LABEL_PREFIX, hidden_vectors

Probability = Callable[[pa.Array], pa.FloatArray]
_OutputLayer = Callable[[NDArray[np.float32], NDArray[np.float32]], None]

#: Texts whose hidden vectors are held at the same time.
TEXTS_AT_A_TIME = 4096
SHOWN_LABELS = 20


class Classifier:
    """A model that is mapped into memory: opening it reads its dictionary, processes that use it share one copy."""

    def __init__(self, path: Path) -> None:
        """Map the model; RecipeError where it cannot be used (see read_model)."""
        self.path = path
        self.model = read_model(path)

    @property
    def labels(self) -> list[str]:
        """Names of the labels, the most frequent in training first."""
        return self.model.labels.names

    def label_index(self, name: str) -> int:
        """Position of a label; RecipeError with the model's labels and the nearest one where there is none."""
        if name in self.labels:
            return self.labels.index(name)
        prefix = LABEL_PREFIX.decode()
        nearest = difflib.get_close_matches(prefix + name.removeprefix(prefix), self.labels, n=1)
        hint = f"; did you mean {nearest[0]}?" if nearest else ""
        shown = ", ".join(self.labels[:SHOWN_LABELS]) + (", ..." if len(self.labels) > SHOWN_LABELS else "")
        raise RecipeError(f"{name} is none of the {len(self.labels)} labels of {self.path} ({shown}){hint}")

    def probability(self, label: str) -> Probability:
        """A thread-safe function from texts (n) to probabilities of a label (n, float32), as fastText reports them.

        A text is scored as one line, its newlines being white space. Null where the text is null, and where it has no
        feature that the model knows: fastText predicts nothing there. (That is rare: the end of the line is a feature.)
        """
        output_layer = self._output_layer(self.label_index(label))
        dictionary, matrix, dim = self.model.dictionary, self.model.matrix, self.model.arguments.dim

        def probability(texts: pa.Array) -> pa.FloatArray:
            data, offsets = text_buffers(texts)
            probabilities, features = np.empty(len(texts), np.float32), np.empty(len(texts), np.int64)
            hidden = np.empty((min(len(texts), TEXTS_AT_A_TIME), dim), np.float32)
            for first in range(0, len(texts), TEXTS_AT_A_TIME):
                part = slice(first, min(first + TEXTS_AT_A_TIME, len(texts)))
                vectors = hidden[: part.stop - first]
                part_offsets = offsets[first : part.stop + 1]
                hidden_vectors(data, part_offsets, dictionary, matrix, vectors, features[part])
                output_layer(vectors, probabilities[part])
            if np.isnan(probabilities).any():
                raise RecipeError(f"model {self.path}: its matrices hold numbers that are not finite. Train it again.")
            return pa.array(probabilities, mask=np.asarray(texts.is_null()) | (features == 0))

        return probability

    def _output_layer(self, label: int) -> _OutputLayer:
        """The function that turns hidden vectors [n, dim] into probabilities of a label, filled into an array [n]."""
        output, loss = self.model.output, self.model.arguments.loss
        if loss == "hierarchical softmax":
            nodes, rights = path_to_leaf(self.model.labels.counts, label)
            path = np.ascontiguousarray(output[nodes].T)
            return lambda hidden, out: fasttext_output.hierarchical_softmax(hidden, path, rights, out)
        if loss == "softmax":
            weights = np.ascontiguousarray(output.T)
            return lambda hidden, out: fasttext_output.softmax(hidden, weights, label, out)
        column = np.ascontiguousarray(output[label : label + 1].T)
        return lambda hidden, out: fasttext_output.sigmoid(hidden, column, out)


def path_to_leaf(counts: Sequence[int], leaf: int) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """From the root of the Huffman tree of labels to one label: the inner nodes, and whether the path goes right there.

    The tree is fastText's (HierarchicalSoftmaxLoss::buildTree), ties included: counts are those of the labels, falling;
    inner nodes are numbered as they are made, from the leaves up.
    """
    n = len(counts)
    weights = [*counts, *[NO_NODE] * (n - 1)]
    parents, goes_right = [0] * len(weights), [False] * len(weights)
    next_leaf, next_inner = n - 1, n
    for inner in range(n, len(weights)):
        weight = 0
        for right in (False, True):
            if next_leaf >= 0 and weights[next_leaf] < weights[next_inner]:
                child, next_leaf = next_leaf, next_leaf - 1
            else:
                child, next_inner = next_inner, next_inner + 1
            parents[child], goes_right[child] = inner, right
            weight += weights[child]
        weights[inner] = weight

    path = [leaf]
    while path[-1] != len(weights) - 1:
        path.append(parents[path[-1]])
    nodes = np.array([node - n for node in path[:0:-1]], np.int64)
    return nodes, np.array([goes_right[node] for node in path[-2::-1]], np.bool_)
