"""Batches of documents, which the readers of all formats yield."""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from gristmill.operators.columns import ROW, TEXT, TYPES
from gristmill.pipelines.sources.fields import DigitsLost, DocumentFields
from gristmill.pipelines.sources.json_values import exact_json
from gristmill.pipelines.sources.records import Fault, Record, Reject, lookup, reject
from gristmill.pipelines.sources.spec import Source

_MISSING = object()


@dataclass(frozen=True)
class Batch:
    """Consecutive records of a shard: the documents among them, and the rejects.

    A shard gives at least one batch; `records` and `lines` of the last one are those of the shard.
    """

    documents: pa.RecordBatch  #: row (uint32), then the columns of `Source.schema()` that were asked for
    rejects: list[Reject]
    records: int  #: of the shard so far, rejected ones counted
    lines: int  #: of the shard so far, blank ones counted; 0 where the format has no lines
    ends: tuple[int, ...] = ()  #: of a shard of several files: records up to each end of a file in this batch


class BatchBuilder:
    """Collector of records into batches.

    A batch has about `batch_bytes`, at least one record and at most `batch_rows` records.
    """

    def __init__(
        self,
        source: Source,
        wanted: pa.Schema,
        *,
        cells: bool,
        batch_bytes: int,
        batch_rows: int,
        only: Container[int] | None = None,
    ) -> None:
        self._only = only
        self._source = source
        self._fields = DocumentFields(source, cells=cells)
        self._given: list[tuple[int, str, Any]] = []
        self._schema = source.schema()
        self._wanted = wanted
        self._batch_bytes, self._batch_rows = batch_bytes, batch_rows
        self.records = 0  #: so far
        self._clear()

    def _clear(self) -> None:
        self._rows: list[int] = []
        self._columns: list[list[object]] = [[] for _ in self._fields.names]
        self._rejects: list[Reject] = []
        self._bytes = 0
        self._ends: list[int] = []

    def add(self, record: Record) -> None:
        """Add the next record of the shard: a document, a reject, or one not in `only`, which is merely counted."""
        row = self.records
        self.records += 1
        if self._only is not None and row not in self._only:
            return
        try:
            if record.fault is not None:
                raise record.fault
            try:
                values = self._fields.values(record.value)
            except DigitsLost:
                exact = exact_json(record.raw or b"null") if record.exact is None else record.exact()
                values = self._fields.values(exact, exact=True)
        except Fault as fault:
            self._rejects.append(reject(row, record, fault, self._own_id(record)))
            return
        for position, field, default in self._given:
            if lookup(record.value, field, _MISSING) is _MISSING:
                values[position] = default
        self._rows.append(row)
        size = len(values[-1])
        for column, value in zip(self._columns, values, strict=True):
            column.append(value)
            if type(value) is str:
                size += len(value)
        self._bytes += size

    def begin_file(self, given: Mapping[str, Any]) -> None:
        """Use `given` for columns whose fields the records of the next file do not have."""
        fields = {column: field for column, field, _ in self._source.metadata_types()}
        self._given = [(self._fields.names.index(column), fields[column], value) for column, value in given.items()]

    def end_file(self) -> None:
        """Record the end of one of several files."""
        self._ends.append(self.records)

    def is_full(self) -> bool:
        """Return whether the records suffice for a batch, by bytes or by rows."""
        return self._bytes >= self._batch_bytes or len(self._rows) + len(self._rejects) >= self._batch_rows

    def take(self, lines: int) -> Batch:
        """Return the records since the last batch; `lines` is the number of lines that the reader has read."""
        arrays = {ROW: pa.array(self._rows, TYPES[ROW])}
        for field, values in zip(self._schema, self._columns, strict=True):
            arrays[field.name] = _texts(values) if field.name == TEXT else pa.array(values, field.type)
        documents = pa.RecordBatch.from_arrays([arrays[name] for name in self._wanted.names], schema=self._wanted)
        batch = Batch(documents, self._rejects, self.records, lines, tuple(self._ends))
        self._clear()
        return batch

    def _own_id(self, record: Record) -> str | None:
        try:
            return self._fields.id(record.value) if isinstance(record.value, dict) else None
        except Fault:
            return None


def joined(batches: Iterable[Batch], batch_bytes: int, batch_rows: int) -> Iterator[Batch]:
    """Yield the same documents in fewer batches: small ones are put together, up to the size of a batch."""
    buffer: list[Batch] = []
    rows = size = 0
    for batch in batches:
        more_rows, more_size = batch.documents.num_rows + len(batch.rejects), batch.documents.nbytes
        if buffer and (rows + more_rows > batch_rows or size + more_size > batch_bytes):
            yield _one(buffer)
            buffer, rows, size = [], 0, 0
        buffer.append(batch)
        rows, size = rows + more_rows, size + more_size
    if buffer:
        yield _one(buffer)


def _one(batches: Sequence[Batch]) -> Batch:
    if len(batches) == 1:
        return batches[0]
    table = pa.Table.from_batches([batch.documents for batch in batches]).combine_chunks()
    documents = (table.to_batches() or [batches[0].documents])[0]
    rejects = [reject for batch in batches for reject in batch.rejects]
    return replace(batches[-1], documents=documents, rejects=rejects, ends=sum((b.ends for b in batches), ()))


def _texts(texts: list[object]) -> pa.Array:
    """Return a large_string array of texts that are UTF-8 bytes."""
    offsets = np.zeros(len(texts) + 1, np.int64)
    np.cumsum([len(text) for text in texts], out=offsets[1:])  # type: ignore[arg-type]
    content = b"".join(texts)  # type: ignore[arg-type]
    return pa.LargeStringArray.from_buffers(len(texts), pa.py_buffer(offsets), pa.py_buffer(content))


def cuts(lengths: NDArray[np.int64], batch_bytes: int, batch_rows: int) -> Iterator[tuple[int, int]]:
    """Yield the (start, stop) of runs of at most `batch_bytes` and `batch_rows`, each of one text at least."""
    ends = np.cumsum(lengths)
    start = 0
    while start < len(lengths):
        before = ends[start - 1] if start else 0
        fitting = int(np.searchsorted(ends, before + batch_bytes, side="right"))
        stop = min(max(fitting, start + 1), start + batch_rows)
        yield start, stop
        start = stop
