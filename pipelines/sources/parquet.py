"""Parquet: columns go from file to batch as Arrow arrays; only rows that look wrong are judged one by one."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pyarrow.types as pt
from numpy.typing import NDArray

from operators.columns import ID, ROW, TEXT
from operators.errors import ShardError
from operators.kernels.buffers import text_buffers
from pipelines.sources.arrow_values import Wanted, is_binary, is_string, wanted_columns
from pipelines.sources.batches import Batch, cuts
from pipelines.sources.fields import check_text
from pipelines.sources.lines import Part
from pipelines.sources.records import Fault, Record, Reject, reject
from pipelines.sources.spec import Source
from pipelines.sources.storage import FileRef, open_file
from pipelines.state.files import is_local
from pipelines.words import did_you_mean


def parquet(
    file: FileRef, part: Part | None, source: Source, wanted: pa.Schema, *, batch_bytes: int, batch_rows: int
) -> Iterator[Batch]:
    """The documents of a file, or of a range of its row groups. Columns that are not in `wanted` are not read.

    Raises ShardError where the file is damaged, or its columns are not what the source asks for.
    """
    with open_file(file) as opened:
        reader = pq.ParquetFile(opened, pre_buffer=not is_local(file.url))
        columns = _Columns(file.name, reader.schema_arrow, source, wanted)
        groups = list(range(*part) if part is not None else range(reader.num_row_groups))
        rows = _rows_of(reader.metadata, groups, source.text, batch_bytes, batch_rows)
        row = 0
        for held in reader.iter_batches(rows, row_groups=groups, columns=columns.paths, use_threads=False):
            text = columns.text(held)
            for start, stop in cuts(_lengths(text), batch_bytes, batch_rows):
                yield columns.batch(held.slice(start, stop - start), text.slice(start, stop - start), row + start)
            row += held.num_rows
        if row == 0:
            yield Batch(pa.RecordBatch.from_pylist([], schema=wanted), [], records=0, lines=0)


def _rows_of(metadata: pq.FileMetaData, groups: list[int], text: str, batch_bytes: int, batch_rows: int) -> int:
    """How many rows have about `batch_bytes` of text, by what the file says of its row groups."""
    rows = text_bytes = 0
    for group in map(metadata.row_group, groups):
        chunks = map(group.column, range(group.num_columns))
        text_bytes += sum(chunk.total_uncompressed_size for chunk in chunks if chunk.path_in_schema == text)
        rows += group.num_rows
    return max(1, min(batch_rows, rows * batch_bytes // max(1, text_bytes)))


def _lengths(text: pa.Array) -> NDArray[np.int64]:
    _, offsets = text_buffers(text)
    return np.diff(offsets)


class _Columns:
    """How the columns of one file become the columns of documents. A column that the file lacks is null."""

    def __init__(self, name: str, schema: pa.Schema, source: Source, wanted: pa.Schema) -> None:
        self._name, self._schema, self._wanted = name, schema, wanted
        self._limit = int(source.document_bytes)
        self._text = source.text
        text_type = self._type(source.text)
        if text_type is None:
            raise ShardError(f"{name}: there is no column {source.text}{did_you_mean(source.text, schema.names)}")
        if not (is_string(text_type) or is_binary(text_type)):
            raise self._refused(source.text, text_type, "a text")
        self._others: list[Wanted] = []
        for column in wanted_columns(source):
            type_ = self._type(column.field)
            if column.column in wanted.names and type_ is not None:
                if not column.takes(type_):
                    raise self._refused(column.field, type_, column.what)
                self._others.append(column)
        self.paths = list(dict.fromkeys([self._text, *(other.field for other in self._others)]))

    def _type(self, field: str) -> pa.DataType | None:
        """The type of the values of a column; None where there is no such column."""
        type_ = _type_of(self._schema, field, self._name)
        return type_.value_type if type_ is not None and pt.is_dictionary(type_) else type_

    def _refused(self, field: str, type_: pa.DataType, what: str) -> ShardError:
        return ShardError(
            f"{self._name}: the column {field} is {type_}, which cannot be read as {what}; its columns are "
            f"{', '.join(f'{f.name} ({f.type})' for f in self._schema)}; name another column or type in the recipe"
        )

    def text(self, held: pa.RecordBatch) -> pa.LargeStringArray:
        """The texts of rows as they are in the file: some may be null or no UTF-8."""
        values = _column(held, self._text)
        if is_string(values.type):
            return values.cast(pa.large_string())
        return values.cast(pa.large_binary()).view(pa.large_string())  # judged as UTF-8 later on

    def batch(self, held: pa.RecordBatch, text: pa.LargeStringArray, first_row: int) -> Batch:
        """Documents and rejects of consecutive rows, of which `first_row` is the first."""
        faults = _text_faults(text, self._limit)
        arrays: dict[str, pa.Array] = {}
        for other in self._others:
            arrays[other.column], more = other.read(_column(held, other.field))
            for i in _not_utf8(arrays[other.column]):
                more[i] = Fault("invalid_utf8", f"the value of column {other.column} is not UTF-8")
            faults = more | faults
        rejects = [self._reject(i, faults[i], first_row, arrays.get(ID), text) for i in sorted(faults)]
        arrays[ROW] = pa.array(np.arange(first_row, first_row + held.num_rows, dtype=np.uint32))
        arrays[TEXT] = text
        for field in self._wanted:
            if field.name not in arrays:
                arrays[field.name] = pa.nulls(held.num_rows, field.type)
        documents = pa.RecordBatch.from_arrays([arrays[name] for name in self._wanted.names], schema=self._wanted)
        if faults:
            kept = np.ones(held.num_rows, np.bool_)
            kept[list(faults)] = False
            documents = documents.filter(pa.array(kept))
        return Batch(documents, rejects, first_row + held.num_rows, lines=0)

    @staticmethod
    def _reject(i: int, fault: Fault, first_row: int, ids: pa.Array | None, text: pa.Array) -> Reject:
        own_id = None if ids is None else _bytes_at(ids, i)
        record = Record(None, raw=_bytes_at(text, i) or b"")
        return reject(first_row + i, record, fault, own_id.decode("utf-8", "backslashreplace") if own_id else None)


def _type_of(schema: pa.Schema, field: str, name: str) -> pa.DataType | None:
    """The type of a column: the one of that very name or, else, the one that the dots lead to.

    Raises ShardError where there are several of a name, so that nobody knows which is meant.
    """
    steps = [field] if field in schema.names or "." not in field else field.split(".")
    fields = list(schema)
    type_: pa.DataType | None = None
    for step in steps:
        named = [inner.type for inner in fields if inner.name == step]
        if not named:
            return None
        if len(named) > 1:
            raise ShardError(f"{name}: there are {len(named)} columns called {step}; rename all but one of them")
        (type_,) = named
        fields = list(type_) if pt.is_struct(type_) else []
    return type_


def _column(held: pa.RecordBatch, field: str) -> pa.Array:
    if field in held.schema.names:
        values = held.column(field)
    else:
        first, *rest = field.split(".")
        values = pc.struct_field(held.column(first), rest)
    return values.dictionary_decode() if pt.is_dictionary(values.type) else values


def _text_faults(text: pa.LargeStringArray, limit: int) -> dict[int, Fault]:
    """Rows whose text is no text to keep, and why: found by whole columns, judged one by one."""
    content, offsets = text_buffers(text)
    suspects = {*np.flatnonzero(np.diff(offsets) > limit).tolist(), *_not_utf8(text)}
    if text.null_count:
        suspects |= set(np.flatnonzero(text.is_null().to_numpy(zero_copy_only=False)).tolist())
    here = content[offsets[0] : offsets[-1]]
    if not here.all():
        suspects |= set((np.searchsorted(offsets, np.flatnonzero(here == 0) + offsets[0], side="right") - 1).tolist())
    faults = {}
    for i in suspects:
        try:
            _judge(_bytes_at(text, i), limit)
        except Fault as fault:
            faults[i] = fault
    return faults


def _judge(text: bytes | None, limit: int) -> None:
    if text is None:
        raise Fault("null_text", "the text is null")
    check_text(text, limit)
    try:
        text.decode()
    except UnicodeDecodeError as error:
        raise Fault(
            "invalid_utf8", f"byte {error.start:,} of the text (0x{text[error.start]:02x}) is not UTF-8"
        ) from None


def _not_utf8(values: pa.Array) -> list[int]:
    """Rows of a column that Arrow takes for text without having looked."""
    try:
        values.validate(full=True)
    except pa.ArrowInvalid:
        return [i for i in range(len(values)) if not _is_utf8(values.slice(i, 1))]
    return []


def _is_utf8(value: pa.Array) -> bool:
    try:
        value.validate(full=True)
    except pa.ArrowInvalid:
        return False
    return True


def _bytes_at(values: pa.Array, i: int) -> bytes | None:
    """The value of a text column as bytes, UTF-8 or not."""
    scalar = values[i]
    return scalar.as_buffer().to_pybytes() if scalar.is_valid else None
