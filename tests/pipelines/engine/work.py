"""Functions for engines to run, in a module that Ray's workers can import."""

from __future__ import annotations

import os
import signal
import time
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from gristmill.operators.errors import RetryableError


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
    """The name of a function, of that in a partial, or of a method."""
    return str(function.func.__name__ if isinstance(function, partial) else function.__name__)


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
