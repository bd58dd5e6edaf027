"""Files of a source: their identity, ways to open them, and the meaning of their failures.

Every failure of a file becomes one of two errors: ShardError where the file itself is at fault (damaged, gone, not
readable, changed since it was listed) and RetryableError where the way to it is (network, a busy store).
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from gristmill.operators.errors import RecipeError, RetryableError, ShardError
from gristmill.pipelines.progress.reading import tell_share
from gristmill.pipelines.sources.streams import (
    CHUNK,
    Compression,
    Decompressed,
    NotAsNamed,
    Stream,
    beginning,
    compression_of,
    refuse_other_kinds,
)
from gristmill.pipelines.storage.failures import of_network
from gristmill.pipelines.storage.files import filesystem, is_local, local_path
from gristmill.pipelines.storage.remote import PatientFile, tried

AT_ONCE = 4_000_000  #: bytes up to which a file on the network is read by one request, in any format

#: Names that stores give to the version of a file; the first that is present counts.
VERSION_KEYS = (
    "ETag",
    "etag",
    "blob_id",
    "generation",
    "Content-MD5",
    "Digest",
    "Last-Modified",
    "LastModified",
    "created",
)


class DamagedFile(ShardError):
    """A file with content that its format does not allow."""


class UnreadableFiles(ShardError):
    """Files that cannot be read in a shard of several; the others can."""

    def __init__(self, failures: tuple[tuple[int, str], ...]) -> None:
        super().__init__(failures)
        self.failures = failures  #: position of the file in the shard, and the message of its error

    def __str__(self) -> str:
        return "; ".join(message for _, message in self.failures)


@dataclass(frozen=True, slots=True)
class FileRef:
    """A file as it was when the sources were listed. There may be very many of them."""

    url: str  #: absolute path or URL
    name: str  #: for display and derived ids: relative to the recipe where the recipe's path is
    size: int  #: bytes as stored; 0 where an HTTP server does not say
    version: str  #: etag or the like; the modification time in nanoseconds on a local disk


def size_and_version(fs: Any, path: str, details: Mapping[str, Any]) -> tuple[int, str]:
    """Return what distinguishes one state of a file from another; `details` come from a listing or from `fs.info`."""
    if "file" in _protocols(fs):
        status = os.stat(path)
        return status.st_size, str(status.st_mtime_ns)
    if details.get("size") is None or not any(details.get(key) for key in VERSION_KEYS):
        details = fs.info(path)
    version = next((str(details[key]) for key in VERSION_KEYS if details.get(key)), "")
    return int(details.get("size") or 0), version


def _protocols(fs: Any) -> tuple[str, ...]:
    return (fs.protocol,) if isinstance(fs.protocol, str) else tuple(fs.protocol)


@contextlib.contextmanager
def open_file(file: FileRef) -> Iterator[pa.NativeFile]:
    """Open the bytes of a file as stored, seekable. Raises ShardError where the file changed since it was listed."""
    with failures_named(file), contextlib.ExitStack() as stack:
        if is_local(file.url):
            path = local_path(file.url)
            status = os.stat(path)
            if (status.st_size, str(status.st_mtime_ns)) != (file.size, file.version):
                raise _changed(file)
            raw = pa.OSFile(path)
        else:
            opened = tried(file.name, lambda: _open_remote(file))
            remote = stack.enter_context(contextlib.closing(_RemoteFile(file, opened)))
            at_once = 0 < file.size <= AT_ONCE
            raw = pa.BufferReader(remote.read(file.size)) if at_once else pa.PythonFile(remote, "r")
        tell_share(lambda: raw.tell() / max(1, file.size))
        yield stack.enter_context(raw)


def _open_remote(file: FileRef) -> Any:
    """Open a file on the network with fsspec."""
    fs, path = filesystem(file.url)
    if "s3" in _protocols(fs) and file.size and file.version:
        # Each request names the state of the file that it means, so none is needed to ask for it first.
        opened = fs.open(path, "rb", size=file.size)
        opened.details = {"name": path, "size": file.size, "type": "file", "ETag": file.version}
        opened.read_kw = {**opened.read_kw, "IfMatch": file.version}
        return opened
    fs.invalidate_cache(path)
    if size_and_version(fs, path, {}) != (file.size, file.version):
        raise _changed(file)
    return fs.open(path, "rb")


def _changed(file: FileRef) -> ShardError:
    return ShardError(f"{file.name} was changed after the run had listed it; run again to read it as it is now")


@contextlib.contextmanager
def open_stream(file: FileRef, compression: Compression, start: int | None = None) -> Iterator[Stream]:
    """Open the bytes of a file, decompressed as they are read; seekable if only a part from `start` on is read.

    A file whose beginning contradicts its name is decompressed as its beginning says. A file that is no text, and a
    compressed file that ends too early, raise an error, so that neither is taken for a corpus.
    """
    with open_file(file) as raw:
        if start and not is_local(file.url):  # the beginning is checked where the first part is read
            yield raw
            return
        head = beginning(raw)
        compression = compression_of(head, compression)
        if compression == "none":
            refuse_other_kinds(head)
            yield raw
        elif start is not None:
            raise NotAsNamed(f"is compressed ({compression}) and its name does not say so; rename it")
        else:
            with Decompressed(raw, compression) as stream:
                head = beginning(stream)
                refuse_other_kinds(head)
                if (inside := compression_of(head, "none")) != "none":
                    raise NotAsNamed(f"is compressed twice, by {inside} inside; unpack it once")
                yield stream


def chunks(stream: Stream) -> Iterator[bytes]:
    """Yield the rest of a stream, in pieces of at most CHUNK bytes."""
    while chunk := stream.read(CHUNK):
        yield chunk


def read_up_to(stream: Stream, limit: int) -> bytes | None:
    """Return the rest of a stream, or None where it is longer than `limit` bytes."""
    pieces, total = [], 0
    for chunk in chunks(stream):
        pieces.append(chunk)
        total += len(chunk)
        if total > limit:
            return None
    return b"".join(pieces)


@contextlib.contextmanager
def failures_named(file: FileRef) -> Iterator[None]:
    """Turn failures of a file into ShardError or RetryableError with its name and a remedy."""
    try:
        yield
    except Exception as error:
        if _is_denied(error):
            raise ShardError(
                f"{file.name} may not be read ({_first_line(error)}); give this user the right to read it, "
                "or leave it out of the source's path"
            ) from error
        if isinstance(error, FileNotFoundError) and not hides_trouble(error):
            raise ShardError(f"{file.name} was listed but is gone; run again to list the source again") from error
        if of_network(error) or hides_trouble(error) or getattr(error, "errno", None) is not None:
            raise RetryableError(f"{file.name} could not be read: {_named(error)}") from error
        if isinstance(error, NotAsNamed):
            raise DamagedFile(f"{file.name} {error}") from error
        if isinstance(error, OSError | pa.ArrowException):
            raise DamagedFile(
                f"{file.name} is damaged or cut short ({_first_line(error)}); fetch or write it again, "
                "or leave it out of the source's path"
            ) from error
        raise


@contextlib.contextmanager
def store_failures(what: str) -> Iterator[None]:
    """Turn failures of listing into RecipeError (permission denied) or RetryableError (network)."""
    try:
        yield
    except Exception as error:
        if _is_denied(error):
            raise RecipeError(
                f"{what} may not be listed ({_first_line(error)}); give this user the right to"
            ) from error
        if of_network(error) or hides_trouble(error):
            raise RetryableError(f"{what} could not be listed: {_named(error)}") from error
        raise


def hides_trouble(error: BaseException) -> bool:
    """Return whether a FileNotFoundError stands for another failure: over HTTP fsspec raises it for every one.

    Its cause distinguishes a page that does not exist from a network or a server that is down.
    """
    cause = error.__cause__
    from_http = isinstance(cause, OSError) or type(cause).__module__.startswith("aiohttp")
    return isinstance(error, FileNotFoundError) and from_http and getattr(cause, "status", None) not in (404, 410)


def _named(error: BaseException) -> str:
    shown = error.__cause__ if error.__cause__ is not None and hides_trouble(error) else error
    return f"{type(shown).__name__}: {_first_line(shown)}"


def _first_line(error: BaseException) -> str:
    return str(error).strip().split("\n", 1)[0] or type(error).__name__


def _is_denied(error: BaseException) -> bool:
    said = error.__cause__ if isinstance(error, FileNotFoundError) else error
    refused = getattr(said, "status", None) in (401, 403) or "Credentials" in type(said).__name__
    return refused or isinstance(error, PermissionError)


class _RemoteFile(PatientFile):
    """An fsspec file for Arrow.

    A failure to read it lies on the way to the store, not in the file's content, and must not be mistaken for a damaged
    file: it is raised as RetryableError.
    """

    def __init__(self, file: FileRef, opened: Any) -> None:
        super().__init__(file.name, opened)
        self._file = file

    def read(self, size: int = -1) -> bytes:
        """Read the next bytes. Raises ShardError where the file is not the one that was listed."""
        try:
            return super().read(size)
        except Exception as error:
            if type(error).__name__ == "FileExpired":  # of s3fs
                raise _changed(self._file) from error
            if isinstance(error, FileNotFoundError | RetryableError) or _is_denied(error):
                raise
            raise RetryableError(f"{self._file.name} could not be read: {_named(error)}") from error
