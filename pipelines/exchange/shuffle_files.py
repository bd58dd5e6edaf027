"""Intermediate tables: Arrow IPC files, and files of blocks that can be read one by one."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator, Sequence
from typing import IO

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from gristmill.pipelines.engine.base import Engine
from gristmill.pipelines.storage import files
from gristmill.pipelines.storage.ranges import open_ranges

#: Bytes of the place of a block.
PLACE = 8


@contextlib.contextmanager
def scratch_folder(run: str, name: str, engine: Engine) -> Iterator[str]:
    """Hold a folder for the tables of one block: below the run's, which all workers reach, and removed afterwards.

    It is on the local disk where the run's is not on this machine and all workers are threads of this process.
    """
    if engine.name == "local" and not files.is_local(run):
        with tempfile.TemporaryDirectory(prefix="gristmill-") as own:
            yield own
        return
    folder = files.join(run, name)
    files.remove(folder)  # of a run that was killed
    try:
        yield folder
    finally:
        files.remove(folder)


def write_table(url: str, table: pa.Table) -> None:
    """Write a table as an Arrow IPC file."""
    with files.replacing(url, durable=False) as file, pa.ipc.new_file(file, table.schema) as writer:
        writer.write_table(table.combine_chunks())


def read_table(url: str) -> pa.Table:
    """Return a table, by one request where it is not local."""
    if files.is_local(url):
        with files.open_input(url) as file:
            return pa.ipc.open_file(file).read_all()
    return pa.ipc.open_file(pa.py_buffer(files.read_bytes(url))).read_all()


def write_blocks(url: str, blocks: Sequence[pa.Table]) -> None:
    """Write tables, each as one block: Arrow IPC messages, none where it has no rows.

    Before them are the places (uint64) at which they begin and the last one ends: a block is found without a footer.
    """
    with files.replacing(url, durable=False) as file:
        file.seek(PLACE * (len(blocks) + 1))
        places = append_blocks(file, blocks)
        file.seek(0)
        file.write(places.tobytes())


def append_blocks(file: IO[bytes], blocks: Sequence[pa.Table]) -> NDArray[np.uint64]:
    """Write tables at the end of a file, as `write_blocks` does; return the places (n + 1) of its blocks."""
    places = np.zeros(len(blocks) + 1, np.uint64)
    at = file.tell()
    for i, block in enumerate(blocks):
        places[i] = at
        if block.num_rows:
            at += sum(file.write(batch.serialize()) for batch in block.to_batches() if batch.num_rows)
    places[-1] = at
    return places


def read_block(url: str, index: int, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    """Yield what one of the blocks holds, without reading the others."""
    with open_ranges(url) as read:
        start, end = places_in(read(PLACE * index, 2 * PLACE))
        if end > start:
            yield from batches_in(read(start, end - start), schema)


def places_in(content: pa.Buffer | bytes) -> list[int]:
    """Return places (uint64) as numbers."""
    places: list[int] = np.frombuffer(content, np.uint64).tolist()
    return places


def batches_in(content: pa.Buffer, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    """Yield what one block after the other holds."""
    reader = pa.BufferReader(content)
    while reader.tell() < content.size:
        yield pa.ipc.read_record_batch(pa.ipc.read_message(reader), schema)
