"""Extracted texts: one Parquet file per shard of pages and way of extraction, written once and read like a source.

    extracts/<fingerprint>/<ordinal>.parquet            row, id, url, metadata, extractor, text; counts in its footer
    extracts/<fingerprint>/<ordinal>.rejects.parquet    pages that are no documents, where there are any

They can always be made again: a file that is damaged or gone counts as never written.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from gristmill.operators import columns
from gristmill.operators.errors import StoreDamaged
from gristmill.operators.extract.extract import Extract
from gristmill.pipelines.sources.batches import Batch
from gristmill.pipelines.sources.records import Reject
from gristmill.pipelines.sources.spec import Source
from gristmill.pipelines.storage import files
from gristmill.pipelines.store.measures import ShardCounts, read_counts, rejects_file

FOLDER = "extracts"


@dataclass(frozen=True)
class Extraction:
    """The way in which pages become text, and the folder of a store that keeps the texts. Picklable."""

    extract: Extract
    folder: str
    fingerprint: str

    @classmethod
    def of(cls, store: str, extract: Extract) -> Extraction:
        """Return the extraction of a store."""
        fingerprint = extract.fingerprint({})
        return cls(extract, files.join(store, FOLDER, fingerprint), fingerprint)

    def file(self, ordinal: int) -> str:
        """Return the file with the texts of a shard."""
        return files.join(self.folder, extract_file(ordinal))

    def names(self) -> set[str]:
        """Return the names of the files that are there, whole or not."""
        return set(files.names(self.folder))

    def counts(self, ordinal: int) -> ShardCounts | None:
        """Return the counts of a shard whose texts are there and whole; None for another."""
        url = self.file(ordinal)
        try:
            counts = read_counts(url)
            if counts.rejects:
                with files.open_table(rejects_file(url)):
                    pass
        except StoreDamaged:
            return None
        return counts


def extract_file(ordinal: int) -> str:
    """Return the name of the file with the texts of a shard."""
    return f"{ordinal:08d}.parquet"


def document_columns(source: Source, extraction: Extraction | None) -> pa.Schema:
    """Return the columns of a source's documents without `row`, those of an extraction before the text."""
    schema = source.schema()
    if extraction is None:
        return schema
    own = [column.remove_metadata() for column in extraction.extract.gives()]
    return pa.schema([*(f for f in schema if f.name != columns.TEXT), *own, schema.field(columns.TEXT)])


def read_extracted(
    url: str,
    counts: ShardCounts,
    names: Sequence[str] | None,
    rows: NDArray[np.uint32] | None,
    batch_rows: int,
) -> Iterator[Batch]:
    """Yield the documents of a file of extracted texts as `read_shard` does those of a source.

    Rejects come with the first batch. Raises StoreDamaged where the file is not what was written.
    """
    rejects = [] if rows is not None or not counts.rejects else list(_rejects(url))
    with files.open_table(url) as file, pq.ParquetFile(file) as table:
        schema = table.schema_arrow.remove_metadata()
        wanted = [n for n in schema.names if names is None or n in (*names, columns.ROW, columns.TEXT)]
        first = True
        for batch in table.iter_batches(batch_size=batch_rows, columns=wanted, use_threads=False):
            documents = batch.replace_schema_metadata(None)
            if rows is not None:
                documents = documents.filter(pa.array(np.isin(documents[columns.ROW].to_numpy(), rows)))
            yield Batch(documents, rejects if first else [], counts.records, 0, tuple(counts.ends) if first else ())
            first = False
            if rows is not None and (not len(rows) or batch[columns.ROW][-1].as_py() >= rows[-1]):
                return
        if first:
            empty = pa.RecordBatch.from_pylist([], pa.schema([schema.field(name) for name in wanted]))
            yield Batch(empty, rejects, counts.records, 0, tuple(counts.ends))


def _rejects(url: str) -> Iterator[Reject]:
    for row in files.read_table(rejects_file(url)).to_pylist():
        yield Reject(**{name: row[name] for name in Reject.__dataclass_fields__})
