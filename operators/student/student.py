"""Students of labels, whichever way they learnt, and their files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import pyarrow as pa

from gristmill.operators.errors import RecipeError
from gristmill.operators.student.calibration import Calibration
from gristmill.operators.student.fasttext import FastTextStudent
from gristmill.operators.student.features import Floats
from gristmill.operators.student.linear import Kind, Student

#: What is added to the path of a student for that of its calibration.
CALIBRATION = ".calibration.json"


class Scorer(Protocol):
    """Student that scores texts: linear on hashed n-grams, or a fastText model."""

    @property
    def kind(self) -> Kind:
        """Return what its labels are."""

    @property
    def labels(self) -> tuple[str, ...]:
        """Return the names of its labels."""

    @property
    def exclusive(self) -> bool:
        """Return whether a text has one label: not of several that may all fit."""

    def scores(self, texts: pa.LargeStringArray) -> Floats:
        """Return the scores (n, labels) of texts (n): log odds of each label, which calibration makes probabilities."""


class CalibratedStudent(NamedTuple):
    """A student and its calibration."""

    student: Scorer
    calibration: Calibration


def read_student(model: Path, calibration: Path) -> CalibratedStudent:
    """Read a student of either way and its calibration; raise RecipeError where a file is something else."""
    try:
        value: dict[str, Any] = json.loads(calibration.read_text())
        read, fasttext = Calibration.from_json(value), value.get("fasttext")
        if fasttext is None:
            return CalibratedStudent(Student.read(model), read)
        return CalibratedStudent(FastTextStudent(model, fasttext["kind"], fasttext["labels"]), read)
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise RecipeError(
            f"{calibration} is no calibration of a student {model} ({error}); `gristmill distil` writes it"
        ) from None
