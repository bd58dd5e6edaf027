"""Parquet: columns go from file to batch as Arrow arrays; only rows that look wrong are judged one by one."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pyarrow.types as pt
from numpy.typing import NDArray

from operators.columns import ID, ROW, TEXT, TYPES, URL
from operators.errors import ShardError
from operators.kernels.buffers import text_buffers
from pipelines.sources.batches import Batch, cuts
from pipelines.sources.fields import check_text, json_text
from pipelines.sources.lines import Part
from pipelines.sources.records import Fault, Record, Reject, reject
from pipelines.sources.spec import METADATA_TYPES, MetadataType, Source
from pipelines.sources.storage import FileRef, open_file
from pipelines.state.files import is_local
from pipelines.words import did_you_mean

Convert = Callable[[pa.Array], pa.Array]


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
    """How the columns of one file become the columns of documents."""

    def __init__(self, name: str, schema: pa.Schema, source: Source, wanted: pa.Schema) -> None:
        self._name, self._schema, self._wanted = name, schema, wanted
        self._limit = int(source.document_bytes)
        self._text = source.text
        self._to_text = self._convert(source.text, _text_converter, "a text")
        self._others: list[tuple[str, str, Convert]] = []
        for column, field, required, converter, what in _others(source):
            if column in wanted.names and (required or _type_of(schema, field) is not None):
                self._others.append((column, field, self._convert(field, converter, what)))
        self.paths = list(dict.fromkeys([self._text, *(field for _, field, _ in self._others)]))

    def _convert(self, field: str, converter: Callable[[pa.DataType], Convert | None], what: str) -> Convert:
        type_ = _type_of(self._schema, field)
        if type_ is None:
            raise ShardError(f"{self._name}: there is no column {field}{did_you_mean(field, self._schema.names)}")
        convert = converter(type_.value_type if pt.is_dictionary(type_) else type_)
        if convert is None:
            raise ShardError(
                f"{self._name}: the column {field} is {type_}, which cannot be read as {what}; its columns are "
                f"{', '.join(f'{f.name} ({f.type})' for f in self._schema)}; name another column or type in the recipe"
            )
        return convert

    def text(self, held: pa.RecordBatch) -> pa.LargeStringArray:
        """The texts of rows as they are in the file: some may be null or no UTF-8."""
        return self._to_text(_column(held, self._text))

    def batch(self, held: pa.RecordBatch, text: pa.LargeStringArray, first_row: int) -> Batch:
        """Documents and rejects of consecutive rows, of which `first_row` is the first."""
        arrays = {column: self._read(held, column, field, convert) for column, field, convert in self._others}
        faults = _text_faults(text, self._limit)
        for column, values in arrays.items():
            for i in _not_utf8(values):
                faults.setdefault(i, Fault("invalid_utf8", f"the value of column {column} is not UTF-8"))
        rejects = [self._reject(i, faults[i], first_row, arrays.get(ID), text) for i in sorted(faults)]
        arrays[ROW] = pa.array(np.arange(first_row, first_row + held.num_rows, dtype=np.uint32))
        arrays[TEXT] = text
        for field in self._wanted:
            arrays.setdefault(field.name, pa.nulls(held.num_rows, field.type))
        documents = pa.RecordBatch.from_arrays([arrays[name] for name in self._wanted.names], schema=self._wanted)
        if faults:
            kept = np.ones(held.num_rows, np.bool_)
            kept[list(faults)] = False
            documents = documents.filter(pa.array(kept))
        return Batch(documents, rejects, first_row + held.num_rows, lines=0)

    def _read(self, held: pa.RecordBatch, column: str, field: str, convert: Convert) -> pa.Array:
        try:
            return convert(_column(held, field))
        except (pa.ArrowInvalid, UnicodeDecodeError) as error:
            raise ShardError(
                f"{self._name}: the column {field} holds a value that cannot be read as "
                f"{self._wanted.field(column).type} ({error}); give it another type in the recipe"
            ) from None

    @staticmethod
    def _reject(i: int, fault: Fault, first_row: int, ids: pa.Array | None, text: pa.Array) -> Reject:
        own_id = None if ids is None else _bytes_at(ids, i)
        record = Record(None, raw=_bytes_at(text, i) or b"")
        return reject(first_row + i, record, fault, own_id.decode("utf-8", "backslashreplace") if own_id else None)


def _others(source: Source) -> Iterator[tuple[str, str, bool, Callable[[pa.DataType], Convert | None], str]]:
    """(column, field, whether the file must have it, converter, what is wanted) of all columns but the text."""
    if source.id is not None:
        yield ID, source.id, source.requires_id, _id_converter, "an id (a text or a whole number)"
    if source.url is not None:
        yield URL, source.url, False, _text_like_converter, "a text"
    for column, field, type_ in source.metadata_types():
        yield column, field, True, _METADATA_CONVERTERS[type_], f"metadata of type {type_}"


def _type_of(schema: pa.Schema, field: str) -> pa.DataType | None:
    """The type of a column: the one of that very name or, else, the one that the dots lead to."""
    if field in schema.names:
        return schema.field(field).type
    first, *rest = field.split(".")
    type_ = schema.field(first).type if first in schema.names else None
    for name in rest:
        if type_ is None or not pt.is_struct(type_) or type_.get_field_index(name) < 0:
            return None
        type_ = type_.field(name).type
    return type_


def _column(held: pa.RecordBatch, field: str) -> pa.Array:
    if field in held.schema.names:
        values = held.column(field)
    else:
        first, *rest = field.split(".")
        values = pc.struct_field(held.column(first), rest)
    return values.dictionary_decode() if pt.is_dictionary(values.type) else values


def _is_string(type_: pa.DataType) -> bool:
    return type_ in (pa.string(), pa.large_string(), pa.string_view(), pa.null())


def _text_converter(type_: pa.DataType) -> Convert | None:
    if _is_string(type_):
        return lambda values: values.cast(pa.large_string())
    if type_ in (pa.binary(), pa.large_binary(), pa.binary_view()):
        return lambda values: values.cast(pa.large_binary()).view(pa.large_string())  # judged as UTF-8 later on
    return None


def _text_like_converter(type_: pa.DataType) -> Convert | None:
    return (lambda values: values.cast(pa.string())) if _is_string(type_) else None


def _id_converter(type_: pa.DataType) -> Convert | None:
    if not (_is_string(type_) or pt.is_integer(type_)):
        return None

    def convert(values: pa.Array) -> pa.Array:
        ids = values.cast(TYPES[ID])
        return pc.if_else(pc.equal(pc.binary_length(ids), 0), pa.scalar(None, TYPES[ID]), ids)

    return convert


def _string_converter(type_: pa.DataType) -> Convert | None:
    as_json = pt.is_nested(type_) or pt.is_floating(type_)
    return _to_json if as_json else lambda values: values.cast(pa.string())


def _caster(to: MetadataType, *kinds: Callable[[pa.DataType], bool]) -> Callable[[pa.DataType], Convert | None]:
    """Converts the types that one of `kinds` takes, and refuses others; a column of nothing but nulls is any type."""

    def converter(type_: pa.DataType) -> Convert | None:
        if pt.is_null(type_) or any(kind(type_) for kind in kinds):
            return lambda values: values.cast(METADATA_TYPES[to])
        return None

    return converter


def _to_json(values: pa.Array) -> pa.Array:
    return pa.array([None if value is None else json_text(value) for value in values.to_pylist()], pa.string())


_METADATA_CONVERTERS: dict[MetadataType, Callable[[pa.DataType], Convert | None]] = {
    "string": _string_converter,
    "int": _caster("int", pt.is_integer),
    "float": _caster("float", pt.is_floating, pt.is_integer, pt.is_decimal),
    "bool": _caster("bool", pt.is_boolean),
    "json": lambda type_: _to_json,
}


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
