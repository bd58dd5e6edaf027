"""Reading of shards of any format: documents in order, batch by batch."""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from itertools import islice

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from gristmill.operators.columns import ID, ROW, TEXT, TYPES, address
from gristmill.operators.errors import RecipeError, ShardError
from gristmill.pipelines.config.tuning import sizes
from gristmill.pipelines.sources.batches import Batch, BatchBuilder, joined
from gristmill.pipelines.sources.discover import ShardSpec, discover
from gristmill.pipelines.sources.formats import FORMATS, Reading
from gristmill.pipelines.sources.formats.base import Batches
from gristmill.pipelines.sources.partitions import given_by_path
from gristmill.pipelines.sources.records import Reject
from gristmill.pipelines.sources.spec import Source
from gristmill.pipelines.sources.storage import FileRef, UnreadableFiles

__all__ = ["Batch", "Reject", "derived_id", "derived_ids", "read_documents", "read_shard"]


def read_shard(
    spec: ShardSpec,
    source: Source,
    *,
    columns: Sequence[str] | None = None,
    rows: NDArray[np.uint32] | None = None,
    batch_bytes: int | None = None,
    batch_rows: int | None = None,
    left_out: Counter[str] | None = None,
) -> Iterator[Batch]:
    """Yield the documents and rejects of a shard, in order, independent of the size of batches.

    Batches have `row` (uint32) and the columns of `source.schema()`, or only those of them that `columns` names and the
    text. With `rows` (ascending) only the records of these rows are given, and reading stops after the last of them,
    to read known documents a second time. A batch holds about `batch_bytes` of text (one record at least) and
    at most `batch_rows` records, by default those of `Tuning`. Closing the generator early closes the file. What a file
    holds besides records is counted in `left_out`, by kind.

    Raises ShardError where the shard cannot be read as a whole (damaged, gone, changed, other columns), UnreadableFiles
    where that is so of some of its files, and RetryableError where the store did not answer.
    """
    batch_bytes, batch_rows = batch_bytes or sizes().batch_bytes, batch_rows or sizes().batch_rows
    schema, limits = _wanted(source, columns), {"batch_bytes": batch_bytes, "batch_rows": batch_rows}
    format_ = FORMATS[spec.format]
    if format_.batches is not None:
        if len(spec.files) == 1:
            batches = format_.batches(spec.files[0], spec.part, source, schema, **limits)
        else:
            batches = joined(_several(format_.batches, spec, source, schema, limits), batch_bytes, batch_rows)
        yield from batches if rows is None else _rows_of(batches, rows)
        return
    only = None if rows is None else frozenset(rows.tolist())
    stop = None if rows is None else int(rows[-1]) + 1 if len(rows) else 0
    builder = BatchBuilder(source, schema, cells=format_.cells, only=only, **limits)
    lines_before = 0
    failures = Failures(spec)
    for file in spec.files:
        record_limit = None if stop is None else stop - builder.records
        local = only if only is None or builder.records == 0 else _From(only, builder.records)
        with (
            failures.of(file),
            format_.open(Reading(file, spec.compression, spec.part, source, source.fields(), local, left_out)) as (
                records,
                lines,
            ),
        ):
            builder.begin_file(given_by_path(source, file))
            for record in islice(records, record_limit):
                builder.add(record)
                if builder.is_full():
                    yield builder.take(lines_before + (lines.count if lines else 0))
            lines_before += lines.count if lines else 0
        if len(spec.files) > 1:
            builder.end_file()
        if stop is not None and builder.records >= stop:
            break
    failures.raise_if_any()
    yield builder.take(lines_before)  # the rest, possibly empty: it has the length of the shard


class Failures:
    """The unreadable files of a shard of several: the others are still read, so that all failures are reported."""

    def __init__(self, spec: ShardSpec) -> None:
        self._several = len(spec.files) > 1
        self._position = -1
        self._found: list[tuple[int, str]] = []

    @contextmanager
    def of(self, file: FileRef) -> Iterator[None]:
        """Hold the ShardError of the next file until `raise_if_any`; that of an only file is raised at once."""
        self._position += 1
        try:
            yield
        except ShardError as error:
            if not self._several:
                raise
            self._found.append((self._position, str(error)))

    def raise_if_any(self) -> None:
        """Raise UnreadableFiles where some could not be read; batches given of the shard are then void."""
        if self._found:
            raise UnreadableFiles(tuple(self._found))


def _several(
    read: Batches, spec: ShardSpec, source: Source, wanted: pa.Schema, limits: Mapping[str, int]
) -> Iterator[Batch]:
    """Yield the batches of several files, with rows counted through all files."""
    before = 0
    failures = Failures(spec)
    for file in spec.files:
        previous = None
        with failures.of(file):
            for batch in read(file, None, source, wanted, **limits):
                if previous is not None:
                    yield previous
                previous = _moved(batch, before)
        if previous is not None:
            before = previous.records
            yield replace(previous, ends=(before,))
    failures.raise_if_any()


def _moved(batch: Batch, rows: int) -> Batch:
    """Return a batch with `rows` added to its row numbers and counts."""
    at = batch.documents.schema.get_field_index(ROW)
    moved = pc.add(batch.documents[ROW], pa.scalar(rows, TYPES[ROW]))
    documents = batch.documents.set_column(at, batch.documents.schema.field(at), moved)
    rejects = [replace(reject, row=reject.row + rows) for reject in batch.rejects]
    return replace(batch, documents=documents, rejects=rejects, records=batch.records + rows)


class _From(Container[int]):
    """Rows of a shard, counted from row `first` on."""

    def __init__(self, rows: Container[int], first: int) -> None:
        self._rows, self._first = rows, first

    def __contains__(self, row: object) -> bool:
        return isinstance(row, int) and row + self._first in self._rows


def _rows_of(batches: Iterator[Batch], rows: NDArray[np.uint32]) -> Iterator[Batch]:
    """Yield only the documents of these rows (ascending); nothing is read beyond the last."""
    for batch in batches:
        mask = np.isin(batch.documents[ROW].to_numpy(), rows, assume_unique=True)
        yield replace(batch, documents=batch.documents.filter(pa.array(mask)), rejects=[])
        if not len(rows) or batch.records > rows[-1]:
            return


def _wanted(source: Source, columns: Sequence[str] | None) -> pa.Schema:
    """Return the schema of a batch's documents: row, the chosen columns, text."""
    fields = [f for f in source.schema() if columns is None or f.name in columns or f.name == TEXT]
    return pa.schema([pa.field(ROW, TYPES[ROW]), *fields])


def read_documents(
    path: str | Sequence[str], text: str = TEXT, id: str | None = ID, base: str = "."
) -> Iterator[pa.RecordBatch]:
    """Yield the documents (row, id, text) of small inputs next to the corpus: training files, targets of a selection.

    They are chosen by hand, so every record counts: raises RecipeError at the first that is no document, and where a
    file cannot be read or a path matches nothing.
    """
    source = Source(name="documents", path=[path] if isinstance(path, str) else list(path), text=text, id=id)
    for spec in (alone for shard in discover([source], base) for alone in shard.singly()):
        try:
            for batch in read_shard(spec, source):
                for bad in batch.rejects:
                    place = f":{bad.line}" if bad.line is not None else f" row {bad.row}"
                    raise RecipeError(f"{spec.name}{place}: {bad.detail}; correct the record or remove it")
                yield batch.documents
        except ShardError as error:
            raise RecipeError(str(error)) from error


def derived_id(content_id: bytes, address: int) -> str:
    """Return the id of a document without its own: content id and address in hexadecimal, `<32 digits>-<address>`."""
    return f"{content_id.hex()}-{address:x}"


def derived_ids(
    ids: pa.StringArray, content_ids: pa.FixedSizeBinaryArray, ordinal: int, rows: pa.UInt32Array
) -> pa.StringArray:
    """Return the ids of n documents, nulls replaced by derived ids."""
    if not ids.null_count:
        return ids
    records = zip(ids.to_pylist(), content_ids.to_pylist(), rows.to_pylist(), strict=True)
    filled = [own if own is not None else derived_id(content, address(ordinal, row)) for own, content, row in records]
    return pa.array(filled, ids.type)
