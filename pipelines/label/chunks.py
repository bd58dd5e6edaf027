"""Chunks: small descriptors of some documents of a shard, from which a worker makes the questions itself."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from gristmill.operators.label.contract import Asker, Question, Reply


class Chunk(Protocol):
    """Documents that are asked about together. Picklable, and small compared with the texts that it stands for.

    Its text form names it in messages.
    """

    @property
    def documents(self) -> int:
        """Return the number of questions that it gives at most."""
        ...

    def questions(self) -> Sequence[Question]:
        """Read, cut and neutralise the documents. Gives the same questions each time; ShardError if it cannot."""
        ...


@runtime_checkable
class StreamingAsker(Asker, Protocol):
    """An asker whose workers make the questions themselves, so that texts never pass through this process."""

    def answer_chunks(self, chunks: Sequence[Chunk]) -> Generator[Sequence[Reply]]:
        """Yield replies to the questions of all chunks, in any order, each once.

        A chunk whose questions cannot be made does not stop the others: its error is raised after their replies.
        Closing the iterator ends what it started.
        """
        ...


@dataclass(frozen=True)
class HeldChunk:
    """Chunk of questions that are already made."""

    held: tuple[Question, ...]

    @property
    def documents(self) -> int:
        """Return the number of questions."""
        return len(self.held)

    def questions(self) -> Sequence[Question]:
        """Return the questions."""
        return self.held

    def __str__(self) -> str:
        return f"{len(self.held)} questions from {self.held[0].key.hex()}" if self.held else "no questions"
