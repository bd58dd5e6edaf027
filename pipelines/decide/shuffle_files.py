"""Intermediate tables: Arrow IPC files, in record batches that can be read one by one."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator, Sequence

import pyarrow as pa

from gristmill.pipelines.engine.base import Engine
from gristmill.pipelines.storage import files


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


def write_batches(url: str, schema: pa.Schema, batches: Sequence[pa.Table]) -> None:
    """Write tables of one schema, each as one record batch, empty ones too."""
    with files.replacing(url, durable=False) as file, pa.ipc.new_file(file, schema) as writer:
        for table in batches:
            combined = table.combine_chunks().to_batches()
            writer.write_batch(combined[0] if combined else pa.RecordBatch.from_pylist([], schema))


def read_batch(url: str, index: int) -> pa.Table:
    """Return one of the batches, without reading the others."""
    with files.open_input(url) as file:
        return pa.Table.from_batches([pa.ipc.open_file(file).get_batch(index)])


def write_table(url: str, table: pa.Table) -> None:
    """Write a table as one batch."""
    write_batches(url, table.schema, [table])


def read_table(url: str) -> pa.Table:
    """Return a table that was written as one batch."""
    return read_batch(url, 0)
