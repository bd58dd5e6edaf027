"""Scores of a student, explained by its file and those beside it."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from gristmill.operators.errors import RecipeError
from gristmill.operators.student.explanation import LearntExamples, explained
from gristmill.operators.student.features import SparseRows
from gristmill.operators.student.linear import Student
from gristmill.operators.student.student import CALIBRATION, read_student
from gristmill.pipelines.config.wording import did_you_mean
from gristmill.pipelines.storage import files
from gristmill.pipelines.store.resources import resource

EXAMPLES = ".examples.parquet"


def explained_score(
    model: str, text: str, label: str | None = None, fields: Mapping[str, Any] = MappingProxyType({})
) -> dict[str, Any]:
    """Return why a student gives a text the score of a label, by default of the most probable one; see `explained`.

    `probability` is the calibrated one, of the stratum that the text's fields name. Raises RecipeError where the
    student lacks the label, or a file is missing.
    """
    student, calibration = read_student(*(resource(path, model).local() for path in (model, model + CALIBRATION)))
    if not isinstance(student, Student):
        raise RecipeError(f"{model} is a fastText model, whose scores nothing explains; a linear student's are")
    members = None if calibration.by is None else [fields.get(calibration.by)]
    scores = student.scores(pa.array([text], pa.large_string()))
    shares = calibration.probabilities(scores, student.exclusive, members)[0]
    if label is not None and label not in student.labels:
        raise RecipeError(f"{model} has no label {label}{did_you_mean(label, student.labels)}")
    chosen = int(shares.argmax()) if label is None else student.labels.index(label)
    result = explained(student, text, chosen, read_taught(model))
    return {**result, "probability": float(shares[chosen])}


def read_taught(model: str) -> LearntExamples:
    """Return the examples that a student learnt from. Raises RecipeError where their file is missing."""
    try:
        with files.open_input(model + EXAMPLES) as file:
            table = pq.read_table(file)
    except FileNotFoundError:
        raise RecipeError(f"{model}{EXAMPLES} is gone: what taught the student is not known without it") from None
    columns = table["columns"].combine_chunks()
    rows = SparseRows(
        columns.offsets.to_numpy().astype(np.int64),
        columns.values.to_numpy().astype(np.int64),
        table["values"].combine_chunks().values.to_numpy(),
    )
    duals, targets = (np.array(table[name].to_pylist(), np.float64) for name in ("dual", "target"))
    return LearntExamples(table["id"].to_pylist(), table["excerpt"].to_pylist(), rows, duals, targets)
