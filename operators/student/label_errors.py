"""Labels that are probably wrong: what other texts say of a text, beside the label that it was given.

Two linear models, a logistic regression and multinomial naive Bayes, learn from all texts but a fold and say what the
labels of the fold are. The label of a text is then taken for a draw from a row of a noise matrix, that of its true
label, which is not seen: expectation maximisation finds the matrix, and the probability of each label for each text
(Dawid and Skene 1979, with one annotator and the models as the prior of each text). It stands on out-of-sample
predictions as confident learning does (Northcutt, Jiang and Chuang 2021), and says in addition how probable each error
is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from gristmill.operators.student.calibration import slope_and_offsets, softmax
from gristmill.operators.student.features import Floats, Ngrams, SparseRows
from gristmill.operators.student.linear import both_ways, fit, scores_of_rows

FOLDS = 5
_STRENGTH, _TOLERANCE = 3.0, 1e-2  # of the logistic regression, on rows of length 1
_SMOOTHING = 0.2  # of naive Bayes
_ROUNDS, _NEWTON_STEPS = 30, 3
_RIGHT = 0.92  # share of right labels that the search begins with
_PRIOR = 0.25  # by which each kind of error is drawn to the mean of all
_LEAST = 1e-300


class LabelErrors(NamedTuple):
    """Probabilities of the labels of texts (n)."""

    probable: Floats  #: (n, labels) probability of each label, given the text and the label that it has
    expected: Floats  #: (n, labels) the same, given the text alone
    noise: Floats  #: (labels, labels) how often a label, by row, is given as another
    order: int  #: longest n-gram of the models that say most of the labels
    log_likelihood: float  #: mean over the texts, in nats

    def wrong(self, targets: Floats) -> Floats:
        """Return the probability that the label of each text (n) is wrong; `targets` (n, labels) are soft labels."""
        given = targets.argmax(axis=1)
        wrong: Floats = 1 - self.probable[np.arange(len(given)), given]
        return wrong


class TextRows(NamedTuple):
    """Texts (n) as rows of length 1, by the longest n-gram that counts: single words, and all up to a longer one."""

    buckets: int
    rows: Mapping[int, SparseRows]

    @classmethod
    def of(cls, texts: pa.LargeStringArray, ngrams: Ngrams) -> TextRows:
        """Return the rows of texts (n)."""
        each = (ngrams._replace(order=order) for order in sorted({1, ngrams.order}))
        counts = {n.order: n.occurrences(texts) for n in each}
        return cls(ngrams.buckets, {k: of.unit_rows(of.rarity(ngrams.buckets)) for k, of in counts.items()})

    @property
    def steps(self) -> int:
        """Return how often `find_label_errors` advances."""
        return FOLDS * len(self.rows)


def find_label_errors(
    texts: TextRows,
    targets: Floats,
    folds: NDArray[np.int64],
    known: NDArray[np.bool_] | None = None,
    advance: Callable[[], object] = lambda: None,
) -> LabelErrors:
    """Return what labels of texts (n) that exclude each other probably are; `targets` (n, labels) are those given.

    A fold (n, 0 to FOLDS - 1) is predicted by models of the others: near copies must share one. Models of either kind
    of rows are compared by how well they foretell labels. The labels of `known` texts (n) are right. `advance` is
    called after each fold of each kind.
    """
    found = []
    for order, rows in texts.rows.items():
        scores = _out_of_sample(rows, targets, folds, Ngrams(order, texts.buckets), advance)
        found.append(_noisy_channel(scores, targets, known, order))
    return max(found, key=lambda errors: errors.log_likelihood)


def folds_of(clusters: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the fold of each text (n): those of a cluster, the number of its first text, have the same."""
    first, places = np.unique(clusters, return_inverse=True)
    folds: NDArray[np.int64] = (np.arange(len(first)) % FOLDS)[places]
    return folds


def _out_of_sample(
    rows: SparseRows, targets: Floats, folds: NDArray[np.int64], ngrams: Ngrams, advance: Callable[[], object]
) -> Floats:
    """Return scores (n, labels) of rows (n) by models that learnt from the other folds, of mean 0 in each row."""
    labels = targets.shape[1]
    names = [str(label) for label in range(labels)]
    # n-grams that occur in no text have no weights: there are far more of them, and tables would hold them all
    used, places = np.unique(np.append(rows.columns, ngrams.buckets), return_inverse=True)
    unused = ngrams.buckets + 1 - len(used)
    rows, ngrams = rows._replace(columns=places[:-1]), ngrams._replace(buckets=len(used) - 1)
    no_weights = np.ones(ngrams.buckets)
    by_regression, by_bayes = np.zeros(targets.shape), np.zeros(targets.shape)
    for fold in range(FOLDS):
        others, here = np.flatnonzero(folds != fold), np.flatnonzero(folds == fold)
        advance()
        if not len(others) or not len(here):
            continue
        learnt, told = rows.take(others), rows.take(here)
        student = fit("choice", names, ngrams, learnt, no_weights, targets[others], _STRENGTH, tolerance=_TOLERANCE)
        weights = np.concatenate([student.student.values, student.student.bias[:, None]], axis=1)
        by_regression[here] = both_ways(scores_of_rows(told, weights), labels)
        by_bayes[here] = scores_of_rows(told, _naive_bayes(learnt, targets[others], len(used), unused))
    return _standardised(by_regression) + _standardised(by_bayes)


def _naive_bayes(rows: SparseRows, targets: Floats, columns: int, unused: int) -> Floats:
    """Return the weights (labels, columns) of multinomial naive Bayes; the last is of the prior.

    `unused` columns, which no row has, take their share of the smoothing.
    """
    of_row = np.repeat(np.arange(len(targets)), np.diff(rows.starts))
    sums = [np.bincount(rows.columns, rows.values * target[of_row], columns) for target in targets.T]
    smoothed = np.stack(sums) + _SMOOTHING
    weights: Floats = np.log(smoothed / (smoothed.sum(axis=1, keepdims=True) + _SMOOTHING * unused))
    weights -= weights.mean(axis=0)
    weights[:, -1] = np.log(np.maximum(targets.mean(axis=0), _LEAST))
    return weights


def _standardised(scores: Floats) -> Floats:
    centred: Floats = scores - scores.mean(axis=1, keepdims=True)
    spread = float(centred.std())
    return centred / spread if spread else centred


def _noisy_channel(scores: Floats, targets: Floats, known: NDArray[np.bool_] | None, order: int) -> LabelErrors:
    """Return the probabilities of labels by expectation maximisation, from scores (n, labels) and soft labels."""
    n, labels = targets.shape
    doubted = np.ones(n, np.bool_) if known is None else ~known
    slope, bias = 1.0, np.zeros(labels)
    noise = np.full((labels, labels), (1 - _RIGHT) / (labels - 1))
    np.fill_diagonal(noise, _RIGHT)
    errors = ~np.eye(labels, dtype=bool)
    likelihood, probable = 0.0, targets
    for _ in range(_ROUNDS):
        expected = softmax(slope * scores + bias)
        evidence = np.maximum(targets @ noise.T, _LEAST)
        joint = expected * evidence
        total = np.maximum(joint.sum(axis=1, keepdims=True), _LEAST)
        likelihood = float(np.log(total[doubted]).mean()) if doubted.any() else 0.0
        probable = np.where(doubted[:, None], joint / total, targets)
        counts = noise * ((probable / evidence)[doubted].T @ targets[doubted])
        counts[errors] = (counts[errors] + _PRIOR * counts[errors].mean()) / (1 + _PRIOR)
        noise = counts / np.maximum(counts.sum(axis=1, keepdims=True), _LEAST)
        slope, bias = slope_and_offsets(scores, probable, _NEWTON_STEPS, slope, bias)
    return LabelErrors(probable, softmax(slope * scores + bias), noise, order, likelihood)


def tree_distances(labels: Sequence[str]) -> Floats:
    """Return how far each label is from each other (labels, labels), from 0 to 1.

    Labels with `/` are places in a tree: those that begin alike are nearer.
    """
    paths = [label.split("/") for label in labels]
    distances = np.ones((len(labels), len(labels)))
    for i, one in enumerate(paths):
        for j, other in enumerate(paths):
            alike = 0
            while alike < min(len(one), len(other)) and one[alike] == other[alike]:
                alike += 1
            distances[i, j] = 1 - alike / max(len(one), len(other))
    return distances
