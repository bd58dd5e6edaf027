"""The row groups of a dataset's files, and the rows in them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from gristmill.operators.errors import StoreDamaged, StoreFileGone
from gristmill.pipelines.readers.row_order import GroupPart, Ints
from gristmill.pipelines.storage import files
from gristmill.pipelines.storage.file_kinds import way_back

_LOOKED_AT_ONCE = 16
_LARGE = {pa.string(): pa.large_string(), pa.binary(): pa.large_binary()}


class DataFile(NamedTuple):
    """A file of a dataset, as its manifest tells it."""

    url: str
    bytes: int
    rows: int


@contextlib.contextmanager
def opened(file: DataFile) -> Iterator[pq.ParquetFile]:
    """Open a file. Raises StoreDamaged where it is gone, has another size, or cannot be read."""
    try:
        with files.open_input(file.url) as raw:
            if raw.size() != file.bytes:
                raise StoreDamaged(
                    file.url, f"{file.url} has {raw.size():,} bytes, not {file.bytes:,}. {way_back(file.url)}"
                )
            yield pq.ParquetFile(raw, pre_buffer=not files.is_local(file.url))
    except FileNotFoundError:
        raise StoreFileGone(file.url, f"{file.url} is gone. {way_back(file.url)}") from None
    except (pa.ArrowException, OSError) as error:
        raise StoreDamaged(file.url, f"{file.url} cannot be read: {error}. {way_back(file.url)}") from error


@dataclass(frozen=True, eq=False)
class RowGroups:
    """The row groups of some files, numbered through."""

    files: Sequence[DataFile]
    places: Sequence[tuple[int, int]]  #: of each row group the number of its file, and its number there
    sizes: Ints  #: rows of each row group

    @classmethod
    def of(cls, data_files: Sequence[DataFile]) -> RowGroups:
        """Return the row groups of files, whose footers are read. Raises StoreDamaged as `opened` does."""
        with ThreadPoolExecutor(_LOOKED_AT_ONCE) as pool:
            sizes = list(pool.map(_sizes, data_files))
        places = [(i, group) for i, of_file in enumerate(sizes) for group in range(len(of_file))]
        return cls(data_files, places, np.array([rows for of_file in sizes for rows in of_file], np.int64))

    def read(self, parts: Sequence[GroupPart], columns: pa.Schema, batch_rows: int) -> Iterator[pa.Table]:
        """Yield the columns of parts of row groups, in order, in tables of at most `batch_rows` rows.

        A column that a file has not is null. Texts have 64-bit offsets, so that any number of them can be joined.
        Raises StoreDamaged as `opened` does.
        """
        schema = pa.schema([field.with_type(_LARGE.get(field.type, field.type)) for field in columns])
        for part in parts:
            number, group = self.places[part.group]
            with opened(self.files[number]) as file:
                there = [name for name in schema.names if name in file.schema_arrow.names]
                if not there:
                    yield pa.table([pa.nulls(part.rows, type) for type in schema.types], schema=schema)
                    continue
                place, stop = 0, part.first + part.rows
                for batch in file.iter_batches(batch_rows, row_groups=[group], columns=there, use_threads=False):
                    start = max(0, part.first - place)
                    if start < batch.num_rows:
                        yield _fitted(batch.slice(start, stop - place - start), schema)
                    place += batch.num_rows
                    if place >= stop:
                        break


def _sizes(file: DataFile) -> list[int]:
    with opened(file) as parquet:
        metadata = parquet.metadata
        sizes = [metadata.row_group(group).num_rows for group in range(metadata.num_row_groups)]
    if sum(sizes) != file.rows:
        raise StoreDamaged(file.url, f"{file.url} has {sum(sizes):,} rows, not {file.rows:,}. {way_back(file.url)}")
    return sizes


def _fitted(batch: pa.RecordBatch, schema: pa.Schema) -> pa.Table:
    """Return the columns of a schema, null where the batch has none."""
    names = batch.schema.names
    columns: list[Any] = [
        batch.column(field.name).cast(field.type) if field.name in names else pa.nulls(batch.num_rows, field.type)
        for field in schema
    ]
    return pa.table(columns, schema=schema)
