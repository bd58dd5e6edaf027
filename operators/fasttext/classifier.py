"""Scoring texts with a fastText classifier, by the kernels of operators/kernels/fasttext*.py."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from gristmill.operators.errors import RecipeError
from gristmill.operators.fasttext.huffman import path_to_leaf
from gristmill.operators.fasttext.reader import read_model
from gristmill.operators.kernels import fasttext_output
from gristmill.operators.kernels.buffers import text_buffers
from gristmill.operators.kernels.fasttext import LABEL_PREFIX, mean_rows
from gristmill.operators.kernels.fasttext_matrix import Matrix, project_rows

Probability = Callable[[pa.Array], pa.FloatArray]
_Bytes = NDArray[np.uint8]
_Counts = NDArray[np.int64]
_Floats = NDArray[np.float32]
#: From texts (bytes, offsets [n + 1]) to probabilities [n] and numbers of features [n], both filled in.
_Score = Callable[[_Bytes, _Counts, _Floats, _Counts], None]

#: Texts whose means are held at the same time.
TEXTS_AT_A_TIME = 4096
#: Rows that are projected before their pages are given back.
ROWS_AT_A_TIME = 1 << 16
#: A model is projected where a row of the input matrix has at least this many bytes for each score.
WORTH_PROJECTING = 16
#: Texts of more features are scored in fastText's own way. (It differed by 1e-5 in texts of some 300,000.)
PROJECTED_FEATURES = 50_000
SHOWN_LABELS = 20


class _OutputLayer(NamedTuple):
    """The way from a hidden vector to the probability of a label."""

    weights: NDArray[np.float32]  #: rows of the output matrix that give its scores, [scores, dim]
    probabilities: Callable[[NDArray[Any], _Floats], None]  #: from scores [n, scores], filled into an array [n]
    smooth: bool  #: scores that differ by a rounding error give probabilities that do


class Classifier:
    """A model that is mapped into memory: opening it reads its dictionary.

    Scoring uses either a small projection of the model or the mapped file itself, which processes share.
    """

    def __init__(self, path: Path) -> None:
        """Map the model; raise RecipeError where it cannot be used (see read_model)."""
        self.path = path
        self.model = read_model(path)

    @property
    def labels(self) -> list[str]:
        """Return the names of the labels, the most frequent in training first."""
        return self.model.labels.names

    def label_index(self, name: str) -> int:
        """Return the position of a label; raise RecipeError with the labels and the nearest one where it is none."""
        if name in self.labels:
            return self.labels.index(name)
        prefix = LABEL_PREFIX.decode()
        nearest = difflib.get_close_matches(prefix + name.removeprefix(prefix), self.labels, n=1)
        hint = f"; did you mean {nearest[0]}?" if nearest else ""
        shown = ", ".join(self.labels[:SHOWN_LABELS]) + (", ..." if len(self.labels) > SHOWN_LABELS else "")
        raise RecipeError(f"{name} is none of the {len(self.labels)} labels of {self.path} ({shown}){hint}")

    def probability(self, label: str) -> Probability:
        """Return a thread-safe function from texts (n) to fastText's probabilities of a label (n, float32).

        A text is scored as one line, its newlines being white space. Null where the text is null, and where it has no
        feature that the model knows: fastText predicts nothing there. (That is rare: the end of the line is a feature.)
        """
        output = self._output_layer(self.label_index(label))
        exact = self._by_hidden_vectors(output)
        worth_it = output.smooth and len(output.weights) * WORTH_PROJECTING <= self.model.matrix.stride
        score = self._by_projection(output, exact) if worth_it else exact

        def probability(texts: pa.Array) -> pa.FloatArray:
            data, offsets = text_buffers(texts)
            probabilities, features = np.empty(len(texts), np.float32), np.empty(len(texts), np.int64)
            for first in range(0, len(texts), TEXTS_AT_A_TIME):
                part = slice(first, min(first + TEXTS_AT_A_TIME, len(texts)))
                score(data, offsets[first : part.stop + 1], probabilities[part], features[part])
            self.check_finite(probabilities)
            return pa.array(probabilities, mask=np.asarray(texts.is_null()) | (features == 0))

        return probability

    def scores(self) -> Callable[[_Bytes, _Counts], NDArray[np.float64]]:
        """Return a thread-safe function from texts (UTF-8 bytes, offsets [n + 1]) to the scores of labels [n, labels].

        They are what the loss makes probabilities of, one for each label but with hierarchical softmax; summed in 64
        bits. A text is scored as one line, its newlines being white space.
        """
        model, matrix = self.model, self._projected(self.model.output)

        def scores(data: _Bytes, offsets: _Counts) -> NDArray[np.float64]:
            found, features = np.empty((len(offsets) - 1, len(self.labels))), np.empty(len(offsets) - 1, np.int64)
            mean_rows(data, offsets, model.dictionary, matrix, found, features)
            self.check_finite(found)
            return found

        return scores

    def check_finite(self, results: NDArray[Any]) -> None:
        """Raise RecipeError where a result is not a number: the model's matrices hold some that are none."""
        if np.isnan(results).any():
            raise RecipeError(f"model {self.path}: its matrices hold numbers that are not finite. Train it again.")

    def _by_hidden_vectors(self, output: _OutputLayer) -> _Score:
        """Score as fastText does: a text's rows are added, then multiplied by the weights of the output layer."""
        dictionary, matrix, weights = self.model.dictionary, self.model.matrix, np.ascontiguousarray(output.weights.T)

        def score(data: _Bytes, offsets: _Counts, probabilities: _Floats, features: _Counts) -> None:
            hidden = np.empty((len(features), weights.shape[0]), np.float32)
            mean_rows(data, offsets, dictionary, matrix, hidden, features)
            scores = np.empty((len(features), weights.shape[1]), np.float32)
            fasttext_output.scores_of(hidden, weights, scores)
            output.probabilities(scores, probabilities)

        return score

    def _by_projection(self, output: _OutputLayer, exact: _Score) -> _Score:
        """Multiply the rows by the weights beforehand: a text's scores are then the mean of its rows' scores.

        A row of scores is a few bytes that stay in the processor's caches, where a row of the matrix is some hundred
        that come from memory. The sums are in float64. fastText's are in float32 and so far off for a very long text
        that only the same additions in the same order are equal to them.
        """
        model, n_scores = self.model, len(output.weights)
        dictionary, matrix = model.dictionary, self._projected(output.weights)

        def score(data: _Bytes, offsets: _Counts, probabilities: _Floats, features: _Counts) -> None:
            scores = np.empty((len(features), n_scores), np.float64)
            mean_rows(data, offsets, dictionary, matrix, scores, features)
            output.probabilities(scores, probabilities)
            long_texts = np.flatnonzero(features > PROJECTED_FEATURES)
            for i in long_texts:
                exact(data, offsets[i : i + 2], probabilities[i : i + 1], features[i : i + 1])
            if len(long_texts):
                model.release()

        return score

    def _projected(self, weights: NDArray[np.float32]) -> Matrix:
        """Return the input matrix times the weights, float32 [rows, scores]."""
        scores = np.empty((self.model.rows, len(weights)), np.float32)
        for first in range(0, len(scores), ROWS_AT_A_TIME):
            project_rows(self.model.matrix, weights, first, scores[first : first + ROWS_AT_A_TIME])
            self.model.release()
        return in_memory(scores, self.model.matrix)

    def _output_layer(self, label: int) -> _OutputLayer:
        output, loss = self.model.output, self.model.arguments.loss
        if loss == "hierarchical softmax":
            nodes, rights = path_to_leaf(self.model.labels.counts, label)
            return _OutputLayer(output[nodes], partial(fasttext_output.hierarchical_softmax, rights), smooth=True)
        if loss == "softmax":
            return _OutputLayer(output, partial(fasttext_output.softmax, label), smooth=True)
        # fastText looks the probability up in a coarse table.
        return _OutputLayer(output[label : label + 1], fasttext_output.sigmoid, smooth=False)


def in_memory(rows: _Floats, of: Matrix) -> Matrix:
    """Return rows, float32 [n, m], as a matrix of the same types as one in a file: kernels are compiled for these."""
    rows.flags.writeable = False
    return of._replace(file=rows.view(np.uint8).reshape(-1), start=0, stride=rows.strides[0], quantised=False)
