"""A second look at documents that were measured: their texts, each checked, and as a rule has them rewritten."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from gristmill.operators import columns
from gristmill.operators.base import Rewrite
from gristmill.operators.errors import FatalError, ShardError
from gristmill.operators.measures.content_id import content_ids
from gristmill.pipelines.shard_tasks.extract import read_batches
from gristmill.pipelines.shard_tasks.measure import lengths
from gristmill.pipelines.shard_tasks.stopwatch import Stopwatch, timed
from gristmill.pipelines.storage import files
from gristmill.pipelines.store.registry import Shard
from gristmill.pipelines.store.resources import ReadyOperator

#: Columns that must be known of a document to read its text again.
KNOWN = (columns.ROW, columns.CONTENT_ID)


def sized_by(rewrite: Rewrite | None) -> tuple[str, ...]:
    """Return the columns that give the lengths of the texts as they are written, and what is removed from them."""
    return (columns.BYTES,) if rewrite is None else (columns.BYTES, *rewrite.columns)


def kept_rows(decisions: str) -> pa.ChunkedArray:
    """Return the mask of a decision file: true where a document is kept."""
    return files.read_table(decisions, columns=["kept"])["kept"]


def read_texts(
    shard: Shard, known: pa.Table, transforms: Sequence[ReadyOperator] = (), watch: Stopwatch | None = None
) -> Iterator[pa.LargeStringArray]:
    """Yield the texts, transformed, of some of a shard's documents (n rows of KNOWN, by ascending row), batch by batch.

    Raises ShardError where the shard no longer holds what was measured.
    """
    watch = watch or Stopwatch()
    rows, ids = (known[name].combine_chunks() for name in KNOWN)
    done = 0
    for batch in timed(read_batches(shard, columns=(), rows=rows.to_numpy()), watch):
        text = batch.documents[columns.TEXT]
        with watch.step("verify"):
            same_rows = batch.documents[columns.ROW].equals(rows.slice(done, len(text)))
            if not same_rows or not content_ids(text).equals(ids.slice(done, len(text))):
                raise ShardError(f"{shard.spec.name} changed while the run was using it; run again to measure it again")
        for transform in transforms:
            with watch.step(transform.name):
                text = transform.open()(text)
        yield text
        done += len(text)
    if done < len(rows):
        raise ShardError(f"{shard.spec.name} is shorter than when it was measured; run again to measure it again")


@dataclass(frozen=True)
class Texts:
    """The texts of a run's documents, as its transforms leave them. Picklable."""

    shards: Mapping[int, Shard]  #: by ordinal
    transforms: tuple[ReadyOperator, ...]

    def of_shard(self, ordinal: int) -> Texts:
        """Return those of one shard."""
        return replace(self, shards={ordinal: self.shards[ordinal]})

    def name_of(self, ordinal: int) -> str:
        """Return what messages call a shard."""
        return self.shards[ordinal].spec.name

    def read(self, ordinal: int, known: pa.Table) -> Iterator[pa.LargeStringArray]:
        """Yield the texts of some of a shard's documents; see `read_texts`."""
        return read_texts(self.shards[ordinal], known, self.transforms)


def rewritten(rewrite: Rewrite, texts: pa.LargeStringArray, documents: pa.Table) -> pa.LargeStringArray:
    """Return the texts (n) of documents (n rows of `rewrite.columns` and `bytes`) as they are written.

    Raises FatalError where they are not as long as was decided.
    """
    rest = rewrite.apply(texts, documents)
    if not np.array_equal(lengths(rest), rewrite.lengths(documents)):
        raise FatalError(f"{rewrite.name} left other texts than it decided; nothing is committed: please report it")
    return rest


def written_bytes(documents: pa.Table, rewrite: Rewrite | None) -> NDArray[np.uint64]:
    """Return the UTF-8 bytes (n) of the texts of documents (n rows) as they are written."""
    measured: NDArray[np.uint64] = documents[columns.BYTES].to_numpy()
    return measured if rewrite is None else rewrite.lengths(documents)
