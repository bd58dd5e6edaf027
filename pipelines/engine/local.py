"""The local engine: a pool of threads. Kernels and Arrow release the GIL, so threads are enough."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import Any

from gristmill.operators.errors import GaveUp, RetryableError
from gristmill.pipelines.engine import signals
from gristmill.pipelines.engine.base import RETRIES, Outcome, Result

GRACE = 5.0  # seconds that running items are given to end after a signal asked this process to
FIRST_PAUSE = 0.5  # seconds before the first retry; doubled each time
#: Errors of the file system that no retry cures.
LASTING = (FileNotFoundError, PermissionError, IsADirectoryError, NotADirectoryError, FileExistsError)


def attempt(function: Callable[[Any], Result], index: int, item: Any) -> Outcome[Result]:
    """Run the function on one item, with bounded retries of errors that may pass; never raises."""
    for trial in range(RETRIES + 1):
        try:
            return Outcome(index, value=function(item))
        except (*LASTING, GaveUp) as error:
            return Outcome(index, error=error)
        except (RetryableError, OSError) as error:
            if trial == RETRIES:
                return Outcome(index, error=error)
            time.sleep(FIRST_PAUSE * 2**trial)
        except Exception as error:
            return Outcome(index, error=error)
    raise AssertionError("unreachable: the last trial returns")


class LocalEngine:
    """Threads of this process; at most `workers` items at a time, with a short queue behind them."""

    name = "local"

    def __init__(self, workers: int | None = None) -> None:
        self.workers = workers or cores()

    def map(self, function: Callable[[Any], Result], items: Sequence[Any]) -> Generator[Outcome[Result]]:
        """Yield the outcome of each item as its thread ends; see `Engine.map`."""
        pool = ThreadPoolExecutor(self.workers, thread_name_prefix="gristmill")
        waiting: set[Future[Outcome[Result]]] = set()
        todo = iter(enumerate(items))
        try:
            while True:
                while len(waiting) < 2 * self.workers and (job := next(todo, None)) is not None:
                    waiting.add(pool.submit(attempt, function, *job))
                if not waiting:
                    return
                done, waiting = wait(waiting, return_when=FIRST_COMPLETED)
                for future in done:
                    yield future.result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
            wait([future for future in waiting if not future.cancelled()], GRACE if signals.came() else None)

    def close(self) -> None:
        """Do nothing: no thread outlives a call of `map`."""


def cores() -> int:
    """Return the number of cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
