"""The texts that a loop may choose, in a random order, and what a student says of each."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from gristmill.operators.kernels.buffers import id_words
from gristmill.operators.kernels.noise import uniform
from gristmill.operators.label.clusters import Vectors, ngram_vectors
from gristmill.operators.label.samplers import KEY, distinct_texts
from gristmill.operators.student.calibration import Calibration, as_probabilities
from gristmill.operators.student.features import Floats
from gristmill.operators.student.linear import Student
from gristmill.pipelines.engine.base import Engine, run_in_order
from gristmill.pipelines.label.documents import Documents, ShardDocuments
from gristmill.pipelines.progress.reporter import Reporter

_PIECE_DOCUMENTS, _PIECE_BYTES = 4096, 32_000_000
_DIMENSIONS = 256


class Judges(NamedTuple):
    """Models of the labels so far."""

    student: Student
    calibration: Calibration
    sure: Student | None  #: of how sure the annotators are; None where they are as sure of all texts
    labels: tuple[str, ...]  #: all that there are, of which the student may not know some

    def shares(self, texts: pa.LargeStringArray) -> Floats:
        """Return the probability of each label (n, labels) of texts (n), zero of those that the student knows not."""
        known = self.calibration.probabilities(self.student.scores(texts), self.student.exclusive)
        shares = np.zeros((len(texts), len(self.labels)))
        shares[:, [self.labels.index(label) for label in self.student.labels]] = known
        return shares

    def confidence(self, texts: pa.LargeStringArray) -> Floats:
        """Return how sure the annotators probably are of texts (n)."""
        if self.sure is None:
            return np.ones(len(texts))
        return as_probabilities(self.sure.scores(texts), exclusive=False)[:, 0]


class Looks(NamedTuple):
    """Opinions of judges on the texts of a pool (n)."""

    shares: Floats  #: (n, labels)
    sure: Floats  #: (n)
    vectors: Vectors  #: (n, d), or (n, 0) where nobody asked for them


@dataclass(frozen=True)
class LoopTexts:
    """Different texts (n) of documents, in the order of a hash of (seed, content id)."""

    documents: Documents  #: each text once, in the order of the pool
    noise: Floats  #: (n) ascending, between 0 and 1
    engine: Engine
    held: dict[bytes, str] = field(default_factory=dict)  #: texts that were read, by content id

    @classmethod
    def of(cls, documents: Documents, most: int, seed: int, engine: Engine) -> LoopTexts:
        """Return the pool of documents: all their texts, or `most` of them drawn at random."""
        once = documents.without_repeats()
        drawn = once.take(distinct_texts(seed, once.table[KEY]).rows[:most])
        return cls(drawn, uniform(np.uint64(seed), id_words(drawn.table[KEY])), engine)

    @cached_property
    def keys(self) -> list[bytes]:
        """Return the content ids of the texts (n)."""
        return self.documents.table[KEY].to_pylist()  # type: ignore[no-any-return]

    @cached_property
    def places(self) -> dict[bytes, int]:
        """Return the place of each content id."""
        return {key: place for place, key in enumerate(self.keys)}

    def masked(self, keys: Iterable[bytes]) -> NDArray[np.bool_]:
        """Return which texts (n) have one of some content ids."""
        mask = np.zeros(len(self.keys), np.bool_)
        mask[[self.places[key] for key in keys if key in self.places]] = True
        return mask

    def read(self, keys: Iterable[bytes]) -> dict[bytes, str]:
        """Return the texts of content ids, as far as they are in the pool; each is read once and kept."""
        wanted = [key for key in keys if key in self.places]
        pieces = self._pieces(self.masked(key for key in wanted if key not in self.held))
        for texts in run_in_order(self.engine, _read, [piece for _, piece in pieces]):
            self.held.update(texts)
        return {key: self.held[key] for key in wanted}

    def look(self, judges: Judges, vectors: bool, reporter: Reporter, title: str) -> Looks:
        """Return what judges say of every text, and with `vectors` its n-gram vector."""
        pieces = self._pieces(np.ones(len(self.keys), np.bool_))
        parts: list[Looks | None] = [None] * len(pieces)
        with reporter.stage(title, len(pieces), "part") as stage:
            for outcome in self.engine.map(_Look(judges, vectors), [piece for _, piece in pieces]):
                parts[outcome.index] = outcome.unwrap()
                stage.advance()
        order = np.argsort(np.concatenate([places for places, _ in pieces]))
        shares, sure, seen = (np.concatenate(column)[order] for column in zip(*filter(None, parts), strict=True))
        return Looks(shares, sure, seen)

    def _pieces(self, mask: NDArray[np.bool_]) -> list[tuple[NDArray[np.int64], ShardDocuments]]:
        """Return the texts of a mask in pieces of a shard, each with the places (of all texts) of its own."""
        some = np.flatnonzero(mask)
        pieces = []
        for places, of_shard in self.documents.filter(mask).by_shard():
            start = 0
            for piece in of_shard.split(_PIECE_DOCUMENTS, _PIECE_BYTES):
                pieces.append((some[places[start : start + len(piece.keys)]], piece))
                start += len(piece.keys)
        return pieces


def _read(piece: ShardDocuments) -> dict[bytes, str]:
    texts = (text for batch in piece.read() for text in batch.to_pylist())
    return dict(zip(piece.keys, texts, strict=True))


@dataclass(frozen=True)
class _Look:
    """A look at the texts of one piece. Picklable."""

    judges: Judges
    vectors: bool

    def __call__(self, piece: ShardDocuments) -> Looks:
        parts = [
            Looks(
                self.judges.shares(texts),
                self.judges.confidence(texts),
                ngram_vectors(texts, _DIMENSIONS) if self.vectors else np.empty((len(texts), 0), np.float32),
            )
            for texts in piece.read()
        ]
        shares, sure, vectors = (np.concatenate(column) for column in zip(*parts, strict=True))
        return Looks(shares, sure, vectors)
