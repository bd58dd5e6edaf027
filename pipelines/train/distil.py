"""`gristmill distil`: a student of labels, calibrated, with a report on texts that it has not seen.

The same examples give the same student, byte for byte, in any order.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
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
from gristmill.operators.student.linear import StudentFit, fit
from gristmill.pipelines.storage import files
from gristmill.pipelines.train.correction import Correct, corrected
from gristmill.pipelines.train.explained_scores import EXAMPLES
from gristmill.pipelines.train.split import LEARN, Examples, Split, split
from gristmill.pipelines.train.student_figures import figures
from gristmill.pipelines.train.student_report import markdown

#: Strengths of the losses that are tried; the one of least log loss on the calibration part is taken.
STRENGTHS = (0.1, 0.3, 1.0, 3.0, 10.0)
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


def distil(examples: Examples, out: str, options: Options = Options(), test: Examples | None = None) -> dict[str, Any]:
    """Learn from examples; write the student to `out`, its calibration and examples beside it; return the report.

    `test` are examples to test with, in place of a part of the others; those that are near copies of one of them are
    not learnt from. Raises RecipeError where there are too few examples, or a label is in none of them.
    """
    if options.unlabelled is not None and (options.unlabelled not in examples.labels or len(examples.labels) != 2):
        labels = ", ".join(examples.labels)
        raise RecipeError(f"unlabelled names one of two labels, not {options.unlabelled} of {labels}")
    ngrams = Ngrams(options.ngram, options.buckets)
    correction = corrected(
        split(examples, test, options.seed), ngrams, options.correct if options.unlabelled is None else "never"
    )
    parts, ngrams = correction.split, ngrams._replace(order=correction.order)
    together, learnt = parts.examples, parts.learnt
    counts = ngrams.occurrences(together.texts)
    rarity = counts.rarity(options.buckets, parts.sides == LEARN)
    rows = counts.rows(rarity)
    fits: dict[float, StudentFit] = {}
    duals = None
    for strength in STRENGTHS:
        fits[strength] = _fit(together, ngrams, rows, rarity, learnt, strength, duals)
        duals = fits[strength].duals
    # the odds of a linear model grow without end, those of being labelled do not
    method = options.calibration or ("temperature" if options.unlabelled is None else "isotonic")
    apart = together.take(parts.calibrated)
    calibrations, losses = {}, {}
    for strength, fitted in fits.items():
        scores = fitted.student.scores(apart.texts)
        found = calibrations[strength] = calibrated(scores, apart.targets, apart.exclusive, method)
        losses[strength] = log_loss(found.probabilities(scores, apart.exclusive), apart.targets, apart.exclusive)
    strength = min(losses, key=lambda value: (losses[value], value))
    fitted, calibration = fits[strength], calibrations[strength]
    prior = None
    if options.unlabelled is not None:
        positive = 1 - together.labels.index(options.unlabelled)
        scores = fitted.student.scores(apart.texts)
        calibration, prior = of_unlabelled(calibration, scores, apart.targets, positive, options.prior)
    report = {"model": out, **figures(parts, fitted.student, calibration, options.seed, prior)}
    report |= {"options": asdict(options), "strength": strength, "rounds": fitted.rounds, "order": ngrams.order}
    report["correction"] = correction.report
    report["warnings"] += correction.warnings + [
        f"no text to learn from has the label {label}: the student does not know it" for label in parts.unknown
    ]
    of_labels = calibration._replace(positive=None)  # labels are what is known of the texts to test with
    report["learning_curve"] = _learning_curve(parts, ngrams, rows, rarity, strength, of_labels)
    _write(out, together, learnt, rows, fitted, calibration, report)
    return report


def _fit(
    examples: Examples,
    ngrams: Ngrams,
    rows: SparseRows,
    rarity: Floats,
    learnt: NDArray[np.int64],
    strength: float,
    start: Floats | None = None,
) -> StudentFit:
    """Return the student of some of the rows."""
    taught = (rows.take(learnt), rarity, examples.targets[learnt], strength)
    return fit(examples.kind, examples.labels, ngrams, *taught, start=start)


def _learning_curve(
    parts: Split, ngrams: Ngrams, rows: SparseRows, rarity: Floats, strength: float, calibration: Calibration
) -> list[dict[str, float]]:
    """Return how good students of a quarter, a half and all of the examples are."""
    learnt, tested, result = parts.learnt, parts.examples.take(parts.tested), []
    for share in (0.25, 0.5, 1.0):
        some = learnt[: max(2, round(share * len(learnt)))]
        student = _fit(parts.examples, ngrams, rows, rarity, some, strength).student
        shares, targets = calibration.probabilities(student.scores(tested.texts), tested.exclusive), tested.targets
        answers = (
            (shares.argmax(axis=1), targets.argmax(axis=1)) if tested.exclusive else (shares >= 0.5, targets >= 0.5)
        )
        loss = log_loss(shares, targets, tested.exclusive)
        result.append({"examples": len(some), "accuracy": float((answers[0] == answers[1]).mean()), "log_loss": loss})
    return result


def _write(
    out: str,
    examples: Examples,
    learnt: NDArray[np.int64],
    rows: SparseRows,
    fitted: StudentFit,
    calibration: Calibration,
    report: Mapping[str, Any],
) -> None:
    """Write the files of a student, itself last: a student that is there has all of them."""
    kept = rows.take(learnt)
    offsets = pa.array(kept.starts)
    texts = examples.texts.take(pa.array(learnt)).to_pylist()
    table = pa.table(
        {
            "id": pa.array([examples.ids[i] for i in learnt], pa.string()),
            "target": pa.array(list(examples.targets[learnt]), pa.list_(pa.float32())),
            "dual": pa.array(list(fitted.duals), pa.list_(pa.float64())),
            "columns": pa.LargeListArray.from_arrays(offsets, pa.array(kept.columns, pa.int32())),
            "values": pa.LargeListArray.from_arrays(offsets, pa.array(kept.values)),
            "excerpt": pa.array([" ".join(text[: 2 * _EXCERPT].split())[:_EXCERPT] for text in texts], pa.string()),
        }
    )
    with files.replacing(out + EXAMPLES) as file:
        pq.write_table(table, file, compression="zstd")
    files.write_json(out + REPORT, report)
    files.write_bytes(f"{out}.report.md", markdown(report).encode())
    files.write_bytes(out + CALIBRATION, json.dumps(calibration.to_json()).encode())
    files.write_bytes(out, fitted.student.to_bytes())
