"""Storage on the network: opening it, retries of requests, and a cache of file contents of a store.

A request that fails transiently (no connection, 429, 5xx) is tried again after pauses that double and vary, a bounded
number of times. Retries of the libraries below are switched off, so that tries do not multiply.
"""

from __future__ import annotations

import contextlib
import errno
import random
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from fsspec.core import url_to_fs

from gristmill.operators.errors import GaveUp
from gristmill.pipelines.storage.failures import of_network

Result = TypeVar("Result")

TRIES = 8  # of one request
FIRST_PAUSE = 0.2  # seconds before the second try, doubled before each later one; half of it is random
LONGEST_PAUSE = 10.0
#: Error numbers of the operating system for failures that may pass.
_PASSING_NUMBERS = {errno.EIO, getattr(errno, "EREMOTEIO", errno.EIO), errno.EBUSY, errno.EAGAIN, errno.ETIMEDOUT}
#: Errors of network libraries that are about the connection, by the names of their classes.
_PASSING_NAMES = frozenset(
    {
        "ClientConnectionError",  # aiohttp
        "ClientPayloadError",
        "ConnectionError",
        "HTTPClientError",  # botocore
        "IncompleteReadError",
        "ResponseParserError",
        "Timeout",  # requests
        "TransportError",  # httpx, google.auth
    }
)


def open_filesystem(url: str) -> tuple[Any, str]:
    """Return the fsspec file system of a URL that is not local, and the path inside it."""
    fs, path = url_to_fs(url)
    if "s3" in fs.protocol:
        fs.retries = 1
        fs.config_kwargs.setdefault("retries", {"total_max_attempts": 1})
    return fs, str(path)


def read_whole(fs: Any, path: str) -> bytes:
    """Return the content of a file, by one request."""
    alone = {"max_concurrency": 1} if "s3" in fs.protocol else {}  # with several it would ask for the size first
    content: bytes = fs.cat_file(path, **alone)
    return content


def tried(what: str, request: Callable[[], Result]) -> Result:
    """Return the result of a request, tried again while it fails transiently. Raises GaveUp after the last try."""
    start = time.monotonic()
    for trial in range(1, TRIES + 1):
        try:
            return request()
        except Exception as error:
            if not _passes(error):
                raise
            if trial == TRIES:
                raise GaveUp(
                    f"{what} cannot be reached: {_shown(error)}. It was tried {TRIES} times in "
                    f"{time.monotonic() - start:.0f} s. Check the network, the endpoint and the credentials, and run "
                    "again"
                ) from error
            pause = min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** (trial - 1))
            time.sleep(pause * random.uniform(0.5, 1.0))
    raise AssertionError("unreachable: the last try returns or raises")


def _shown(error: BaseException) -> str:
    behind = error.__cause__ if isinstance(error, FileNotFoundError) and error.__cause__ is not None else error
    return str(behind).strip().split("\n", 1)[0] or type(behind).__name__


def _passes(error: BaseException) -> bool:
    """Return whether a request that failed with this error may succeed when it is made again."""
    chain = [error]
    while (cause := chain[-1].__cause__) is not None and cause not in chain:
        chain.append(cause)
    statuses = [status for link in chain if (status := _status(link)) is not None]
    if statuses:
        return any(status in (408, 409, 429) or (status >= 500 and status != 501) for status in statuses)
    if isinstance(error, FileNotFoundError | PermissionError | FileExistsError) and error.__cause__ is None:
        return False
    return any(_is_of_the_connection(link) for link in chain)


def _status(error: BaseException) -> int | None:
    """Return the HTTP status (400 to 599) that an error carries, or None."""
    response = getattr(error, "response", None)
    code = response.get("ResponseMetadata", {}).get("HTTPStatusCode") if isinstance(response, dict) else None
    status = code or getattr(error, "status", None) or getattr(error, "code", None)
    return status if isinstance(status, int) and 400 <= status < 600 else None


def _is_of_the_connection(error: BaseException) -> bool:
    names = {base.__name__ for base in type(error).__mro__}
    if isinstance(error, ConnectionError | TimeoutError) or (of_network(error) and names & _PASSING_NAMES):
        return True
    return type(error) is OSError and error.errno in _PASSING_NUMBERS


class PatientFile:
    """Open file on the network whose reads are tried again, with the methods that pyarrow needs."""

    def __init__(self, what: str, opened: Any) -> None:
        self._what, self._opened = what, opened

    def read(self, size: int = -1) -> bytes:
        """Return the next bytes. A read that failed has not moved the file's position."""
        data: bytes = tried(self._what, lambda: self._opened.read(size))
        return data

    def seek(self, offset: int, whence: int = 0) -> int:
        """Move to a position and return it, from the beginning of the file."""
        position: int = self._opened.seek(offset, whence)
        return position

    def tell(self) -> int:
        """Return the position in the file."""
        position: int = self._opened.tell()
        return position

    def close(self) -> None:
        """Close the file."""
        self._opened.close()

    @property
    def closed(self) -> bool:
        """Return whether the file is closed."""
        return bool(self._opened.closed)


class AtHand:
    """Cache of file contents of a store: the most recently used ones, up to MOST bytes together."""

    LARGEST = 8_000_000  #: bytes of a file that is kept
    MOST = 64_000_000  #: bytes of all

    def __init__(self) -> None:
        self._contents: OrderedDict[str, bytes] = OrderedDict()
        self._held = 0
        self._lock = threading.Lock()

    def get(self, url: str) -> bytes | None:
        """Return a file's content, or None where it is not kept."""
        with self._lock:
            if url in self._contents:
                self._contents.move_to_end(url)
            return self._contents.get(url)

    def keep(self, url: str, content: bytes) -> None:
        """Keep a file's content, as it was read or written just now."""
        with self._lock:
            self._drop(url)
            if len(content) > self.LARGEST:
                return
            self._contents[url] = content
            self._held += len(content)
            while self._held > self.MOST:
                self._drop(next(iter(self._contents)))

    def forget(self, url: str) -> None:
        """Forget a file, or all files of a folder, that is removed."""
        with self._lock:
            for key in [key for key in self._contents if key == url or key.startswith(f"{url}/")]:
                self._drop(key)

    def _drop(self, url: str) -> None:
        self._held -= len(self._contents.pop(url, b""))


_at_hand: AtHand | None = None


@contextlib.contextmanager
def at_hand() -> Iterator[None]:
    """Cache file contents of stores while the block runs: no other process may write there meanwhile."""
    global _at_hand
    before, _at_hand = _at_hand, _at_hand or AtHand()
    try:
        yield
    finally:
        _at_hand = before


def kept() -> AtHand | None:
    """Return the cache in use; None outside of `at_hand`."""
    return _at_hand
