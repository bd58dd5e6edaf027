"""Parquet: columns go from file to batch as Arrow arrays; only rows that look wrong are checked one by one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pyarrow.types as pt
from numpy.typing import NDArray

from gristmill.operators.columns import ID, ROW, TEXT
from gristmill.operators.errors import ShardError
from gristmill.operators.kernels.buffers import text_buffers
from gristmill.pipelines.config.wording import did_you_mean
from gristmill.pipelines.progress.reading import tell_share
from gristmill.pipelines.sources.arrow_values import Wanted, is_binary, is_string, wanted_columns
from gristmill.pipelines.sources.batches import Batch, cuts
from gristmill.pipelines.sources.fields import check_text
from gristmill.pipelines.sources.formats.base import Format, Reading, by_file
from gristmill.pipelines.sources.lines import Part
from gristmill.pipelines.sources.partitions import given_by_path
from gristmill.pipelines.sources.records import Fault, Record, Reject, reject
from gristmill.pipelines.sources.spec import Source
from gristmill.pipelines.sources.storage import FileRef, open_file
from gristmill.pipelines.sources.streams import (
    HEAD,
    Compression,
    NotAsNamed,
    compression_of,
    is_text,
    refuse_other_kinds,
)
from gristmill.pipelines.storage.files import is_local

#: Rows that are read first, to learn their size.
_FIRST_ROWS = 16
#: Steps grow by this much at most, until they are as large as batches.
_GROWTH = 16
#: Bytes that the index of a value in a dictionary takes in a file, at most.
_INDEX_BYTES = 4
#: Size of a dictionary in bytes from which it may hold long texts; a smaller one is that of a column of labels.
_LONG_LIST = 300
_OF_OFFSETS = (pa.string(), pa.large_string(), pa.binary(), pa.large_binary())


def parquet(
    file: FileRef, part: Part | None, source: Source, wanted: pa.Schema, *, batch_bytes: int, batch_rows: int
) -> Iterator[Batch]:
    """Yield the documents of a file, or of a range of its row groups; columns that are not in `wanted` are not read.

    Raises ShardError where the file is damaged, or its columns are not those that the source asks for.
    """
    with open_file(file) as opened:
        options = {"pre_buffer": not is_local(file.url)}
        try:
            reader = _opened(opened, options)
            columns = _Columns(file.name, reader.schema_arrow, source, wanted, given_by_path(source, file))
            groups = list(range(*part) if part is not None else range(reader.num_row_groups))
            dictionaries = [path for path in columns.texts() if _is_dictionary(reader.metadata, groups, path)]
        except UnicodeDecodeError as error:
            raise pa.ArrowInvalid(f"the name of a column is no text: {error}") from None
        if dictionaries:
            reader = pq.ParquetFile(opened, metadata=reader.metadata, read_dictionary=dictionaries, **options)
        row, rows = 0, sum(reader.metadata.row_group(group).num_rows for group in groups)
        for piece in _pieces(reader, groups, columns.paths, batch_bytes, batch_rows):
            tell_share((row + piece.num_rows) / max(1, rows))
            for start, stop in cuts(_sizes(piece), batch_bytes, batch_rows):
                yield columns.batch(piece.slice(start, stop - start), row + start)
            row += piece.num_rows
        if row == 0:
            yield Batch(pa.RecordBatch.from_pylist([], schema=wanted), [], records=0, lines=0)


def _opened(opened: pa.NativeFile, options: dict[str, bool]) -> pq.ParquetFile:
    """Return the reader of a file. Raises NotAsNamed with the actual kind of a file that is not Parquet."""
    try:
        return pq.ParquetFile(opened, **options)
    except (pa.ArrowInvalid, OSError):
        opened.seek(0)
        head = opened.read(HEAD)
        if head and not head.startswith(b"PAR1"):
            refuse_other_kinds(head)
            if (compression := compression_of(head, "none")) != "none":
                raise NotAsNamed(f"is compressed ({compression}) around its Parquet; unpack it") from None
            if is_text(head):
                raise NotAsNamed(f"is text and no Parquet file: {head[:40].decode('utf-8', 'ignore')!r}") from None
        raise


def _is_dictionary(metadata: pq.FileMetaData, groups: list[int], path: str) -> bool:
    """Return whether texts are stored only as indices into a dictionary, by the size of all but the dictionary.

    A few bytes of a file may then stand for very many texts: they are taken from the dictionary when they are needed.
    """
    chunks = [
        chunk
        for group in map(metadata.row_group, groups)
        for chunk in map(group.column, range(group.num_columns))
        if chunk.path_in_schema == path and chunk.num_values
    ]
    return bool(chunks) and all(
        chunk.dictionary_page_offset is not None
        and chunk.total_compressed_size - (chunk.data_page_offset - chunk.dictionary_page_offset)
        <= _INDEX_BYTES * (chunk.num_values + _FIRST_ROWS)
        and chunk.data_page_offset - chunk.dictionary_page_offset >= _LONG_LIST
        for chunk in chunks
    )


def _pieces(
    reader: pq.ParquetFile, groups: list[int], paths: list[str], batch_bytes: int, batch_rows: int
) -> Iterator[pa.RecordBatch]:
    """Yield all rows, in pieces of about `batch_bytes` in memory, by the size of the rows before.

    The sizes that a file states are no guide: equal values may take next to nothing in it.
    """
    step = min(_FIRST_ROWS, batch_rows)
    pieces: list[pa.RecordBatch] = []
    total = rows = 0
    for piece in reader.iter_batches(step, row_groups=groups, columns=paths, use_threads=False):
        pieces.append(piece)
        size = max(1, sum(map(_bytes_held, piece.columns)))
        total, rows = total + size, rows + piece.num_rows
        if total >= batch_bytes // 16 or rows >= batch_rows // 2:
            yield pa.concat_batches(pieces) if len(pieces) > 1 else piece
            pieces, total, rows = [], 0, 0
        fitting = (batch_bytes - total) * 15 // 16 * piece.num_rows // size
        step = max(1, min(fitting, _GROWTH * piece.num_rows, batch_rows - rows))
        reader.reader.set_batch_size(step)  # takes effect with the next batch
    if pieces:
        yield pa.concat_batches(pieces)


def _bytes_held(values: pa.Array) -> int:
    return int(values.indices.nbytes if pt.is_dictionary(values.type) else values.nbytes)


def _sizes(held: pa.RecordBatch) -> NDArray[np.int64]:
    """Return the bytes of each row, dictionaries decoded."""
    sizes = np.zeros(held.num_rows, np.int64)
    for values in held.columns:
        if pt.is_dictionary(values.type):
            lengths = _lengths(values.dictionary)
            sizes += np.append(lengths, 0)[pc.fill_null(values.indices.cast(pa.int64()), len(lengths)).to_numpy()]
        else:
            sizes += _lengths(values)
    return sizes


def _lengths(values: pa.Array) -> NDArray[np.int64]:
    """Return the bytes of each value; of nested values the average."""
    if is_string(values.type) or is_binary(values.type):
        measured = values if values.type in _OF_OFFSETS else values.cast(pa.large_binary())
        lengths = pc.binary_length(measured)
        sizes: NDArray[np.int64] = (pc.fill_null(lengths, 0) if lengths.null_count else lengths).to_numpy()
        return sizes
    return np.full(len(values), values.nbytes // max(1, len(values)), np.int64)


class _Columns:
    """Conversion of one file's columns to those of documents; a column that the file lacks is as `given`, or null."""

    def __init__(
        self, name: str, schema: pa.Schema, source: Source, wanted: pa.Schema, given: Mapping[str, Any]
    ) -> None:
        self._name, self._schema, self._wanted, self._given = name, schema, wanted, given
        self._limit = int(source.document_bytes)
        self._text = source.content
        text_type = self._type(source.content)
        if text_type is None:
            raise ShardError(f"{name}: there is no column {source.content}{did_you_mean(source.content, schema.names)}")
        if not (is_string(text_type) or is_binary(text_type)):
            raise self._refused(source.content, text_type, "a text")
        self._others: list[Wanted] = []
        for column in wanted_columns(source):
            type_ = self._type(column.field)
            if column.column in wanted.names and type_ is not None:
                if not column.takes(type_):
                    raise self._refused(column.field, type_, column.what)
                self._others.append(column)
        self.paths = list(dict.fromkeys([self._text, *(other.field for other in self._others)]))

    def _type(self, field: str) -> pa.DataType | None:
        """Return the type of the values of a column; None where there is no such column."""
        type_ = _type_of(self._schema, field, self._name)
        return type_.value_type if type_ is not None and pt.is_dictionary(type_) else type_

    def texts(self) -> list[str]:
        """Return the top-level text and metadata columns of texts or bytes: only those can be read as dictionaries."""
        metadata = [other.field for other in self._others if other.column != ID]
        named = [path for path in dict.fromkeys([self._text, *metadata]) if path in self._schema.names]
        return [path for path in named if self._type(path) in _OF_OFFSETS]

    def _refused(self, field: str, type_: pa.DataType, what: str) -> ShardError:
        return ShardError(
            f"{self._name}: the column {field} is {type_}, which cannot be read as {what}; its columns are "
            f"{', '.join(f'{f.name} ({f.type})' for f in self._schema)}; name another column or type in the recipe"
        )

    def _texts(self, held: pa.RecordBatch) -> pa.LargeStringArray:
        """Return the texts of rows as they are in the file: some may be null or not UTF-8."""
        values = _column(held, self._text)
        if is_string(values.type):
            return values.cast(pa.large_string())
        return values.cast(pa.large_binary()).view(pa.large_string())  # checked for UTF-8 later

    def batch(self, held: pa.RecordBatch, first_row: int) -> Batch:
        """Return documents and rejects of consecutive rows, of which `first_row` is the first."""
        text = self._texts(held)
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
                value = pa.scalar(self._given.get(field.name), field.type)
                arrays[field.name] = pa.repeat(value, held.num_rows)
        documents = pa.RecordBatch.from_arrays([arrays[name] for name in self._wanted.names], schema=self._wanted)
        if faults:
            mask = np.ones(held.num_rows, np.bool_)
            mask[list(faults)] = False
            documents = documents.filter(pa.array(mask))
        return Batch(documents, rejects, first_row + held.num_rows, lines=0)

    @staticmethod
    def _reject(i: int, fault: Fault, first_row: int, ids: pa.Array | None, text: pa.Array) -> Reject:
        own_id = None if ids is None else _bytes_at(ids, i)
        record = Record(None, raw=_bytes_at(text, i) or b"")
        return reject(first_row + i, record, fault, own_id.decode("utf-8", "backslashreplace") if own_id else None)


def _type_of(schema: pa.Schema, field: str, name: str) -> pa.DataType | None:
    """Return the type of a column: that of exactly this name or else the one that the dots lead to; None if missing.

    Raises ShardError where several columns share a name, so that the name is ambiguous.
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
    """Return the faults of rows whose text cannot be kept: found by whole columns, then checked one by one."""
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
    """Return the rows of a text column that are not UTF-8, which Arrow does not check when it reads."""
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
    """Return the value of a text column as bytes, UTF-8 or not; None for null."""
    scalar = values[i]
    return scalar.as_buffer().to_pybytes() if scalar.is_valid else None


def _row_group_parts(file: FileRef, source: Source) -> list[Part | None]:
    """Return ranges of row groups of at most the source's `part_bytes` as stored, each of one row group at least."""
    part_bytes = int(source.part_bytes)
    try:
        with open_file(file) as opened:
            metadata = pq.read_metadata(opened)
    except ShardError:
        return [None]  # reading it will report the error, and fail only this file
    sizes = [
        sum(group.column(i).total_compressed_size for i in range(group.num_columns)) for group in _row_groups(metadata)
    ]
    parts: list[Part | None] = []
    start = total = 0
    for i, size in enumerate(sizes):
        if total and total + size > part_bytes:
            parts.append((start, i))
            start, total = i, 0
        total += size
    return [*parts, (start, len(sizes))]


def _row_groups(metadata: pq.FileMetaData) -> Iterator[Any]:
    return map(metadata.row_group, range(metadata.num_row_groups))


def _of_schema(schema: pa.Schema | pa.StructType) -> dict[str, Any]:
    """Return a record with the columns of a Parquet file as keys."""
    return {field.name: _of_schema(field.type) if pt.is_struct(field.type) else None for field in schema}


def _preview(file: FileRef, compression: Compression, limit: int) -> list[dict[str, Any]]:
    with open_file(file) as opened:
        return [_of_schema(pq.read_schema(opened))]


#: Rows that are decoded at once for readers of a few.
_FEW_ROWS = 1000


def _rows(reading: Reading) -> Iterator[Record]:
    """Yield the rows of a file with all their fields, for readers of a few rows."""
    with open_file(reading.file) as opened:
        reader = pq.ParquetFile(opened)
        groups = range(*reading.part) if reading.part is not None else range(reader.num_row_groups)
        for batch in reader.iter_batches(_FEW_ROWS, list(groups), use_threads=False):
            yield from map(Record, batch.to_pylist())


PARQUET = Format(
    "parquet",
    by_file(_rows),
    _preview,
    suffixes=(".parquet", ".pq"),
    batches=parquet,
    parts=_row_group_parts,
    parts_are_bytes=False,
    compressed_inside=True,
)
