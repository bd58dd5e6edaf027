"""Parquet files whose bytes depend on their rows alone, not on how the rows arrived."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from gristmill.pipelines.storage import files

#: A row group closes before its text would pass this many bytes (one document may), or at this many rows.
ROW_GROUP_BYTES = 32_000_000
ROW_GROUP_ROWS = 1 << 16
COMPRESSION_LEVEL = 3


@dataclass(frozen=True)
class WrittenFile:
    """A finished file of a dataset."""

    name: str
    rows: int
    bytes: int  #: of the file
    text_bytes: int
    digest: str  #: BLAKE2b-128 of the file


def row_groups(lengths: NDArray[np.uint64]) -> list[int]:
    """Return the number of rows of each row group, from the lengths of the texts alone: no text need be read."""
    groups: list[int] = []
    rows = total = 0
    for length in lengths.tolist():
        if rows and (total + length > ROW_GROUP_BYTES or rows == ROW_GROUP_ROWS):
            groups.append(rows)
            rows = total = 0
        rows, total = rows + 1, total + length
    return [*groups, rows] if rows else groups


def write_dataset_file(url: str, schema: pa.Schema, groups: Iterable[pa.Table], text_bytes: int) -> WrittenFile:
    """Write one row group for each table of `groups`; `text_bytes` is the total length of their texts."""
    rows = 0
    with files.replacing(url) as file:
        digesting = DigestingFile(file)
        with pq.ParquetWriter(digesting, schema, compression="zstd", compression_level=COMPRESSION_LEVEL) as writer:
            for group in groups:
                writer.write_table(group, row_group_size=max(1, group.num_rows))
                rows += group.num_rows
    return WrittenFile(url.rsplit("/", 1)[-1], rows, digesting.written, text_bytes, digesting.hexdigest())


def regroup(tables: Iterable[pa.Table], sizes: Iterable[int]) -> Iterator[pa.Table]:
    """Yield the same rows in tables of the given sizes, each of one chunk: chunk borders would change the pages."""
    source = iter(tables)
    buffer: list[pa.Table] = []
    rows = 0
    for size in sizes:
        while rows < size:
            buffer.append(next(source))
            rows += buffer[-1].num_rows
        table = pa.concat_tables(buffer)
        yield table.slice(0, size).combine_chunks()
        buffer, rows = [table.slice(size)], rows - size


class DigestingFile:
    """Binary file that digests the bytes written through it."""

    closed = False

    def __init__(self, file: Any) -> None:
        self._file = file
        self._digest = hashlib.blake2b(digest_size=16)
        self.written = 0

    def write(self, content: Any) -> int:
        """Pass bytes on and return their number."""
        self._digest.update(content)
        self._file.write(content)
        size = memoryview(content).nbytes
        self.written += size
        return size

    def tell(self) -> int:
        """Return the number of bytes written so far."""
        return self.written

    def flush(self) -> None:
        """Flush the file below."""
        self._file.flush()

    def close(self) -> None:
        """Do nothing: the owner of the file closes it."""

    def hexdigest(self) -> str:
        """Return the BLAKE2b-128 digest of what was written, in hexadecimal."""
        return self._digest.hexdigest()
