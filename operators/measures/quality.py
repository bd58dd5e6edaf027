"""Quality by a trained classifier: the probability that a fastText model gives one of its labels.

The model is any supervised fastText model, `gristmill train quality` makes one; the usual classifier of curated corpora
(Brown et al. 2020, appendix A; Li et al. 2024, "DataComp-LM", section 4.4) is one with two labels.
"""

from __future__ import annotations

from typing import ClassVar

import pyarrow as pa
from pydantic import Field

from gristmill.operators import columns
from gristmill.operators.base import Documents, Files, Measure, MeasureFunction, field
from gristmill.operators.fasttext.classifier import Classifier


class Quality(Measure):
    """Probability of a label by a fastText classifier (.bin or .ftz), equal to fastText's own within 1e-5.

    A text is scored as one line: newlines are white space. Like fastText's, a probability may exceed 1 by 1e-5. Null
    where the text is null or holds nothing that the model knows.
    """

    code_version: ClassVar[int] = 2
    shorthand: ClassVar[str | None] = "model"

    model: str = Field(description="path of the model, a .bin or .ftz file")
    label: str = Field(default="__label__hq", description="whose probability")
    column: str = Field(default="quality", description="name of the column")

    def resources(self) -> dict[str, str]:
        """Return the model's file."""
        return {"model": self.model}

    def check(self, files: Files) -> None:
        """Raise RecipeError where the model cannot be read or lacks the label."""
        Classifier(files["model"]).label_index(self.label)

    def gives(self) -> pa.Schema:
        """Return the column of probabilities (float32)."""
        return pa.schema([field(self.column, pa.float32(), f"probability of {self.label} by {self.model}")])

    def kernels(self) -> tuple[str, ...]:
        """Return the groups of kernels that it calls."""
        return ("fasttext", "fasttext_reader")

    def open(self, files: Files) -> MeasureFunction:
        """Map the model; return a thread-safe function from documents (n rows) to probabilities (n rows)."""
        probability = Classifier(files["model"]).probability(self.label)
        schema = self.gives()

        def measure(documents: Documents) -> pa.RecordBatch:
            return pa.record_batch([probability(documents.column(columns.TEXT))], schema=schema)

        return measure
