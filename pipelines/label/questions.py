"""Questions made from documents: read, neutralised, cut; and chunks, which travel to a worker in their place.

A chunk is a small descriptor of some documents of a shard, from which a worker makes the questions itself.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol, runtime_checkable

from gristmill.operators.label.contract import Asker, Question, Rejected, Reply, Tokenizer
from gristmill.operators.label.pairs import parted
from gristmill.operators.label.prompt import BETWEEN, Cutter, Prompt
from gristmill.operators.label.task import TaskQuestion
from gristmill.pipelines.label.documents import ShardDocuments

BATCH = 256  # questions that travel together


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


class Preparer:
    """Maker of questions from texts."""

    def __init__(self, asked: TaskQuestion, tokenizer: Tokenizer) -> None:
        self.prompt = Prompt(asked, tokenizer.special)
        self._pairs = asked.pairs
        most = asked.text.max_tokens
        each = max(1, most // 2) if asked.pairs else most
        self._cutter = Cutter(tokenizer, asked.text.model_copy(update={"max_tokens": each}))

    def question(self, key: bytes, text: str, rejected: Rejected | None = None) -> Question:
        """Return the question about a text, or the two of a pair (`pairs.joined`); `key` is its content id."""
        cuts = [self._cutter.cut(self.prompt.neutralise(part)) for part in (parted(text) if self._pairs else (text,))]
        return Question(key, BETWEEN.join(cut.text for cut in cuts), sum(cut.cut_tokens for cut in cuts), rejected)


@dataclass(frozen=True)
class ReadingChunk:
    """Documents of a shard, to be read and asked about. Picklable: on Ray any free worker reads it."""

    part: ShardDocuments
    asked: TaskQuestion
    tokenizer: Tokenizer
    rejected: Mapping[bytes, Rejected] = field(default_factory=dict)  #: first answers that are not valid, by key

    def __str__(self) -> str:
        return f"{self.documents} documents of {self.part.texts.name_of(self.part.ordinal)}"

    @property
    def documents(self) -> int:
        """Return the number of questions that it gives."""
        return int(self.part.known.num_rows)

    def questions(self) -> Sequence[Question]:
        """Return all questions at once."""
        return [question for batch in self.batches() for question in batch]

    def batches(self) -> Iterator[list[Question]]:
        """Yield the questions in lists as the documents are read."""
        preparer = Preparer(self.asked, self.tokenizer)
        keys, done = self.part.keys, 0
        for texts in self.part.read():
            for start in range(0, len(texts), BATCH):
                batch = texts.slice(start, BATCH).to_pylist()
                named = zip(keys[done : done + len(batch)], batch, strict=True)
                yield [preparer.question(key, text, self.rejected.get(key)) for key, text in named]
                done += len(batch)

    def split(self, documents: int) -> tuple[ReadingChunk, ReadingChunk]:
        """Return the first `documents` documents, and the others."""
        table = self.part.known
        first, rest = table.slice(0, documents), table.slice(documents)
        return replace(self, part=replace(self.part, known=first)), replace(self, part=replace(self.part, known=rest))
