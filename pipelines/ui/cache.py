"""The cache of the UI: indexes of what a store holds, made when a page first needs them, by threads beside the pages.

They lie in the user's cache folder or where `--cache` says, never in the store, which may be read-only. All of it can
be removed at any time: it is made again.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from filelock import FileLock

from gristmill.operators.base import digest_of
from gristmill.pipelines.storage import files
from gristmill.pipelines.store.registry import FOLDER as REGISTRY

#: Tells how much of how much is done.
Advance = Callable[[int, int], None]
#: Seconds after which work that failed is tried again.
_AGAIN = 30.0
#: Seconds that a page waits for a job to end.
_WAIT = 0.3
#: Part of the name of a folder, raised when what lies in it is made otherwise.
_FORMAT = 1


def usual_cache() -> Path:
    """Return the folder of all indexes of a user."""
    return Path(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "gristmill", "ui")


def cache_folder(cache: Path, store: str) -> Path:
    """Return the folder of the indexes of a store, made if need be, for its owner alone.

    Ordinals of shards are never given twice in a store, but a store that is made anew at the same place is another one:
    the folder goes by the state of the first file of its registry, too. Raises OSError where it cannot be written.
    """
    registry = files.states(files.join(store, REGISTRY))
    name = digest_of([_FORMAT, store, *sorted(registry.items())[:1]])[:16]
    folder = cache / name
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder


@dataclass
class Job:
    """Work that goes on beside the pages."""

    done: int = 0
    total: int = 0
    error: str = ""  #: why it failed
    ended: float | None = None  #: the moment (`time.monotonic`)

    @property
    def done_well(self) -> bool:
        """Return whether it has ended without an error."""
        return self.ended is not None and not self.error

    @property
    def share(self) -> float:
        """Return how much of it is done, from 0 to 1."""
        return self.done / self.total if self.total else 0.0


class Jobs:
    """Jobs by name, each in a thread of its own, one process at a time."""

    def __init__(self) -> None:
        self._jobs: dict[str, Job] = {}
        self._lock = threading.Lock()

    def begin(self, name: str, lock: Path, work: Callable[[Advance], None]) -> Job:
        """Return the job of this name as it is now; one that has ended begins anew, after a failure some time later.

        `lock` is a file that keeps other processes from the same work.
        """
        with self._lock:
            job = self._jobs.get(name)
            going = job is not None and job.ended is None
            failed = job is not None and job.ended is not None and job.error
            if job is not None and (going or (failed and time.monotonic() - (job.ended or 0) < _AGAIN)):
                return replace(job)
            job = self._jobs[name] = Job()
        thread = threading.Thread(target=_run, args=(job, lock, work), name=f"gristmill-{name}", daemon=True)
        thread.start()
        thread.join(_WAIT)  # little is done at once
        return replace(job)


def _run(job: Job, lock: Path, work: Callable[[Advance], None]) -> None:
    def advance(done: int, total: int) -> None:
        job.done, job.total = done, total

    try:
        with FileLock(lock):
            work(advance)
    except Exception as error:  # a page tells it
        job.error = " ".join(str(error).split()) or type(error).__name__
    job.ended = time.monotonic()
