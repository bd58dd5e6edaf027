"""`gristmill distil`: a student of labels, calibrated, with a report on texts that it has not seen.

The same examples give the same student, byte for byte, in any order.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from gristmill.operators.errors import RecipeError
from gristmill.operators.rules.cut import REPORT
from gristmill.operators.student.calibration import of_unlabelled
from gristmill.operators.student.features import Ngrams
from gristmill.operators.student.student import CALIBRATION
from gristmill.pipelines.progress.reporter import Reporter
from gristmill.pipelines.storage import files
from gristmill.pipelines.train.correction import Correct, Correction, corrected
from gristmill.pipelines.train.fasttext_lesson import FastTextLesson
from gristmill.pipelines.train.lessons import CURVE, Lesson, LinearLesson
from gristmill.pipelines.train.split import Examples, split
from gristmill.pipelines.train.student_figures import figures
from gristmill.pipelines.train.student_report import markdown


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
    student: Literal["linear", "fasttext"] = "linear"

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
    if options.student == "fasttext" and not examples.exclusive:
        raise RecipeError("a fastText student knows labels of which a text has one; leave `student` out for several")
    correction = _corrected(examples, test, options, reporter)
    with _lesson(correction, options) as lesson:
        n_fits = len(lesson.settings) + len(CURVE)
        with reporter.stage("students", n_fits, "fit") as stage:
            setting, taught, of_labels = lesson.best(options.method, options.calibrate_by, stage.advance)
            calibration, prior = of_labels, None
            if unlabelled is not None:
                apart = lesson.apart
                positive = 1 - apart.labels.index(unlabelled)
                scores = taught.student.scores(apart.texts)
                calibration, prior = of_unlabelled(of_labels, scores, apart.targets, positive, options.prior)
            report = {"model": out, **figures(lesson.parts, taught.student, calibration, options.seed, prior)}
            report["learning_curve"] = lesson.curve(setting, of_labels, stage.advance)
        report |= {"options": asdict(options), **lesson.told(setting, taught), "correction": correction.report}
        report["warnings"] += correction.warnings + [
            f"no text to learn from has the label {label}: the student does not know it"
            for label in lesson.parts.unknown
        ]
        files.write_json(out + REPORT, report)
        files.write_bytes(f"{out}.report.md", markdown(report).encode())
        beside = {**calibration.to_json(), **lesson.beside_calibration()}
        files.write_bytes(out + CALIBRATION, json.dumps(beside).encode())
        lesson.write(out, taught)  # last: a student that is there has all of its files
    return report


def prepared(
    examples: Examples, test: Examples | None, options: Options, reporter: Reporter
) -> tuple[LinearLesson, Correction]:
    """Return what a linear student is to learn, and how labels were corrected. Raises as `distil` does."""
    correction = _corrected(examples, test, options, reporter)
    return LinearLesson.of(correction.split, Ngrams(correction.order, options.buckets), options.balance), correction


def _corrected(examples: Examples, test: Examples | None, options: Options, reporter: Reporter) -> Correction:
    """Return the split of examples with labels that are corrected where that is asked for."""
    correct = options.correct if options.unlabelled is None else "never"
    return corrected(split(examples, test, options.seed), Ngrams(options.ngram, options.buckets), correct, reporter)


@contextmanager
def _lesson(correction: Correction, options: Options) -> Iterator[Lesson[Any]]:
    """Return the lesson of the student that is asked for."""
    ngrams = Ngrams(correction.order, options.buckets)
    if options.student == "linear":
        yield LinearLesson.of(correction.split, ngrams, options.balance)
    else:
        with tempfile.TemporaryDirectory(prefix="gristmill-train-") as folder:
            yield FastTextLesson(correction.split, options.balance, ngrams, options.seed, Path(folder))
