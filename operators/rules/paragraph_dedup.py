"""The rule that removes paragraphs, or lines, that too many documents have in common."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pydantic import Field

from gristmill.operators import columns
from gristmill.operators.arrays import text_array
from gristmill.operators.base import Rule, field
from gristmill.operators.kernels.buffers import text_buffers
from gristmill.operators.kernels.characters import character_classes
from gristmill.operators.kernels.paragraphs import remove_pieces
from gristmill.operators.measures.paragraph_hashes import ParagraphHashes, Piece

#: Type of the column that says which pieces of a document are removed. No other column has it.
POSITIONS = pa.list_(pa.uint32())


class ParagraphDedup(Rule):
    """Removes paragraphs, or lines, that more than `limit` documents have in common.

    `paragraph_dedup: {limit: 10}`, or with `by: line`. Paragraphs are equal where their normalised texts are (see
    `paragraph_hashes`); a document counts once, however often it has a paragraph. What goes is removed when the
    dataset is written, with the blank lines after it (a line with its line feed); the rest stays byte for byte. A
    document of which no paragraph stays is dropped. A recipe has one such rule: to remove lines from what is left, run
    a second recipe whose source is the first one's dataset.

    `keep: first` leaves a repeated paragraph in the `limit` documents of smallest address, so that no text vanishes
    from the corpus: what is repeated is not only navigation but licences, quotations and recipes too, and a few copies
    of navigation do no harm. `keep: none` removes it everywhere.

    Only documents that earlier rules kept are counted, and a document that a later rule drops takes with it the
    paragraphs that it was to keep: put this rule last. Columns measured of a text (tokens, gopher_words), and budgets
    that go by them, are of the text as measured, before anything is removed.
    """

    shorthand: ClassVar[str | None] = "limit"

    limit: int = Field(default=10, ge=1, description="documents that may have a paragraph in common")
    by: Piece = Field(default="paragraph", description="paragraph or line")
    min_characters: int = Field(default=20, ge=1, description="shorter paragraphs are neither counted nor removed")
    keep: Literal["first", "none"] = Field(
        default="first",
        description="first: the first `limit` documents keep a repeated paragraph; none: no document does",
    )

    @property
    def measure(self) -> ParagraphHashes:
        """Return the measure of the hashes. Rules with the same options share its columns."""
        return ParagraphHashes(by=self.by, min_characters=self.min_characters)

    @property
    def spared(self) -> int:
        """Return how many documents keep a repeated paragraph."""
        return self.limit if self.keep == "first" else 0

    def kernels(self) -> tuple[str, ...]:
        """Return the groups of kernels that it calls."""
        return ("remove_pieces",)

    def reads(self) -> set[str]:
        """Return the columns that it reads."""
        return {*self.measure.gives().names}

    def needs(self) -> tuple[ParagraphHashes, ...]:
        """Return the measure of the hashes."""
        return (self.measure,)

    def gives(self, name: str) -> pa.Schema:
        """Return the columns that say what is removed of each document."""
        length = columns.TYPES[columns.BYTES]
        return pa.schema(
            [
                field(f"{name}_positions", POSITIONS, f"which {self.by}s are removed, counted from 0"),
                field(f"{name}_removed", pa.uint32(), f"{self.by}s removed"),
                field(f"{name}_removed_bytes", length, f"UTF-8 bytes of the {self.by}s removed"),
            ]
        )

    def rewrites(self, name: str) -> ParagraphRemoval:
        """Return the removal of the pieces that `gives` lists."""
        return ParagraphRemoval(name, self, *self.gives(name).names)

    def remove(self, texts: pa.LargeStringArray, positions: pa.ListArray) -> pa.LargeStringArray:
        """Return texts (n) without the pieces at these positions (n lists of POSITIONS, ascending); null stays null."""
        gone = np.asarray(pc.list_flatten(positions))
        bounds = np.zeros(len(texts) + 1, np.int32)
        np.cumsum(np.asarray(pc.fill_null(pc.list_value_length(positions), 0)), out=bounds[1:])
        by_line = self.by == "line"
        return text_array(texts, *remove_pieces(*text_buffers(texts), by_line, gone, bounds, character_classes()))


@dataclass(frozen=True)
class ParagraphRemoval:
    """The removal from texts of the pieces that a rule decided on; the fields name the columns that say which."""

    name: str  #: the rule's, in the funnel
    rule: ParagraphDedup
    positions: str
    removed: str
    removed_bytes: str

    @property
    def columns(self) -> tuple[str, ...]:
        """Return the names of the three columns; the first decides what is written."""
        return self.positions, self.removed, self.removed_bytes

    def lengths(self, documents: pa.Table) -> NDArray[np.uint64]:
        """Return the UTF-8 bytes (n) of the texts as they are written."""
        before, removed_bytes = (documents[name].to_numpy() for name in (columns.BYTES, self.removed_bytes))
        sizes: NDArray[np.uint64] = before - removed_bytes
        return sizes

    def apply(self, texts: pa.LargeStringArray, documents: pa.Table) -> pa.LargeStringArray:
        """Return the texts (n) without the pieces."""
        return self.rule.remove(texts, documents[self.positions].combine_chunks())

    def count(self, documents: pa.Table) -> dict[str, int]:
        """Return the numbers of documents changed, of pieces and of UTF-8 bytes removed."""
        piece_counts = documents[self.removed]
        changed_documents = int(pc.sum(pc.greater(piece_counts, 0), min_count=0).as_py())
        pieces, size = (int(pc.sum(documents[n], min_count=0).as_py()) for n in (self.removed, self.removed_bytes))
        return {"documents": changed_documents, "pieces": pieces, "bytes": size}
