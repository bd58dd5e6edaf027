"""Reading a shard: documents in order, batch by batch, whatever format they are in."""

from __future__ import annotations

from collections.abc import Container, Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from itertools import islice

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from operators.columns import ID, ROW, TEXT, TYPES, address
from operators.errors import RecipeError, ShardError
from pipelines.sources.batches import Batch, BatchBuilder
from pipelines.sources.delimited import delimited
from pipelines.sources.discover import ShardSpec, discover
from pipelines.sources.json_records import is_array, json_array, json_lines
from pipelines.sources.lines import LineReader, open_lines
from pipelines.sources.parquet import parquet
from pipelines.sources.plain_text import plain_text
from pipelines.sources.python_env import python_env
from pipelines.sources.records import Record, Reject
from pipelines.sources.spec import Source
from pipelines.sources.wet import wet

BATCH_BYTES = 8_000_000
BATCH_ROWS = 16_384

__all__ = ["Batch", "Reject", "derived_id", "derived_ids", "read_documents", "read_shard"]


def read_shard(
    spec: ShardSpec,
    source: Source,
    *,
    columns: Sequence[str] | None = None,
    rows: NDArray[np.uint32] | None = None,
    batch_bytes: int = BATCH_BYTES,
    batch_rows: int = BATCH_ROWS,
) -> Iterator[Batch]:
    """The documents and rejects of a shard, in order: the same ones whatever the size of batches.

    Batches have `row` (uint32) and the columns of `source.schema()`, or only those of them that `columns` names and the
    text. With `rows` (ascending) only the records of these rows are given, and reading stops after the last of them:
    for a second look at documents that are known. A batch holds about `batch_bytes` of text (one record at least) and
    at most `batch_rows` records. Closing the generator early closes the file.

    Raises ShardError where the shard cannot be read as a whole (damaged, gone, changed, other columns) and
    RetryableError where the store did not answer.
    """
    wanted, sizes = _wanted(source, columns), {"batch_bytes": batch_bytes, "batch_rows": batch_rows}
    if spec.format == "parquet":
        batches = parquet(spec.files[0], spec.part, source, wanted, **sizes)
        yield from batches if rows is None else _rows_of(batches, rows)
        return
    only = None if rows is None else frozenset(rows.tolist())
    stop = None if rows is None else int(rows[-1]) + 1 if len(rows) else 0
    builder = BatchBuilder(source, wanted, cells=spec.format in ("csv", "tsv"), only=only, **sizes)
    if spec.format in ("jsonl", "csv", "tsv") or (
        spec.format == "json" and not is_array(spec.files[0], spec.compression)
    ):
        limit = int(source.document_bytes)
        with open_lines(spec.files[0], spec.compression, spec.part, limit) as lines:
            yield from _batches(builder, islice(_line_records(spec, source, lines, only), stop), lines)
    else:
        with closing(_file_records(spec, source)) as records:
            yield from _batches(builder, islice(records, stop), None)


def _rows_of(batches: Iterator[Batch], rows: NDArray[np.uint32]) -> Iterator[Batch]:
    """The documents of these rows (ascending) alone; nothing is read beyond the last."""
    for batch in batches:
        mask = np.isin(batch.documents[ROW].to_numpy(), rows, assume_unique=True)
        yield replace(batch, documents=batch.documents.filter(pa.array(mask)), rejects=[])
        if not len(rows) or batch.records > rows[-1]:
            return


def _wanted(source: Source, columns: Sequence[str] | None) -> pa.Schema:
    """The schema of a batch's documents."""
    fields = [f for f in source.schema() if columns is None or f.name in columns or f.name == TEXT]
    return pa.schema([pa.field(ROW, TYPES[ROW]), *fields])


def _line_records(spec: ShardSpec, source: Source, lines: LineReader, only: Container[int] | None) -> Iterator[Record]:
    if spec.format in ("jsonl", "json"):
        return json_lines(lines, int(source.document_bytes), only)
    return delimited(spec.files[0].name, lines, "\t" if spec.format == "tsv" else ",", source)


def _file_records(spec: ShardSpec, source: Source) -> Generator[Record]:
    limit = int(source.document_bytes)
    for file in spec.files:
        match spec.format:
            case "json":
                yield from json_array(file, spec.compression)
            case "text":
                yield from plain_text(file, spec.compression, limit)
            case "wet":
                yield from wet(file, spec.compression, limit)
            case "python_env":
                yield from python_env(file, limit)


def _batches(builder: BatchBuilder, records: Iterator[Record], lines: LineReader | None) -> Iterator[Batch]:
    for record in records:
        builder.add(record)
        if builder.is_full():
            yield builder.take(lines.count if lines else 0)
    yield builder.take(lines.count if lines else 0)  # the rest, be it nothing: it says how long the shard is


def read_documents(
    path: str | Sequence[str], text: str = TEXT, id: str | None = ID, base: str = "."
) -> Iterator[pa.RecordBatch]:
    """The documents (row, id, text) of small inputs beside the corpus: training files, targets of a selection.

    They are chosen by hand, so every record counts: RecipeError at the first that is no document, and where a file
    cannot be read or a path matches nothing.
    """
    source = Source(name="documents", path=[path] if isinstance(path, str) else list(path), text=text, id=id)
    for spec in discover([source], base):
        try:
            for batch in read_shard(spec, source):
                for bad in batch.rejects:
                    place = f":{bad.line}" if bad.line is not None else f" row {bad.row}"
                    raise RecipeError(f"{spec.name}{place}: {bad.detail}; correct the record or remove it")
                yield batch.documents
        except ShardError as error:
            raise RecipeError(str(error)) from error


def derived_id(content_id: bytes, address: int) -> str:
    """The id of a document that has none of its own: content id and address in hexadecimal, `<32 digits>-<address>`."""
    return f"{content_id.hex()}-{address:x}"


def derived_ids(
    ids: pa.StringArray, content_ids: pa.FixedSizeBinaryArray, ordinal: int, rows: pa.UInt32Array
) -> pa.StringArray:
    """The ids of n documents, nulls replaced by derived ids."""
    if not ids.null_count:
        return ids
    given = zip(ids.to_pylist(), content_ids.to_pylist(), rows.to_pylist(), strict=True)
    filled = [own if own is not None else derived_id(content, address(ordinal, row)) for own, content, row in given]
    return pa.array(filled, ids.type)
