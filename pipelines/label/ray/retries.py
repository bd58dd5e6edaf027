"""Rounds of asking about chunks until each is answered in full, even if processes that answer end.

A backend gives back what it can. Chunks that are not complete are asked about again, and replies that were handed out
before are left out the second time. In the end each remaining one is asked about by itself, so that a document that
ends its process takes no other with it.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from typing import NamedTuple

from gristmill.operators.errors import FatalError, RecipeError
from gristmill.operators.label.contract import Reply
from gristmill.pipelines.config.wording import plural
from gristmill.pipelines.engine.base import RETRIES
from gristmill.pipelines.label.questions import Chunk


class ReplyBatch(NamedTuple):
    """Some replies of a chunk, or the error that kept it from being asked about."""

    chunk: int  #: its index
    parts: int  #: number of parts that the chunk comes back in
    replies: Sequence[Reply]
    error: Exception | None


#: Asks about the chunks with these indices; parts come back in any order and any grouping, and some may never come.
Ask = Callable[[Sequence[int]], Iterator[Iterable[ReplyBatch]]]


def answer_in_rounds(who: str, chunks: Sequence[Chunk], ask: Ask) -> Generator[Sequence[Reply]]:
    """Yield replies to the questions of all chunks, each once.

    Raises FatalError and RecipeError of a part at once, any other error of one after the replies of all other chunks,
    and FatalError if a chunk is never answered.
    """
    ledger = _Ledger(chunks)
    left = list(ledger.missing)
    while left:
        asked = left
        yield from ledger.settle(ask(asked))
        left = list(ledger.missing)
        if len(left) in (1, len(asked)):  # one more round would not change that
            break
    for index in left[: RETRIES + 1]:
        yield from ledger.settle(ask([index]))
    if ledger.missing:
        raise _given_up(who, [chunks[index] for index in ledger.missing])
    if ledger.errors:
        raise ledger.errors[0]


class _Ledger:
    """Chunks that are not answered in full, and those of their keys that are."""

    def __init__(self, chunks: Sequence[Chunk]) -> None:
        self.missing = dict.fromkeys(index for index, chunk in enumerate(chunks) if chunk.documents)
        self.errors: list[Exception] = []
        self._answered: defaultdict[int, set[bytes]] = defaultdict(set)

    def settle(self, groups: Iterator[Iterable[ReplyBatch]]) -> Iterator[Sequence[Reply]]:
        """Yield the replies of one round without those of the rounds before."""
        before = {index: frozenset(keys) for index, keys in self._answered.items()}
        came: Counter[int] = Counter()
        for group in groups:
            fresh: list[Reply] = []
            for part in group:
                self._note(part.error)
                fresh += [reply for reply in part.replies if reply.key not in before.get(part.chunk, ())]
                self._answered[part.chunk].update(reply.key for reply in part.replies)
                came[part.chunk] += 1
                if came[part.chunk] == part.parts:
                    del self.missing[part.chunk], self._answered[part.chunk]
            if fresh:
                yield fresh

    def _note(self, error: Exception | None) -> None:
        if isinstance(error, FatalError | RecipeError):
            raise error
        if error is not None:
            self.errors.append(error)


def _given_up(who: str, chunks: Sequence[Chunk]) -> FatalError:
    more = len(chunks) - 1
    others = f" and {plural(more, 'more chunk')}" if more else ""
    return FatalError(
        f"{who} could not answer {chunks[0]}{others}: the process that held the model ended every time, at last with "
        "one chunk by itself. Memory is the usual cause: take smaller batches or larger machines, and see Ray's logs "
        "(/tmp/ray/session_latest/logs). All other answers are kept; run the same command to go on"
    )
