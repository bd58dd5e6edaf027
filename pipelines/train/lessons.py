"""Lessons: what students learn from and are calibrated with, and the way of the linear student."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, Generic, Literal, Protocol, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from gristmill.operators.student.calibration import Calibration, calibrated, log_loss
from gristmill.operators.student.features import Floats, Ngrams, SparseRows
from gristmill.operators.student.linear import StudentFit, balanced, fit
from gristmill.operators.student.student import Scorer
from gristmill.pipelines.config.wording import excerpt
from gristmill.pipelines.storage import files
from gristmill.pipelines.train.explained_scores import EXAMPLES
from gristmill.pipelines.train.split import LEARN, Examples, Split
from gristmill.pipelines.train.student_figures import strata_of

#: Strengths of the losses that are tried; the one of least log loss on the calibration part is taken.
STRENGTHS = (0.1, 0.3, 1.0, 3.0, 10.0)
#: Shares of the examples whose students make up the learning curve.
CURVE = (0.25, 0.5, 1.0)
_EXCERPT = 200


class LearntStudent(Protocol):
    """Result of a fit: a student, and whatever the way of learning tells besides."""

    @property
    def student(self) -> Scorer:
        """Return the student."""


Fit = TypeVar("Fit", bound=LearntStudent)


@dataclass(frozen=True)
class Lesson(ABC, Generic[Fit]):
    """Material to learn from, in one of the ways to learn."""

    settings: ClassVar[Sequence[float]]  #: of how much it learns from each example, the least first

    parts: Split
    balance: bool  #: whether all labels weigh alike

    @abstractmethod
    def fit(self, which: NDArray[np.int64], setting: float, start: Fit | None = None) -> Fit:
        """Return the student of some of the examples; `start` is that of the same ones by the setting before."""

    @abstractmethod
    def write(self, out: str, taught: Fit) -> None:
        """Write a student to `out`, last, and what explains it beside it."""

    @abstractmethod
    def told(self, setting: float, taught: Fit) -> dict[str, Any]:
        """Return what the report tells of how a student has learnt."""

    def beside_calibration(self) -> Mapping[str, Any]:
        """Return what the file of the calibration says besides, for `read_student`."""
        return {}

    @cached_property
    def apart(self) -> Examples:
        """Return the examples to calibrate with."""
        return self.parts.examples.take(self.parts.calibrated)

    def best(
        self, method: Literal["temperature", "isotonic"], by: str | None, advance: Callable[[], object]
    ) -> tuple[float, Fit, Calibration]:
        """Return the setting of least log loss on the examples to calibrate with, its student and calibration.

        `by` is the field of strata that are calibrated apart.
        """
        apart, found, taught = self.apart, [], None
        strata = None if by is None else (by, apart.strata[by])
        for setting in self.settings:
            taught = self.fit(self.parts.learnt, setting, taught)
            scores = taught.student.scores(apart.texts)
            calibration = calibrated(scores, apart.targets, apart.exclusive, method, strata)
            shares = calibration.probabilities(scores, apart.exclusive, strata_of(apart, calibration))
            loss = log_loss(shares, apart.targets, apart.exclusive)
            found.append((loss, setting, taught, calibration))
            advance()
        return min(found, key=lambda each: each[:2])[1:]

    def curve(self, setting: float, calibration: Calibration, advance: Callable[[], object]) -> list[dict[str, float]]:
        """Return how good students of a part of the examples are."""
        learnt, tested, result = self.parts.learnt, self.parts.examples.take(self.parts.tested), []
        for share in CURVE:
            some = learnt[: max(2, round(share * len(learnt)))]
            scores, targets = self.fit(some, setting).student.scores(tested.texts), tested.targets
            shares = calibration.probabilities(scores, tested.exclusive, strata_of(tested, calibration))
            sides = [side.argmax(axis=1) if tested.exclusive else side >= 0.5 for side in (shares, targets)]
            loss = log_loss(shares, targets, tested.exclusive)
            result.append({"examples": len(some), "accuracy": float((sides[0] == sides[1]).mean()), "log_loss": loss})
            advance()
        return result

    def importances(self, which: NDArray[np.int64]) -> Floats | None:
        """Return what some of the examples count beside others (n, labels); None where all count alike."""
        examples = self.parts.examples
        return balanced(examples.targets[which], examples.exclusive) if self.balance else None


@dataclass(frozen=True)
class LinearLesson(Lesson[StudentFit]):
    """Lesson of the linear student: the texts as rows of n-grams."""

    settings: ClassVar[Sequence[float]] = STRENGTHS

    ngrams: Ngrams
    rows: SparseRows
    rarity: Floats  #: (buckets), by the texts to learn from

    @classmethod
    def of(cls, parts: Split, ngrams: Ngrams, balance: bool = False) -> LinearLesson:
        """Return the lesson of parts."""
        counts = ngrams.occurrences(parts.examples.texts)
        rarity = counts.rarity(ngrams.buckets, parts.sides == LEARN)
        return cls(parts, balance, ngrams, counts.rows(rarity), rarity)

    def fit(self, which: NDArray[np.int64], setting: float, start: StudentFit | None = None) -> StudentFit:
        """Return the student of some of the examples, whose losses have a strength."""
        examples, duals = self.parts.examples, None if start is None else start.duals
        taught = (self.rows.take(which), self.rarity, examples.targets[which], setting)
        importances = self.importances(which)
        return fit(examples.kind, examples.labels, self.ngrams, *taught, start=duals, importances=importances)

    def write(self, out: str, taught: StudentFit) -> None:
        """Write the student, and the examples with what each weighs in it."""
        examples, learnt = self.parts.examples, self.parts.learnt
        kept = self.rows.take(learnt)
        offsets = pa.array(kept.starts)
        texts = examples.texts.take(pa.array(learnt)).to_pylist()
        table = pa.table(
            {
                "id": pa.array([examples.ids[i] for i in learnt], pa.string()),
                "target": pa.array(list(examples.targets[learnt]), pa.list_(pa.float32())),
                "dual": pa.array(list(taught.duals), pa.list_(pa.float64())),
                "columns": pa.LargeListArray.from_arrays(offsets, pa.array(kept.columns, pa.int32())),
                "values": pa.LargeListArray.from_arrays(offsets, pa.array(kept.values)),
                "excerpt": pa.array([excerpt(text, _EXCERPT) for text in texts], pa.string()),
            }
        )
        with files.replacing(out + EXAMPLES) as file:
            pq.write_table(table, file, compression="zstd")
        files.write_bytes(out, taught.student.to_bytes())

    def told(self, setting: float, taught: StudentFit) -> dict[str, Any]:
        """Return the strength of the losses, the rounds of the fit, and the longest n-gram."""
        return {"strength": setting, "rounds": taught.rounds, "order": self.ngrams.order}
