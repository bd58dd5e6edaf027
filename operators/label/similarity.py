"""Labels by the likeness of a text to what the labels mean: hashed words, weighted by rarity, and no model.

A label begins as the words of its name and definition, and takes on those of the texts that are nearest to it (as in
Schopf et al. 2022, "Evaluating Unsupervised Text Classification": a label's vector is that of its keywords and of the
centroid of its nearest documents).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from gristmill.operators.student.features import Floats, Ngrams, SparseRows
from gristmill.operators.student.linear import scores_of_rows

_WORDS = Ngrams(1, 1 << 18)
#: Nearest texts that a label takes words of, in turns: shares of the texts that it would have if all had as many.
_SHARES = (0.04, 0.4, 0.8)
_LEAST = 1e-12


class LabelMeanings(NamedTuple):
    """The meanings of labels as vectors, from a corpus of texts."""

    labels: tuple[str, ...]
    vectors: Floats  #: (labels, buckets + 1)
    rarity: Floats  #: (buckets)
    margin: float  #: difference of the two best likenesses below which nothing is said

    @classmethod
    def learn(cls, definitions: Mapping[str, str], corpus: pa.LargeStringArray, abstain: float) -> LabelMeanings:
        """Return the meanings of labels by their definitions and the texts of a corpus.

        On a share of the corpus of `abstain`, the texts that lie most between two labels, nothing is said.
        """
        counts = _WORDS.occurrences(corpus)
        rarity = counts.rarity(_WORDS.buckets) - 1  # a word of every text says nothing
        told = pa.array([f"{label} {words}" for label, words in definitions.items()], pa.large_string())
        texts, given = _rows(corpus, rarity), _rows(told, rarity)
        defined = np.stack([_mean(given, np.array([i])) for i in range(len(definitions))])
        vectors = defined
        for share in _SHARES:
            likeness = scores_of_rows(texts, vectors)
            best, margin = likeness.argmax(axis=1), _margins(likeness)
            most = max(1, round(share * len(corpus) / len(definitions)))
            near = []
            for label in range(len(definitions)):
                mine = np.flatnonzero((best == label) & (margin > 0))
                near.append(_mean(texts, mine[np.argsort(-margin[mine], kind="stable")[:most]]))
            vectors = _unit(defined + _unit(np.stack(near)))
            vectors -= vectors.mean(axis=0)
        margins = _margins(scores_of_rows(texts, vectors))
        return cls(tuple(definitions), vectors, rarity, float(np.quantile(margins, abstain)) if abstain else 0.0)

    def answers(self, texts: pa.LargeStringArray) -> list[str | None]:
        """Return the label of each text (n); None where two labels are about as near."""
        likeness = scores_of_rows(_rows(texts, self.rarity), self.vectors)
        sure = _margins(likeness) > self.margin
        return [
            self.labels[i] if known else None for i, known in zip(likeness.argmax(axis=1).tolist(), sure, strict=True)
        ]


def _rows(texts: pa.LargeStringArray, rarity: Floats) -> SparseRows:
    """Return the words of texts (n) as rows of length 1, without a constant."""
    return _WORDS.occurrences(texts).unit_rows(rarity, 0.0)


def _mean(rows: SparseRows, which: NDArray[np.int64]) -> Floats:
    """Return the mean of some rows, as a vector (buckets + 1)."""
    some = rows.take(which)
    mean: Floats = np.bincount(some.columns, some.values, _WORDS.buckets + 1) / max(1, len(which))
    return mean


def _unit(vectors: Floats) -> Floats:
    lengths = np.sqrt((vectors**2).sum(axis=1, keepdims=True))
    unit: Floats = vectors / np.maximum(lengths, _LEAST)
    return unit


def _margins(likeness: Floats) -> Floats:
    """Return how far the best likeness (n, labels) of each row is from the second best."""
    two = np.partition(likeness, -2, axis=1)[:, -2:]
    margins: Floats = two[:, 1] - two[:, 0]
    return margins
