"""Functions for engines to run, in a module that Ray's workers can import."""

from __future__ import annotations

import os
import signal
import time
import zlib
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from gristmill.operators.errors import RecipeError, RetryableError
from gristmill.pipelines.engine.base import Engine, Outcome


def square(x: int) -> int:
    return x * x


class TwoArguments(Exception):
    """An exception that pickle takes apart but cannot put together again."""

    def __init__(self, what: str, why: str) -> None:
        super().__init__(f"{what} because of {why}")


def fail_on_odd(x: int) -> int:
    if x == 1:
        raise ValueError("one is odd")
    if x == 3:
        raise TwoArguments("three fails", "its oddness")
    return x


def give_a_function(x: int) -> Callable[[], int]:
    return lambda: x


@dataclass(frozen=True)
class Flaky:
    """Fails so many times, counted by files, and then works."""

    folder: Path
    failures: int
    error: type[Exception] = RetryableError

    def __call__(self, x: int) -> int:
        tries = len(list(self.folder.iterdir()))
        (self.folder / str(tries)).touch()
        if tries < self.failures:
            raise self.error("not yet")
        return x


def name_of(function: Callable[[Any], Any]) -> str:
    """The name of a function, of that in a partial, of a method, or of the class of an object that is called."""
    plain = function.func if isinstance(function, partial) else function
    return str(getattr(plain, "__name__", type(plain).__name__))


Fault = Callable[[Callable[[Any], Any]], Callable[[Any], Any]]


@dataclass(frozen=True)
class FaultyEngine:
    """An engine whose work goes wrong: of each function that is named here the fault makes the one that runs."""

    engine: Engine
    faults: Mapping[str, Fault]

    @property
    def name(self) -> str:
        return self.engine.name

    @property
    def workers(self) -> int:
        return self.engine.workers

    def map(self, function: Callable[[Any], Any], items: Sequence[Any]) -> Generator[Outcome[Any]]:
        fault = self.faults.get(name_of(function))
        return self.engine.map(function if fault is None else fault(function), items)

    def close(self) -> None:
        self.engine.close()


@dataclass(frozen=True)
class Killing:
    """Runs a function; the worker process of each item, or of `most` items, is killed once, before the work or when it
    is done."""

    function: Callable[[Any], Any]
    folder: Path
    after: bool
    most: int | None = None

    def __call__(self, item: Any) -> Any:
        result = self.function(item) if self.after else None
        name = name_of(self.function)
        mark = self.folder / f"{name}-{zlib.crc32(str(item).encode())}"
        if not mark.exists() and (self.most is None or len(list(self.folder.glob(f"{name}-*"))) < self.most):
            mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return result if self.after else self.function(item)


@dataclass(frozen=True)
class KillingAlways:
    """Runs a function, but the worker process of an item with this word in its name is killed each time."""

    function: Callable[[Any], Any]
    word: str

    def __call__(self, item: Any) -> Any:
        return os.kill(os.getpid(), signal.SIGKILL) if self.word in str(item) else self.function(item)


@dataclass(frozen=True)
class Slow:
    """Squares after a pause, so that there is time to kill its worker."""

    seconds: float

    def __call__(self, x: int) -> int:
        time.sleep(self.seconds)
        return square(x)


@dataclass(frozen=True)
class Deadly:
    """An item whose worker never survives it."""

    name: str

    def __str__(self) -> str:
        return self.name


def survive(item: Deadly) -> str:
    if item.name.startswith("deadly"):
        os.kill(os.getpid(), signal.SIGKILL)
    return item.name


@dataclass(frozen=True)
class Touch:
    """Leaves a file for each item that it saw."""

    folder: Path

    def __call__(self, x: int) -> int:
        time.sleep(0.05)
        (self.folder / str(x)).touch()
        return x


def nothing() -> None:
    """Load nothing: a process without preparation."""


@dataclass(frozen=True)
class KilledWhilePreparing:
    """A preparation whose process is killed so many times, counted by files."""

    folder: Path
    times: int

    def __call__(self) -> None:
        if (starts := len(list(self.folder.iterdir()))) < self.times:
            (self.folder / str(starts)).touch()
            os.kill(os.getpid(), signal.SIGKILL)


def prepare_in_vain() -> None:
    """Fail to load what calls need."""
    raise ImportError("no such library")


def obey(order: Any) -> Any:
    """Do what an order says that some know by name; return any other."""
    match order:
        case "exit":
            os._exit(3)
        case "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        case (int(times), Path() as folder):
            KilledWhilePreparing(folder, times)()
        case "memory":
            return len(bytearray(1 << 33))
        case "spin":
            while True:
                pass
        case "error":
            raise RecipeError("an error")
        case "pid":
            return os.getpid()
        case "work":
            start = time.process_time()
            while time.process_time() < start + 0.1:
                pass
            return "worked"
    return order
