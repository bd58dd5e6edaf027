"""Batches of prompts of about the same length, as large as memory allows."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol, TypeVar

from gristmill.operators.errors import FatalError


class Sized(Protocol):
    """Item that is put into batches."""

    @property
    def tokens(self) -> int:
        """Return the tokens that it takes of a batch in which it is the longest."""
        ...


Item = TypeVar("Item", bound=Sized)
Result = TypeVar("Result")


class OutOfMemory(Exception):
    """The device has no room for a batch; a smaller one may fit."""


class Batcher:
    """Cutter of windows of items into batches, which remembers the size at which memory ran out."""

    def __init__(self, most_tokens: int) -> None:
        """Set the most tokens of one batch, padding counted; an item that is longer is a batch by itself."""
        self._most_tokens = most_tokens

    def map(
        self, function: Callable[[Sequence[Item]], Sequence[Result]], items: Sequence[Item]
    ) -> Iterator[Sequence[Result]]:
        """Yield the function's results, batch by batch, the longest items first.

        If it raises OutOfMemory, the batch is halved, and so are all later ones; FatalError for a single item.
        """
        left = deque(sorted(items, key=lambda item: item.tokens, reverse=True))
        while left:
            rows = max(1, self._most_tokens // max(1, left[0].tokens))
            batch = [left.popleft() for _ in range(min(rows, len(left)))]
            try:
                results = function(batch)
            except OutOfMemory as error:
                if len(batch) == 1:
                    raise FatalError(_no_room(batch[0].tokens, error)) from None
                self._most_tokens = len(batch) * batch[0].tokens // 2
                left.extendleft(reversed(batch))
                continue
            yield results


def _no_room(tokens: int, error: Exception) -> str:
    said = str(error).splitlines()[0]
    return (
        f"the device has no room for the model and one prompt of {tokens:,} tokens ({said}). Take a device with more "
        "memory, a smaller dtype, or fewer tokens of each text (text: max_tokens). What was answered is kept"
    )
