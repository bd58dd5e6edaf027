"""Access to storage: any fsspec URL, whole files, written so that no reader ever sees half of one.

On a local disk a file appears by rename; on an object store by one put. Paths without a scheme are local. Tables and
records carry a seal (`seal.py`) that is checked when they are read: a damaged file raises StoreDamaged.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import tempfile
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime
from functools import partial
from pathlib import Path
from typing import IO, Any, NamedTuple, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq
from fsspec.core import has_magic
from fsspec.implementations.local import LocalFileSystem

from gristmill.operators.errors import StoreDamaged, StoreFileGone
from gristmill.pipelines.storage import remote, seal
from gristmill.pipelines.storage.failures import named, refusals_named
from gristmill.pipelines.storage.file_kinds import way_back

#: Part of the name of every file that is not complete yet; leftovers of a killed run are recognised by it.
UNFINISHED = ".unfinished-"
#: Keys under which object stores give the version of a file; the first that is there counts.
_VERSION_KEYS = ("ETag", "etag", "generation", "LastModified", "last_modified", "created")
_BLOCK = 1 << 22  #: bytes read at a time
Result = TypeVar("Result")


def filesystem(url: str) -> tuple[Any, str]:
    """Return the fsspec file system of a URL and the path inside it.

    A local path is taken literally: fsspec would read `::` in it as a chain of file systems.
    """
    if is_local(url):
        return LocalFileSystem(), str(LocalFileSystem._strip_protocol(url))
    return remote.open_filesystem(url)


def _asked(url: str, request: Callable[[], Result]) -> Result:
    """Return the result of a request about a URL, tried again while it fails transiently on the network."""
    with named(url):
        return request() if is_local(url) else remote.tried(url, request)


def is_local(url: str) -> bool:
    """Return whether the URL names the local disk."""
    return "://" not in url or url.startswith(("file://", "local://"))


def local_path(url: str) -> str:
    """Return the path of a local URL."""
    return str(LocalFileSystem._strip_protocol(url))


def join(url: str, *parts: str) -> str:
    """Return the URL of something below a folder."""
    return "/".join([url.rstrip("/"), *parts])


def exists(url: str) -> bool:
    """Return whether there is a file or folder, from the store itself, never from a cached listing."""
    fs, path = filesystem(url)
    fs.invalidate_cache()
    return _asked(url, lambda: bool(fs.exists(path)))


def names(url: str) -> list[str]:
    """Return the sorted names of the entries of a folder, unfinished files left out; empty where there is no folder."""
    fs, path = filesystem(url)
    fs.invalidate_cache()
    try:
        entries = _asked(url, lambda: fs.ls(path, detail=False))
    except FileNotFoundError:
        return []
    listed = (
        str(entry).rstrip("/").rsplit("/", 1)[-1] for entry in entries if str(entry).rstrip("/") != path.rstrip("/")
    )
    return sorted(name for name in listed if UNFINISHED not in name)


class State(NamedTuple):
    """State of a file, which tells it from other states of the same file without reading it."""

    size: int  #: bytes
    version: str  #: modification time in nanoseconds on a disk; etag or the like elsewhere


def states(url: str) -> dict[str, State]:
    """Return the states of all files in a folder and below, by relative path; empty where there is no folder."""
    if is_local(url):
        return dict(_local_states(local_path(url)))
    fs, path = filesystem(url)
    fs.invalidate_cache()
    try:
        entries = _asked(url, lambda: fs.find(path, detail=True))
    except FileNotFoundError:  # not even the bucket is there
        return {}
    return {at.removeprefix(f"{path.rstrip('/')}/"): _state(details) for at, details in entries.items()}


def paths(url: str) -> Iterator[str]:
    """Yield the relative paths of all files in a folder and below; none where there is no folder."""
    if not is_local(url):
        yield from states(url)
        return
    folder = local_path(url)
    for place, _, names in os.walk(folder):
        below = "" if place == folder else f"{os.path.relpath(place, folder)}/"
        yield from (below + name for name in names)


def _local_states(folder: str) -> Iterator[tuple[str, State]]:
    for place, _, names in os.walk(folder):
        for name in names:
            path = os.path.join(place, name)
            with contextlib.suppress(FileNotFoundError):
                status = os.stat(path)
                yield os.path.relpath(path, folder), State(status.st_size, str(status.st_mtime_ns))


def _state(details: dict[str, Any]) -> State:
    version = next((str(details[key]) for key in _VERSION_KEYS if details.get(key)), "")
    return State(int(details.get("size") or 0), version)


def changed_on(url: str) -> date:
    """Return the day (UTC) on which a file got its present content, as its store tells."""
    fs, path = filesystem(url)
    when: datetime = _asked(url, lambda: fs.modified(path))
    return when.astimezone(UTC).date()


def digest(url: str) -> str:
    """Return the BLAKE2b-128 digest of a file's content, in hexadecimal."""
    made = hashlib.blake2b(digest_size=16)
    with open_input(url) as file:
        while block := file.read(_BLOCK):
            made.update(block)
    return made.hexdigest()


def remove(url: str) -> None:
    """Remove a file, or a folder with all in it; do nothing where there is none."""
    fs, path = filesystem(url)
    if (cache := remote.kept()) is not None:
        cache.forget(url)
    with contextlib.suppress(FileNotFoundError):
        if is_local(url):
            _remove_local(path)
        elif not has_magic(path):
            _asked(url, lambda: fs.rm(path, recursive=True))
        else:  # `rm` would take the path for a glob, and remove what matches it
            for file_path in _asked(url, lambda: fs.find(path)):
                _asked(url, partial(fs.rm_file, file_path))


def remove_file(url: str) -> None:
    """Remove a file, by one request; do nothing where there is none."""
    fs, path = filesystem(url)
    if (cache := remote.kept()) is not None:
        cache.forget(url)
    with contextlib.suppress(FileNotFoundError):
        _asked(url, lambda: fs.rm_file(path))


def _remove_local(path: str) -> None:
    """Remove a file or folder. Files that an abandoned thread writes there meanwhile are removed too, or left over."""
    if not os.path.isdir(path):
        os.remove(path)
        return
    for last in (False, False, True):
        shutil.rmtree(path, ignore_errors=not last)
        if not os.path.exists(path):
            return


def sweep(url: str) -> None:
    """Remove the unfinished files of killed processes from a folder and below. Only its one writer may call this."""
    if is_local(url):
        for leftover in Path(local_path(url)).rglob(f"*{UNFINISHED}*"):
            leftover.unlink(missing_ok=True)


def read_bytes(url: str) -> bytes:
    """Return the whole content of a file."""
    fs, path = filesystem(url)
    return _asked(url, lambda: remote.read_whole(fs, path))


def _content(url: str) -> bytes:
    """Return the whole content of a file of the store, from the cache (`remote.at_hand`) for one on the network."""
    cache = None if is_local(url) else remote.kept()
    if cache is None:
        return read_bytes(url)
    content = cache.get(url)
    if content is None:
        content = read_bytes(url)
        cache.keep(url, content)
    return content


def write_bytes(url: str, content: bytes) -> None:
    """Write a whole file; readers see the old file or the new one."""
    with replacing(url) as file:
        file.write(content)


def write_json(url: str, value: Any) -> None:
    """Write a JSON document for people and other programs: keys in the order given, one final newline, no seal."""
    write_bytes(url, (json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode())


def write_record(url: str, value: dict[str, Any]) -> None:
    """Write a JSON document of the store, sealed: keys in the order given, one final newline."""
    write_bytes(url, seal.seal_record(value))


def read_record(url: str) -> dict[str, Any]:
    """Read a JSON document of the store. Raises StoreDamaged where it is not what was written."""
    content = _content(url)
    with _damage_named(url):
        return seal.open_record(content)


@contextlib.contextmanager
def replacing(url: str, durable: bool = True) -> Iterator[IO[bytes]]:
    """Open a binary file for writing that takes its place at `url` only when the block ends without an error.

    A durable file outlives a loss of power once the block has ended. A file that can be made again need not be durable:
    after such a loss its seal shows whether it is whole. Raises FatalError where the place takes no file: no
    permission, no space.
    """
    with refusals_named(url):
        if is_local(url):
            final = Path(local_path(url))
            final.parent.mkdir(parents=True, exist_ok=True)
            unfinished = final.with_name(f"{final.name}{UNFINISHED}{uuid.uuid4().hex[:12]}")
            try:
                with open(unfinished, "wb") as file:
                    yield file
                    if durable:
                        file.flush()
                        os.fsync(file.fileno())
                os.replace(unfinished, final)
                if durable:
                    _flush_folder(final.parent)
            finally:
                with contextlib.suppress(PermissionError):
                    unfinished.unlink(missing_ok=True)
            return
        with tempfile.NamedTemporaryFile(prefix="gristmill-") as file:
            yield file
            file.flush()
            fs, path = filesystem(url)
            _asked(url, lambda: fs.put_file(file.name, path))
            if (cache := remote.kept()) is not None and os.path.getsize(file.name) <= cache.LARGEST:
                cache.keep(url, Path(file.name).read_bytes())


def _flush_folder(folder: Path) -> None:
    """Make the names in a folder durable, where the file system can."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY | getattr(os, "O_DIRECTORY", 0))
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def read_table(url: str, columns: list[str] | None = None, filters: Any = None) -> pa.Table:
    """Read a Parquet file of the store, by the calling thread alone. Raises StoreDamaged where it is damaged."""
    with open_table(url) as file:
        if filters is not None:
            return pq.read_table(file, columns=columns, filters=filters, use_threads=False)
        table = pq.ParquetFile(file).read(columns, use_threads=False)  # without pyarrow.dataset, which loads pandas
        if columns is None:
            return table
        if lacking := {*columns} - {*table.column_names}:
            raise pa.ArrowInvalid(f"it has no column {', '.join(sorted(lacking))}")
        return table.select(columns)


@contextlib.contextmanager
def open_table(url: str) -> Iterator[Any]:
    """Open a Parquet file of the store for pyarrow. Raises StoreDamaged where it is damaged or gone.

    A local file is memory-mapped, and its seal checked when this process first sees it in its present state; another is
    fetched whole, so that one request serves both the check and the reading.
    """
    if is_local(url):
        if not os.path.exists(local_path(url)):
            raise StoreFileGone(url, f"{url} is gone. {way_back(url)}")
        with pa.memory_map(local_path(url)) as file, _damage_named(url, sealed=_is_sealed(url, file)):
            yield file
        return
    try:
        content = pa.py_buffer(_content(url))
    except FileNotFoundError:
        raise StoreFileGone(url, f"{url} is gone. {way_back(url)}") from None
    with _damage_named(url):
        sealed = seal.check_parquet(_bytes_of(content))
    with _damage_named(url, sealed):
        yield pa.BufferReader(content)


def check_table(url: str) -> bool:
    """Read a Parquet file whole and return whether it has a seal. Raises StoreDamaged where it is damaged."""
    if is_local(url):
        with pa.memory_map(local_path(url)) as file:
            content = file.read_buffer()
    else:
        content = pa.py_buffer(read_bytes(url))
    with _damage_named(url):
        sealed = seal.check_parquet(_bytes_of(content))
        if not sealed:
            pq.read_table(pa.BufferReader(content), use_threads=False)
    return sealed


#: Local files that this process has checked: path -> size, modification time (ns), has a seal.
_CHECKED: dict[str, tuple[int, int, bool]] = {}
_MOST_CHECKED = 1 << 20


def _is_sealed(url: str, file: Any) -> bool:
    """Check a memory-mapped file, once for each of its states, and return whether it has a seal."""
    path = local_path(url)
    status = os.stat(path)
    size, changed, sealed = _CHECKED.get(path, (-1, -1, False))
    if (size, changed) != (status.st_size, status.st_mtime_ns):
        with _damage_named(url):
            sealed = seal.check_parquet(_bytes_of(file.read_buffer()))
        file.seek(0)
        if len(_CHECKED) >= _MOST_CHECKED:
            _CHECKED.clear()
        _CHECKED[path] = (status.st_size, status.st_mtime_ns, sealed)
    return sealed


def _bytes_of(buffer: pa.Buffer) -> memoryview:
    return memoryview(buffer).cast("B")


@contextlib.contextmanager
def _damage_named(url: str, sealed: bool = False) -> Iterator[None]:
    """Turn a broken seal into StoreDamaged; where there is no seal, errors that Arrow raises for the file too."""
    try:
        yield
    except seal.Broken as error:
        raise StoreDamaged(url, f"{url} is damaged: {error}. {way_back(url)}") from None
    except (pa.ArrowInvalid, OSError) as error:
        if sealed or (isinstance(error, OSError) and error.errno is not None):
            raise
        raise StoreDamaged(url, f"{url} is damaged: {error}. {way_back(url)}") from error


@contextlib.contextmanager
def open_input(url: str) -> Iterator[Any]:
    """Open a seekable file to read in parts, without any check: memory-mapped where it is local."""
    if is_local(url):
        with pa.memory_map(local_path(url)) as file:
            yield file
        return
    fs, path = filesystem(url)
    with contextlib.closing(_asked(url, lambda: fs.open(path, "rb"))) as file:
        yield pa.PythonFile(remote.PatientFile(url, file), "r")


def write_table(url: str, table: pa.Table, row_group_size: int | None = None, durable: bool = True) -> None:
    """Write a Parquet file (zstd), sealed, whose bytes depend on the table alone; `durable` as in `replacing`."""
    with replacing(url, durable) as file, table_writer(file, table.schema) as writer:
        writer.write_table(table.combine_chunks(), row_group_size=row_group_size)


@contextlib.contextmanager
def table_writer(file: IO[bytes], schema: pa.Schema) -> Iterator[pq.ParquetWriter]:
    """Open a writer of Parquet (zstd) into a binary file, which is sealed when the block ends."""
    sealed = seal.ParquetSealer(file)
    writer = pq.ParquetWriter(sealed, schema, compression="zstd")
    try:
        yield writer
    finally:
        sealed.hold()
        writer.close()
    sealed.finish()
