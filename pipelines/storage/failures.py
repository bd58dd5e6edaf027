"""Failures of storage: trouble on the network, and places that take no file."""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Iterator

from gristmill.operators.errors import FatalError, RetryableError

#: Libraries below fsspec whose exceptions are about the network; not all of them are OSErrors.
_NETWORK_LIBRARIES = frozenset(
    {"aiohttp", "botocore", "aiobotocore", "gcsfs", "google", "huggingface_hub", "httpx", "requests"}
)
#: Error numbers of a disk that takes no more; no retry helps.
_REFUSALS = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS}


def of_network(error: BaseException) -> bool:
    """Return whether an error is about the network, from any library."""
    library = type(error).__module__.partition(".")[0]
    return isinstance(error, ConnectionError | TimeoutError) or library in _NETWORK_LIBRARIES


@contextlib.contextmanager
def named(url: str) -> Iterator[None]:
    """Turn network trouble on the way to a file into RetryableError."""
    try:
        yield
    except Exception as error:
        if not of_network(error):
            raise
        raise RetryableError(
            f"{url} cannot be reached: {error}. Check the network, the endpoint and the credentials, and run again"
        ) from None


@contextlib.contextmanager
def refusals_named(url: str) -> Iterator[None]:
    """Turn the errors of a place that takes no file into FatalError."""
    try:
        with named(url):
            yield
    except OSError as error:
        if isinstance(error, PermissionError):
            raise FatalError(
                f"{url} cannot be written: {error.strerror or error}. Give this user the right to write there, "
                "or choose another store"
            ) from None
        if isinstance(error, FileNotFoundError) and "://" in url:
            raise FatalError(
                f"{url} cannot be written: {error}. Create the bucket, or correct the store's URL"
            ) from None
        if error.errno in _REFUSALS:
            raise FatalError(
                f"{url} cannot be written: {error.strerror}. Make room there, or choose another store; "
                "what is finished is kept"
            ) from None
        raise
