"""Ranges of bytes of a file, each by one request: for readers that know where in it something is."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

import pyarrow as pa

from gristmill.pipelines.storage import files, remote
from gristmill.pipelines.storage.failures import named

#: Function of start and size (bytes) that returns the bytes there.
ReadRange = Callable[[int, int], pa.Buffer]


@contextlib.contextmanager
def open_ranges(url: str) -> Iterator[ReadRange]:
    """Open a file whose ranges are read, without any check: memory-mapped where it is local.

    Opening one on the network is no request.
    """
    if files.is_local(url):
        with pa.memory_map(files.local_path(url)) as file:

            def read_mapped(start: int, size: int) -> pa.Buffer:
                file.seek(start)
                return file.read_buffer(size)

            yield read_mapped
        return
    fs, path = files.filesystem(url)

    def read_remote(start: int, size: int) -> pa.Buffer:
        with named(url):
            return pa.py_buffer(remote.tried(url, lambda: fs.cat_file(path, start=start, end=start + size)))

    yield read_remote
