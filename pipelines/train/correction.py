"""Labels that a student learns from, corrected by what other texts say, where enough of them seem wrong."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal, NamedTuple

import numpy as np

from gristmill.operators.student.features import Ngrams
from gristmill.operators.student.label_errors import TextRows, find_label_errors, folds_of
from gristmill.pipelines.progress.reporter import Reporter
from gristmill.pipelines.train.split import CALIBRATE, LEARN, Split

Correct = Literal["auto", "always", "never"]
#: From this share of wrong labels on they are corrected: below, a student of given labels is as good.
ENOUGH = 0.05
_LOST = 0.5  # share of a label that correction may take from all its texts


class Correction(NamedTuple):
    """Examples whose labels are corrected, and what the report tells of it."""

    split: Split
    order: int  #: longest n-gram by which labels are foretold best
    report: dict[str, Any] | None
    warnings: list[str]


def corrected(split: Split, ngrams: Ngrams, correct: Correct, reporter: Reporter) -> Correction:
    """Return the split with soft labels, those that its texts to learn from and to calibrate with probably have.

    Labels of a `choice` alone are corrected. Those of texts to test with stay as they were given, and so do those that
    are known to be right.
    """
    examples = split.examples
    as_given = Correction(split, ngrams.order, None, [])
    if correct == "never" or examples.kind != "choice":
        return as_given
    taught = np.flatnonzero(np.isin(split.sides, (LEARN, CALIBRATE)))
    some = examples.take(taught)
    folds, rows = folds_of(split.clusters[taught]), TextRows.of(some.texts, ngrams)
    with reporter.stage("labels", rows.steps, "fold") as stage:
        errors = find_label_errors(rows, some.targets, folds, some.is_gold, stage.advance)
    wrong = float(errors.wrong(some.targets).mean())
    given, probable = some.targets.sum(axis=0), errors.probable.sum(axis=0)
    told = {
        "wrong": wrong,
        "changed": int((errors.probable.argmax(axis=1) != some.targets.argmax(axis=1)).sum()),
        "noise": errors.noise.tolist(),
    }
    if lost := [label for label, a, b in zip(examples.labels, given, probable, strict=True) if b < _LOST * a]:
        doubt = f"other texts do not bear out most of the labels {', '.join(lost)}: they are learnt as they were given"
        return as_given._replace(report={**told, "applied": False}, warnings=[doubt])
    if correct == "auto" and wrong < ENOUGH:
        return as_given._replace(report={**told, "applied": False})
    targets = examples.targets.copy()
    targets[taught] = errors.probable
    better = replace(split, examples=replace(examples, targets=targets))
    return Correction(better, errors.order, {**told, "applied": True}, [])
