"""What paragraph_dedup decided, applied when the dataset is written, and counted."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from gristmill.operators import columns
from gristmill.operators.errors import FatalError
from gristmill.operators.rules.paragraph_dedup import ParagraphDedup
from gristmill.pipelines.shard_tasks.measure import lengths


@dataclass(frozen=True)
class Removed:
    """How much was removed of the documents that are written."""

    documents: int = 0  #: that lost something
    pieces: int = 0  #: paragraphs, or lines
    bytes: int = 0  #: UTF-8

    def __add__(self, other: Removed) -> Removed:
        return Removed(self.documents + other.documents, self.pieces + other.pieces, self.bytes + other.bytes)


@dataclass(frozen=True)
class Removal:
    """Takes out of texts what a rule decided. Picklable."""

    rule: ParagraphDedup
    name: str  #: the rule's, in the funnel

    @property
    def columns(self) -> tuple[str, str, str]:
        """Columns that tell of each document which pieces go, how many, and how many bytes."""
        positions, removed, removed_bytes = self.rule.gives(self.name).names
        return positions, removed, removed_bytes

    def apply(self, texts: pa.LargeStringArray, documents: pa.Table) -> pa.LargeStringArray:
        """The rest of the texts (n) of documents (n rows of `columns` and `bytes`).

        Raises FatalError where the rest is not as long as was decided.
        """
        rest = self.rule.remove(texts, documents[self.columns[0]].combine_chunks())
        if not np.array_equal(lengths(rest), written_bytes(documents, self)):
            raise FatalError(f"{self.name} left other texts than it decided; nothing is committed: please report it")
        return rest

    def count(self, documents: pa.Table) -> Removed:
        """Return how much goes from documents that are written."""
        _, removed, removed_bytes = (documents[name] for name in self.columns)
        pieces, size = (int(pc.sum(column, min_count=0).as_py()) for column in (removed, removed_bytes))
        return Removed(int(pc.sum(pc.greater(removed, 0), min_count=0).as_py()), pieces, size)


def written_bytes(documents: pa.Table, removal: Removal | None) -> NDArray[np.uint64]:
    """UTF-8 bytes of the texts of documents (n rows of `bytes` and the removal's columns) as they are written (n)."""
    measured: NDArray[np.uint64] = documents[columns.BYTES].to_numpy()
    return measured if removal is None else measured - documents[removal.columns[2]].to_numpy()
