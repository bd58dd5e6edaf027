"""The measure `text_hash`: the hash that exact deduplication compares."""

from __future__ import annotations

import pyarrow as pa

from gristmill.operators.arrays import hash_column
from gristmill.operators.base import Documents, Files, Measure, MeasureFunction, field
from gristmill.operators.columns import TEXT
from gristmill.operators.kernels.buffers import text_buffers
from gristmill.operators.kernels.characters import character_classes, lower_case
from gristmill.operators.kernels.hashes import hash_normalized_texts


class TextHash(Measure):
    """A 128-bit hash of the text in lower case, with runs of white space made one space, and trimmed.

    White space is what `str.isspace` says. Case is folded one code point below U+10000 at a time, where its lower case
    is a single code point: a capital sigma becomes "σ" wherever it stands, "İ" stays as it is.
    """

    def gives(self) -> pa.Schema:
        """Return the column `text_hash` (binary(16))."""
        return pa.schema([field("text_hash", pa.binary(16), "128-bit hash of the normalised text")])

    def kernels(self) -> tuple[str, ...]:
        """Return the groups of kernels that it calls."""
        return ("hash_normalized_texts",)

    def open(self, files: Files) -> MeasureFunction:
        """Return a thread-safe function from documents (n rows) to the columns of `gives` (n rows)."""
        classes, lower, schema = character_classes(), lower_case(), self.gives()

        def measure(documents: Documents) -> pa.RecordBatch:
            texts = documents.column(TEXT)
            hashes = hash_normalized_texts(*text_buffers(texts), classes, lower)
            return pa.record_batch([hash_column(hashes, texts)], schema=schema)

        return measure
