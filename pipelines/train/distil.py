"""`gristmill distil`: a student of labels, calibrated, with a report on texts that it has not seen.

The same examples give the same student, byte for byte, in any order.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from gristmill.operators.errors import RecipeError
from gristmill.operators.measures.distilled import CALIBRATION
from gristmill.operators.rules.cut import REPORT
from gristmill.operators.student.calibration import Calibration, calibrated, log_loss, of_unlabelled
from gristmill.operators.student.features import Floats, Ngrams, SparseRows
from gristmill.operators.student.linear import StudentFit, balanced, fit
from gristmill.pipelines.config.wording import excerpt
from gristmill.pipelines.progress.reporter import Reporter
from gristmill.pipelines.storage import files
from gristmill.pipelines.train.correction import Correct, Correction, corrected
from gristmill.pipelines.train.explained_scores import EXAMPLES
from gristmill.pipelines.train.split import LEARN, Examples, Split, split
from gristmill.pipelines.train.student_figures import figures, strata_of
from gristmill.pipelines.train.student_report import markdown

#: Strengths of the losses that are tried; the one of least log loss on the calibration part is taken.
STRENGTHS = (0.1, 0.3, 1.0, 3.0, 10.0)
#: Shares of the examples whose students make up the learning curve.
CURVE = (0.25, 0.5, 1.0)
_EXCERPT = 200


@dataclass(frozen=True)
class Options:
    """Options of the training of a student."""

    ngram: int = 2
    buckets: int = 1 << 18
    seed: int = 0
    calibration: Literal["temperature", "isotonic"] | None = None  #: isotonic with `unlabelled`, else temperature
    unlabelled: str | None = None  #: the label of texts that nobody looked at; some of them are of the other
    prior: float | None = None  #: the share of them that is; by default it is estimated
    correct: Correct = "auto"  #: whether to learn labels that other texts speak against as they probably should be
    calibrate_by: str | None = None  #: a field of strata that are calibrated apart
    balance: bool = False  #: whether all labels weigh alike, however rare

    @property
    def method(self) -> Literal["temperature", "isotonic"]:
        """Return how scores are calibrated."""
        # the odds of a linear model grow without end, those of being labelled do not
        return self.calibration or ("temperature" if self.unlabelled is None else "isotonic")


def distil(
    examples: Examples,
    out: str,
    reporter: Reporter,
    options: Options = Options(),
    test: Examples | None = None,
) -> dict[str, Any]:
    """Learn from examples; write the student to `out`, its calibration and examples beside it; return the report.

    `test` are examples to test with, in place of a part of the others; those that are near copies of one of them are
    not learnt from. Raises RecipeError where there are too few examples, or a label is in none of them.
    """
    unlabelled = options.unlabelled
    if unlabelled is not None and (unlabelled not in examples.labels or len(examples.labels) != 2):
        raise RecipeError(f"unlabelled names one of two labels, not {unlabelled} of {', '.join(examples.labels)}")
    if options.calibrate_by is not None and (unlabelled is not None or options.calibrate_by not in examples.strata):
        known = ", ".join(examples.strata) or "none: name some with --by"
        why = "with `unlabelled` there is one prior" if unlabelled is not None else f"there are {known}"
        raise RecipeError(f"texts cannot be calibrated by {options.calibrate_by}: {why}")
    lesson, correction = prepared(examples, test, options, reporter)
    with reporter.stage("students", len(STRENGTHS) + len(CURVE), "fit") as stage:
        strength, fitted, of_labels = lesson.best(options, stage.advance)
        calibration, prior = of_labels, None
        if unlabelled is not None:
            apart = lesson.apart
            positive = 1 - apart.labels.index(unlabelled)
            scores = fitted.student.scores(apart.texts)
            calibration, prior = of_unlabelled(of_labels, scores, apart.targets, positive, options.prior)
        report = {"model": out, **figures(lesson.parts, fitted.student, calibration, options.seed, prior)}
        report["learning_curve"] = lesson.curve(strength, of_labels, stage.advance)
    report |= {"options": asdict(options), "strength": strength, "rounds": fitted.rounds, "order": correction.order}
    report["correction"] = correction.report
    report["warnings"] += correction.warnings + [
        f"no text to learn from has the label {label}: the student does not know it" for label in lesson.parts.unknown
    ]
    _write(out, lesson, fitted, calibration, report)
    return report


def prepared(
    examples: Examples, test: Examples | None, options: Options, reporter: Reporter
) -> tuple[Lesson, Correction]:
    """Return what is to be learnt from examples, and how their labels were corrected. Raises as `distil` does."""
    correct = options.correct if options.unlabelled is None else "never"
    parts = split(examples, test, options.seed)
    correction = corrected(parts, Ngrams(options.ngram, options.buckets), correct, reporter)
    return Lesson.of(correction.split, Ngrams(correction.order, options.buckets), options.balance), correction


@dataclass(frozen=True)
class Lesson:
    """Material to learn from: the parts of the examples, and their texts as rows."""

    parts: Split
    ngrams: Ngrams
    rows: SparseRows
    rarity: Floats  #: (buckets), by the texts to learn from
    balance: bool = False  #: whether all labels weigh alike

    @classmethod
    def of(cls, parts: Split, ngrams: Ngrams, balance: bool = False) -> Lesson:
        """Return the lesson of parts."""
        counts = ngrams.occurrences(parts.examples.texts)
        rarity = counts.rarity(ngrams.buckets, parts.sides == LEARN)
        return cls(parts, ngrams, counts.rows(rarity), rarity, balance)

    @cached_property
    def apart(self) -> Examples:
        """Return the examples to calibrate with."""
        return self.parts.examples.take(self.parts.calibrated)

    def fit(self, which: NDArray[np.int64], strength: float, start: Floats | None = None) -> StudentFit:
        """Return the student of some of the examples."""
        examples = self.parts.examples
        taught = (self.rows.take(which), self.rarity, examples.targets[which], strength)
        importances = balanced(examples.targets[which], examples.exclusive) if self.balance else None
        return fit(examples.kind, examples.labels, self.ngrams, *taught, start=start, importances=importances)

    def best(self, options: Options, advance: Callable[[], object]) -> tuple[float, StudentFit, Calibration]:
        """Return the strength of least log loss on the examples to calibrate with, its student and calibration."""
        apart, found, duals = self.apart, [], None
        by = None if options.calibrate_by is None else (options.calibrate_by, apart.strata[options.calibrate_by])
        for strength in STRENGTHS:
            fitted = self.fit(self.parts.learnt, strength, duals)
            scores, duals = fitted.student.scores(apart.texts), fitted.duals
            calibration = calibrated(scores, apart.targets, apart.exclusive, options.method, by)
            shares = calibration.probabilities(scores, apart.exclusive, strata_of(apart, calibration))
            loss = log_loss(shares, apart.targets, apart.exclusive)
            found.append((loss, strength, fitted, calibration))
            advance()
        return min(found, key=lambda each: each[:2])[1:]

    def curve(self, strength: float, calibration: Calibration, advance: Callable[[], object]) -> list[dict[str, float]]:
        """Return how good students of a part of the examples are."""
        learnt, tested, result = self.parts.learnt, self.parts.examples.take(self.parts.tested), []
        for share in CURVE:
            some = learnt[: max(2, round(share * len(learnt)))]
            scores, targets = self.fit(some, strength).student.scores(tested.texts), tested.targets
            shares = calibration.probabilities(scores, tested.exclusive, strata_of(tested, calibration))
            sides = [side.argmax(axis=1) if tested.exclusive else side >= 0.5 for side in (shares, targets)]
            loss = log_loss(shares, targets, tested.exclusive)
            result.append({"examples": len(some), "accuracy": float((sides[0] == sides[1]).mean()), "log_loss": loss})
            advance()
        return result


def _write(out: str, lesson: Lesson, fitted: StudentFit, calibration: Calibration, report: Mapping[str, Any]) -> None:
    """Write the files of a student, itself last: a student that is there has all of them."""
    examples, learnt = lesson.parts.examples, lesson.parts.learnt
    kept = lesson.rows.take(learnt)
    offsets = pa.array(kept.starts)
    texts = examples.texts.take(pa.array(learnt)).to_pylist()
    table = pa.table(
        {
            "id": pa.array([examples.ids[i] for i in learnt], pa.string()),
            "target": pa.array(list(examples.targets[learnt]), pa.list_(pa.float32())),
            "dual": pa.array(list(fitted.duals), pa.list_(pa.float64())),
            "columns": pa.LargeListArray.from_arrays(offsets, pa.array(kept.columns, pa.int32())),
            "values": pa.LargeListArray.from_arrays(offsets, pa.array(kept.values)),
            "excerpt": pa.array([excerpt(text, _EXCERPT) for text in texts], pa.string()),
        }
    )
    with files.replacing(out + EXAMPLES) as file:
        pq.write_table(table, file, compression="zstd")
    files.write_json(out + REPORT, report)
    files.write_bytes(f"{out}.report.md", markdown(report).encode())
    files.write_bytes(out + CALIBRATION, json.dumps(calibration.to_json()).encode())
    files.write_bytes(out, fitted.student.to_bytes())
