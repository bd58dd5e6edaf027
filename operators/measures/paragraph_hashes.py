"""The measure `paragraph_hashes`: hashes that recognise paragraphs and lines in other documents."""

from __future__ import annotations

from typing import Literal

import pyarrow as pa
from pydantic import Field

from gristmill.operators.arrays import list_column
from gristmill.operators.base import Documents, Files, Measure, MeasureFunction, field
from gristmill.operators.columns import BYTES, TEXT, TYPES
from gristmill.operators.kernels.buffers import text_buffers
from gristmill.operators.kernels.characters import character_classes, lower_case
from gristmill.operators.kernels.paragraphs import hash_pieces

Piece = Literal["paragraph", "line"]


class ParagraphHashes(Measure):
    """A 64-bit hash of each paragraph, or of each line, normalised as `text_hash` normalises texts.

    Blank lines, those of nothing but white space, part paragraphs. By line every line that is not blank has a hash.
    Lines end with a line feed. Below `min_characters` (code points of the normalised piece) the hash is 0, which stands
    for no text: short pieces recur by nature. Next to the hashes are the lengths of the pieces as they are in the
    text, in UTF-8 bytes: of a paragraph with the blank lines after it, of a line with its line feed.
    """

    by: Piece = Field(default="paragraph", description="paragraph or line")
    min_characters: int = Field(default=20, ge=1, description="shorter pieces have no hash of their own")

    @property
    def hashes(self) -> str:
        """Return the name of the column of hashes."""
        return f"{self.by}_hashes_{self.min_characters}"

    @property
    def lengths(self) -> str:
        """Return the name of the column of lengths."""
        return f"{self.by}_bytes_{self.min_characters}"

    def gives(self) -> pa.Schema:
        """Return the columns `hashes` and `lengths`, lists of uint64."""
        return pa.schema(
            [
                field(self.hashes, pa.list_(pa.uint64()), f"hash of each normalised {self.by}, 0 for short ones"),
                field(self.lengths, pa.list_(TYPES[BYTES]), f"UTF-8 bytes of each {self.by}, with what parts it"),
            ]
        )

    def kernels(self) -> tuple[str, ...]:
        """Return the groups of kernels that it calls."""
        return ("hash_pieces",)

    def open(self, files: Files) -> MeasureFunction:
        """Return a thread-safe function from documents (n rows) to the columns of `gives` (n rows)."""
        classes, lower, schema = character_classes(), lower_case(), self.gives()
        by_line = self.by == "line"

        def measure(documents: Documents) -> pa.RecordBatch:
            texts = documents.column(TEXT)
            hashes, lengths, bounds = hash_pieces(*text_buffers(texts), by_line, self.min_characters, classes, lower)
            arrays = [list_column(values, bounds, texts) for values in (hashes, lengths)]
            return pa.record_batch(arrays, schema=schema)

        return measure
