"""Passes over shards or partitions: the only way in which deciding touches data."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from gristmill.pipelines.engine.base import Engine, Result


def run(engine: Engine, function: Callable[[Any], Result], items: Sequence[Any]) -> Iterator[Result]:
    """The results of all items, as they come. Raises the error of the first item that failed: all are needed.

    No item is worked on any more when that is raised.
    """
    with contextlib.closing(engine.map(function, items)) as outcomes:
        for outcome in outcomes:
            yield outcome.unwrap()


def gather(engine: Engine, function: Callable[[Any], Result], items: Sequence[Any]) -> list[Result]:
    """The results in the order of the items."""
    outcomes = sorted(engine.map(function, items), key=lambda outcome: outcome.index)
    return [outcome.unwrap() for outcome in outcomes]
