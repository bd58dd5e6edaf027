"""The one seam to storage: any fsspec URL, whole files, written so that no reader ever sees half of one.

On a local disk a file appears by rename; on an object store by one put. Paths without a scheme are local.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
from fsspec.core import url_to_fs

from operators.errors import FatalError, RetryableError

#: Libraries below fsspec whose exceptions speak of the network; not all of them are OSErrors.
NETWORK_LIBRARIES = frozenset(
    {"aiohttp", "botocore", "aiobotocore", "gcsfs", "google", "huggingface_hub", "httpx", "requests"}
)
#: Part of every name that a file bears before it is complete; leftovers of a killed run are recognised by it.
UNFINISHED = ".unfinished-"
#: What a disk says that takes no more, whatever is written and however often.
_REFUSALS = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS}


def filesystem(url: str) -> tuple[Any, str]:
    """The fsspec file system of a URL and the path inside it."""
    fs, path = url_to_fs(url)
    return fs, str(path)


def is_local(url: str) -> bool:
    """Whether the URL names the local disk."""
    return "://" not in url or url.startswith(("file://", "local://"))


def local_path(url: str) -> str:
    """The path of a local URL."""
    return filesystem(url)[1]


def join(url: str, *parts: str) -> str:
    """The URL of something below a folder."""
    return "/".join([url.rstrip("/"), *parts])


def exists(url: str) -> bool:
    """Whether there is a file or folder; asks the store, never a cached listing."""
    fs, path = filesystem(url)
    fs.invalidate_cache()
    with _named(url):
        return bool(fs.exists(path))


def names(url: str) -> list[str]:
    """Sorted names of what lies directly in a folder, unfinished files left out; empty where there is no folder."""
    fs, path = filesystem(url)
    fs.invalidate_cache()
    try:
        with _named(url):
            found = fs.ls(path, detail=False)
    except FileNotFoundError:
        return []
    listed = (
        str(entry).rstrip("/").rsplit("/", 1)[-1] for entry in found if str(entry).rstrip("/") != path.rstrip("/")
    )
    return sorted(name for name in listed if UNFINISHED not in name)


def remove(url: str) -> None:
    """Remove a file or a folder with all in it; nothing happens where there is none."""
    fs, path = filesystem(url)
    with contextlib.suppress(FileNotFoundError), _named(url):
        fs.rm(path, recursive=True)


def sweep(url: str) -> None:
    """Remove what killed processes left unfinished in a folder or below. Only its one writer may call this."""
    if is_local(url):
        for leftover in Path(local_path(url)).rglob(f"*{UNFINISHED}*"):
            leftover.unlink(missing_ok=True)


def read_bytes(url: str) -> bytes:
    """The whole content of a file."""
    fs, path = filesystem(url)
    with _named(url):
        content: bytes = fs.cat_file(path)
    return content


def read_json(url: str) -> Any:
    """A JSON document."""
    return json.loads(read_bytes(url))


def write_bytes(url: str, content: bytes) -> None:
    """Write a whole file; readers see the old file or the new one."""
    with replacing(url) as file:
        file.write(content)


def write_json(url: str, value: Any) -> None:
    """Write a JSON document, keys in the order given, one final newline."""
    write_bytes(url, (json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode())


@contextlib.contextmanager
def replacing(url: str) -> Iterator[IO[bytes]]:
    """A binary file to write, which takes its place at `url` only when the block ends without an error.

    Raises FatalError where the place takes no file: no permission, no space.
    """
    with _refusals_named(url):
        if is_local(url):
            final = Path(local_path(url))
            final.parent.mkdir(parents=True, exist_ok=True)
            unfinished = final.with_name(f"{final.name}{UNFINISHED}{uuid.uuid4().hex[:12]}")
            try:
                with open(unfinished, "wb") as file:
                    yield file
                    file.flush()
                    os.fsync(file.fileno())
                os.replace(unfinished, final)
            finally:
                with contextlib.suppress(PermissionError):
                    unfinished.unlink(missing_ok=True)
            return
        with tempfile.NamedTemporaryFile(prefix="gristmill-") as file:
            yield file
            file.flush()
            fs, path = filesystem(url)
            fs.put_file(file.name, path)


@contextlib.contextmanager
def _named(url: str) -> Iterator[None]:
    """Turn network trouble on the way to a file into RetryableError."""
    try:
        yield
    except Exception as error:
        library = type(error).__module__.partition(".")[0]
        if is_local(url) or not (isinstance(error, ConnectionError | TimeoutError) or library in NETWORK_LIBRARIES):
            raise
        raise RetryableError(
            f"{url} cannot be reached: {error}. Check the network, the endpoint and the credentials, and run again"
        ) from None


@contextlib.contextmanager
def _refusals_named(url: str) -> Iterator[None]:
    """Turn what a place that takes no file says into FatalError."""
    try:
        with _named(url):
            yield
    except OSError as error:
        if isinstance(error, PermissionError):
            raise FatalError(
                f"{url} cannot be written: {error.strerror or error}. Give this user the right to write there, "
                "or choose another store"
            ) from None
        if isinstance(error, FileNotFoundError) and not is_local(url):
            raise FatalError(
                f"{url} cannot be written: {error}. Create the bucket, or correct the store's URL"
            ) from None
        if error.errno in _REFUSALS:
            raise FatalError(
                f"{url} cannot be written: {error.strerror}. Make room there, or choose another store; "
                "what is finished is kept"
            ) from None
        raise


def create(url: str, content: bytes) -> bool:
    """Write a file only if there is none; False where there is one already (an exclusive create, for locks)."""
    fs, path = filesystem(url)
    try:
        with _refusals_named(url):
            if is_local(url):
                os.makedirs(os.path.dirname(path), exist_ok=True)
            fs.pipe_file(path, content, mode="create")
    except FileExistsError:
        return False
    return True


def read_table(url: str, columns: list[str] | None = None, filters: Any = None) -> pa.Table:
    """A Parquet file, read by the calling thread alone."""
    with open_input(url) as file:
        return pq.read_table(file, columns=columns, filters=filters, use_threads=False)


@contextlib.contextmanager
def open_input(url: str) -> Iterator[Any]:
    """A seekable file to read: memory-mapped where it is local."""
    if is_local(url):
        with pa.memory_map(local_path(url)) as file:
            yield file
        return
    with _named(url), fsspec.open(url, "rb") as file:
        yield file


def write_table(url: str, table: pa.Table, row_group_size: int | None = None) -> None:
    """Write a Parquet file (zstd) whose bytes depend on the table alone."""
    with replacing(url) as file:
        pq.write_table(table.combine_chunks(), file, compression="zstd", row_group_size=row_group_size)
