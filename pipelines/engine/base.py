"""The contract of an engine: run a pure function over items and give back one outcome per item."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

from gristmill.operators.errors import RecipeError

Item = TypeVar("Item")
Result = TypeVar("Result")

RETRIES = 3


@dataclass(frozen=True)
class Outcome(Generic[Result]):
    """Outcome of one item: its result, or the error that ended it after the retries."""

    index: int  #: position of the item in the sequence that was given
    value: Result | None = None
    error: Exception | None = None

    def unwrap(self) -> Result:
        """Return the result, or raise the item's error."""
        if self.error is not None:
            raise self.error
        return self.value  # type: ignore[return-value]


class Engine(Protocol):
    """Executor of picklable pure functions over items, each independent of the others.

    A function may run more than once for an item (retries, killed workers), so its only side effect is writing files
    under names that depend on the item alone. Outcomes come in any order. RetryableError and OSError are tried again up
    to RETRIES times; any other exception becomes the outcome's error at once and the other items go on.
    """

    @property
    def name(self) -> str:
        """Return its name, as `--engine` takes it."""
        ...

    @property
    def workers(self) -> int:
        """Return the number of items that run at the same time."""
        ...

    def map(self, function: Callable[[Any], Result], items: Sequence[Any]) -> Generator[Outcome[Result]]:
        """Yield the outcome of function(item) for each item, in any order, as they come.

        Closing the generator ends the work: no item is worked on when `close` returns.
        """
        ...

    def close(self) -> None:
        """Release the resources that the engine started (and nothing that it did not start)."""
        ...


def check_reach(engine: Engine, urls: Iterable[str]) -> None:
    """Raise RecipeError where the engine's workers cannot reach a URL: memory:// exists in this process alone."""
    unseen = next((url for url in urls if url.startswith("memory://")), None)
    if engine.name == "ray" and unseen is not None:
        raise RecipeError(
            f"{unseen} lies in the memory of this process, which Ray's workers do not share; "
            "use --engine local, or a folder or object store that every node can reach"
        )


def run_all(engine: Engine, function: Callable[[Any], Result], items: Sequence[Any]) -> Iterator[Result]:
    """Yield the results of all items, as they come. Raises the error of the first item that failed: all are needed.

    No item is worked on any more when that is raised.
    """
    with contextlib.closing(engine.map(function, items)) as outcomes:
        for outcome in outcomes:
            yield outcome.unwrap()


def run_in_order(engine: Engine, function: Callable[[Any], Result], items: Sequence[Any]) -> list[Result]:
    """Return the results in the order of the items."""
    outcomes = sorted(engine.map(function, items), key=lambda outcome: outcome.index)
    return [outcome.unwrap() for outcome in outcomes]
