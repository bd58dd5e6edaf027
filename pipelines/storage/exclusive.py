"""Files that only one of several writers can create: the building blocks of a lock.

On a local disk by a hard link, on an object store by a conditional put. For local files, fsspec's own creation checks
first and writes afterwards, which is not atomic.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import threading
import uuid
from pathlib import Path

from gristmill.pipelines.storage import files, remote
from gristmill.pipelines.storage.failures import refusals_named


def create(url: str, content: bytes) -> bool:
    """Write a file only if there is none, in one step; return False where there is one already."""
    if files.is_local(url):
        descriptor = create_locked(url, content)
        if descriptor is not None:
            os.close(descriptor)
        return descriptor is not None
    fs, path = files.filesystem(url)
    try:
        with refusals_named(url), _CREATING:
            remote.tried(url, lambda: fs.pipe_file(path, content, mode="create"))
    except FileExistsError:
        with contextlib.suppress(FileNotFoundError):  # it may be of an earlier try whose reply was lost
            return files.read_bytes(url) == content
        return False
    return True


#: The memory file system checks first and writes afterwards.
_CREATING = threading.Lock()


def create_locked(url: str, content: bytes) -> int | None:
    """Create a local file in one step: complete, and locked by the operating system (flock), when others first see it.

    Returns the descriptor that holds the lock, which the caller closes; None where there is such a file already.
    """
    final = Path(files.local_path(url))
    unfinished = final.with_name(f"{final.name}{files.UNFINISHED}{uuid.uuid4().hex[:12]}")
    with refusals_named(url):
        descriptor = None
        while descriptor is None:
            with contextlib.suppress(FileNotFoundError):  # another process may remove the empty folder meanwhile
                os.makedirs(final.parent.parent, exist_ok=True)
                with contextlib.suppress(FileExistsError):  # `exist_ok` fails where the folder vanishes at this moment
                    os.mkdir(final.parent)
                descriptor = _create_locked(unfinished, content)
        try:
            os.link(unfinished, final)
        except OSError as error:
            os.close(descriptor)
            if isinstance(error, FileExistsError):
                return None
            try:  # a file system without hard links: others may see the file before it is complete
                return _create_locked(final, content)
            except FileExistsError:
                return None
        finally:
            unfinished.unlink(missing_ok=True)
    return descriptor


def _create_locked(path: Path, content: bytes) -> int:
    """Create a file and lock it, where the file system can."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
    try:
        with contextlib.suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.write(descriptor, content)
    except BaseException:  # no room: what is there of it would pass for a lock
        os.close(descriptor)
        path.unlink(missing_ok=True)
        raise
    return descriptor
