"""Measure: one fused pass over a shard's text, giving one narrow row per document. Nothing is dropped here."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from gristmill.operators import columns
from gristmill.operators.kernels.buffers import text_buffers
from gristmill.operators.measures.content_id import content_ids
from gristmill.pipelines.engine.warm_up import compile_missing
from gristmill.pipelines.progress.reading import AT_WORK, Reached, share_read
from gristmill.pipelines.shard_tasks.extract import read_batches
from gristmill.pipelines.shard_tasks.stopwatch import Stopwatch, timed
from gristmill.pipelines.sources.formats import FORMATS
from gristmill.pipelines.sources.read import Reject, derived_ids
from gristmill.pipelines.storage import files
from gristmill.pipelines.store.measures import ShardCounts, rejects_file, rejects_table, write_measures
from gristmill.pipelines.store.registry import Shard
from gristmill.pipelines.store.resources import ReadyOperator

#: Version of the columns that every shard gets besides what the recipe measures; raise it when they change.
DOCUMENT_VERSION = 1


@dataclass(frozen=True)
class MeasureShard:
    """The task that measures one shard: reads it, applies the transforms, computes what is missing, writes one file."""

    shard: Shard
    transforms: tuple[ReadyOperator, ...]
    measures: tuple[ReadyOperator, ...]
    with_document: bool  #: true where id, content id, length and metadata are still missing too
    url: str  #: the file to write

    def __str__(self) -> str:
        return self.shard.spec.name

    def run(self) -> ShardCounts:
        """Measure the shard and return its counts. Raises ShardError where the shard cannot be read."""
        try:
            return self._run()
        finally:
            AT_WORK.pop(self.url, None)

    def _share(self) -> float:
        """Return the share of the shard that is read; of several files, which are small, 0 until all of them are."""
        spec, share = self.shard.spec, share_read()
        if len(spec.files) > 1:
            return 0.0
        if spec.part is None or not FORMATS[spec.format].parts_are_bytes:
            return share
        start, stop = spec.part
        return min(1.0, max(0.0, share * spec.files[0].size - start) / max(1, stop - start))

    def _run(self) -> ShardCounts:
        compile_missing(self.kernels())
        watch = Stopwatch()
        transforms = [(t.name, t.open_measuring()) for t in self.transforms]
        measures = [(m.name, m.open()) for m in self.measures]
        tables: list[pa.RecordBatch] = []
        rejects: list[Reject] = []
        ends: list[int] = []
        left_out: Counter[str] = Counter()
        documents = text_bytes = records = lines = 0
        for batch in timed(read_batches(self.shard, left_out=left_out), watch):
            AT_WORK[self.url] = Reached(documents, text_bytes, self._share())
            rejects += batch.rejects
            records, lines = batch.records, batch.lines
            ends += batch.ends
            documents += batch.documents.num_rows
            text_bytes += length_of(batch.documents[columns.TEXT])
            tables.append(self._measure(batch.documents, transforms, measures, watch))
        with watch.step("write measures"):
            counted = (self.shard.ordinal, documents, records, len(rejects), text_bytes, lines)
            counts = ShardCounts(*counted, dict(watch.seconds), ends, dict(left_out))
            if rejects and self.with_document:
                table = rejects_table(self.shard.ordinal, rejects)
                files.write_table(rejects_file(self.url), table, durable=False)
            write_measures(self.url, pa.Table.from_batches(tables, self.schema()), counts)
        return counts

    def kernels(self) -> list[str]:
        """Return the groups of kernels that it needs."""
        return [
            "hash_texts",
            *(name for ready in (*self.transforms, *self.measures) for name in ready.operator.kernels()),
        ]

    def schema(self) -> pa.Schema:
        """Return the columns of the measure file."""
        source = self.shard.schema()
        fields = [pa.field(columns.ROW, columns.TYPES[columns.ROW])]
        if self.with_document:
            own = {n: pa.field(n, columns.TYPES[n]) for n in (columns.CONTENT_ID, columns.BYTES)}
            own |= {f.name: f for f in self._transform_columns()}
            fields += [own[n] if n in own else source.field(n) for n in self.document_columns()[1:]]
        for ready in self.measures:
            fields += list(ready.operator.gives())
        return pa.schema([f.remove_metadata() for f in fields])

    def document_columns(self) -> list[str]:
        """Return the columns of every document: row, id, url and metadata of its source, content id and length.

        Those that transforms give of it come last.
        """
        source_columns = [n for n in self.shard.schema().names if n not in (columns.TEXT, columns.ROW)]
        own = [columns.CONTENT_ID, columns.BYTES, *(f.name for f in self._transform_columns())]
        return [columns.ROW, *source_columns, *own]

    def _transform_columns(self) -> list[pa.Field]:
        return [f for ready in self.transforms for f in ready.operator.gives()]

    def _measure(self, documents: pa.RecordBatch, transforms: list, measures: list, watch: Stopwatch) -> pa.RecordBatch:  # type: ignore[type-arg]
        arrays = {columns.ROW: documents[columns.ROW]}
        text = documents[columns.TEXT]
        if self.with_document:
            with watch.step("content id"):
                ids = content_ids(text)
                arrays.update({n: documents[n] for n in documents.schema.names if n not in (columns.TEXT, columns.ROW)})
                arrays[columns.ID] = derived_ids(documents[columns.ID], ids, self.shard.ordinal, documents[columns.ROW])
                arrays[columns.CONTENT_ID] = ids
        for name, transform in transforms:
            with watch.step(name):
                text, given = transform(text)
            if self.with_document:
                arrays.update(zip(given.schema.names, given.columns, strict=True))
        if self.with_document:
            arrays[columns.BYTES] = lengths(text)
        documents = documents.set_column(documents.schema.get_field_index(columns.TEXT), columns.TEXT, text)
        if any(columns.SOURCE in ready.operator.reads() for ready in self.measures):
            source = pa.repeat(pa.scalar(self.shard.source.name, pa.string()), documents.num_rows)
            documents = documents.append_column(columns.SOURCE, source)
        for name, measure in measures:
            with watch.step(name):
                measured = measure(documents)
            arrays.update(zip(measured.schema.names, measured.columns, strict=True))
        schema = self.schema()
        return pa.RecordBatch.from_arrays([arrays[name] for name in schema.names], schema=schema)


def measure_shard(task: MeasureShard) -> ShardCounts:
    """Run a task: `MeasureShard.run` as a plain function, which engines take."""
    return task.run()


def lengths(text: pa.Array) -> pa.Array:
    """Return the UTF-8 bytes of each text (uint64)."""
    _, offsets = text_buffers(text)
    return pa.array(np.diff(offsets).astype(np.uint64))


def length_of(text: pa.Array) -> int:
    """Return the UTF-8 bytes of all texts together."""
    _, offsets = text_buffers(text)
    return int(offsets[-1] - offsets[0])
