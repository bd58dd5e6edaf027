"""The measure `text_id`: the identity of a text after the transforms."""

from __future__ import annotations

import pyarrow as pa

from gristmill.operators.base import Documents, Files, Measure, MeasureFunction, field
from gristmill.operators.columns import TEXT, TEXT_ID, TYPES
from gristmill.operators.measures.content_id import content_ids


class TextId(Measure):
    """A 128-bit hash of the text as the transforms leave it: the key of a document's labels.

    Without transforms it equals the document's content id.
    """

    def gives(self) -> pa.Schema:
        """Return the column `text_id` (binary(16))."""
        return pa.schema([field(TEXT_ID, TYPES[TEXT_ID], "128-bit hash of the text after the transforms")])

    def kernels(self) -> tuple[str, ...]:
        """Return the groups of kernels that it calls."""
        return ("hash_texts",)

    def open(self, files: Files) -> MeasureFunction:
        """Return a thread-safe function from documents (n rows) to the columns of `gives` (n rows)."""
        schema = self.gives()

        def measure(documents: Documents) -> pa.RecordBatch:
            return pa.record_batch([content_ids(documents.column(TEXT))], schema=schema)

        return measure
