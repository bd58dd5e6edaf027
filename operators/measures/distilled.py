"""The measure `distilled`: the score of a text by a student of labels."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import pyarrow as pa
from pydantic import Field, model_validator

from gristmill.operators.base import Documents, Files, Measure, MeasureFunction, field
from gristmill.operators.columns import TEXT
from gristmill.operators.errors import RecipeError
from gristmill.operators.student.student import CALIBRATION, Scorer, read_student


class Distilled(Measure):
    """Score by a student that `gristmill distil` made: a calibrated probability, or of a scale the expected number.

    `label` names the label whose probability it is; of a scale it may be left out, and the column is the sum of each
    number times its probability. With `coverage` it is a list of labels, in which the right one is with that
    probability (`list_contains(column, 'sport')` asks for one). The calibration lies beside the model; another one
    makes other scores, which are measured anew. `by` names the field by which it was calibrated apart, if it was: texts
    of a stratum that it does not know are as all texts are. Null where the text is null.
    """

    shorthand: ClassVar[str | None] = "model"

    model: str = Field(description="path of the student; its calibration lies beside it")
    label: str | None = Field(default=None, description="whose probability; by default the expected number of a scale")
    coverage: float | None = Field(
        default=None, gt=0, lt=1, description="list the labels among which the right one is with this probability"
    )
    by: str | None = Field(default=None, description="the field of the strata that the student was calibrated by")
    column: str = Field(default="distilled", min_length=1, description="name of the column")

    @model_validator(mode="after")
    def _check_coverage(self) -> Distilled:
        if self.coverage is not None and self.label is not None:
            raise ValueError("coverage lists labels; leave `label` out")
        return self

    def resources(self) -> dict[str, str]:
        """Return the files of the student and its calibration."""
        return {"model": self.model, "calibration": self.model + CALIBRATION}

    def check(self, files: Files) -> None:
        """Raise RecipeError where a file is no student or calibration, or the student lacks the label."""
        student, calibration = read_student(files["model"], files["calibration"])
        if self.by != calibration.by:
            remedy = "leave `by` out" if calibration.by is None else f"write `by: {calibration.by}`"
            raise RecipeError(f"{self.model} is calibrated by {calibration.by or 'nothing'}: {remedy}")
        if self.coverage is None:
            self._weights(student)
        elif not calibration.of_right:
            raise RecipeError(
                f"{self.model} has no label sets: they are of students of labels that exclude each other, all of them "
                "labels that somebody gave"
            )

    def reads(self) -> set[str]:
        """Return the field of the strata."""
        return set() if self.by is None else {self.by}

    def gives(self) -> pa.Schema:
        """Return the column (float32, or a list of string)."""
        if self.coverage is not None:
            what = f"labels among which the right one is in {self.coverage:.0%} of the texts, by {self.model}"
            return pa.schema([field(self.column, pa.list_(pa.string()), what)])
        what = "expected number" if self.label is None else f"probability of {self.label}"
        return pa.schema([field(self.column, pa.float32(), f"{what} by {self.model}")])

    def kernels(self) -> tuple[str, ...]:
        """Return the groups of kernels that it calls."""
        return ("scores", "fasttext", "fasttext_reader", "write_tokens")

    def open(self, files: Files) -> MeasureFunction:
        """Read the student; return a thread-safe function from documents (n rows) to the column (n rows)."""
        student, calibration = read_student(files["model"], files["calibration"])
        weights = self._weights(student) if self.coverage is None else None
        schema, coverage, labels = self.gives(), self.coverage or 0.0, pa.array(student.labels, pa.string())

        def measure(documents: Documents) -> pa.RecordBatch:
            texts = documents.column(TEXT)
            known = self.by is not None and self.by in documents.schema.names
            members = documents.column(self.by).cast(pa.string()).to_pylist() if known else None
            shares = calibration.probabilities(student.scores(texts), student.exclusive, members)
            null = np.asarray(texts.is_null())
            if weights is None:
                rows, chosen = np.nonzero(calibration.label_sets(shares, coverage))
                starts = pa.array(np.searchsorted(rows, np.arange(len(texts) + 1)), pa.int32())
                values = pa.ListArray.from_arrays(starts, labels.take(pa.array(chosen)), mask=pa.array(null))
            else:  # row by row: a product of matrices depends on how many there are
                values = pa.array((shares * weights).sum(axis=1), pa.float32(), mask=null)
            return pa.record_batch([values], schema=schema)

        return measure

    def _weights(self, student: Scorer) -> np.ndarray:
        """Return by what the probability of each label counts (labels). Raises RecipeError where it cannot be known."""
        if self.label is not None:
            if self.label not in student.labels:
                labels = ", ".join(student.labels)
                raise RecipeError(f"{self.model} has no label {self.label}; there are {labels}")
            return np.array([float(label == self.label) for label in student.labels])
        if student.kind != "scale":
            raise RecipeError(f"{self.model} knows the labels {', '.join(student.labels)}: name one with `label`")
        return np.array([float(label) for label in student.labels])

    def _paths(self) -> set[str]:
        """Return the paths that stand in the fingerprint by the content of their files."""
        return {self.model, self.model + CALIBRATION}
