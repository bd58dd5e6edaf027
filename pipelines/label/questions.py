"""Questions made from documents: read, neutralised, cut."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from gristmill.operators.label.contract import Question, Rejected, Tokenizer
from gristmill.operators.label.cutting import Cutter
from gristmill.operators.label.prompt import Prompt
from gristmill.operators.label.task import TaskQuestion
from gristmill.pipelines.label.documents import ShardDocuments

BATCH = 256  # questions that travel together


class Preparer:
    """Maker of questions from texts."""

    def __init__(self, asked: TaskQuestion, tokenizer: Tokenizer) -> None:
        self.prompt = Prompt(asked, tokenizer.special)
        self._cutter = Cutter(tokenizer, asked.text)

    def question(self, key: bytes, text: str, rejected: Rejected | None = None) -> Question:
        """Return the question about a text; `key` is its content id."""
        document, cut_tokens = self._cutter.cut(self.prompt.neutralise(text))
        return Question(key, document, cut_tokens, rejected)


@dataclass(frozen=True)
class ReadingChunk:
    """Documents of a shard, to be read and asked about. Picklable: on Ray any free worker reads it."""

    part: ShardDocuments
    asked: TaskQuestion
    tokenizer: Tokenizer
    rejected: Mapping[bytes, Rejected] = field(default_factory=dict)  #: first answers that are not valid, by key

    def __str__(self) -> str:
        return f"{self.documents} documents of {self.part.texts.shards[self.part.ordinal].spec.name}"

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
                some = texts.slice(start, BATCH).to_pylist()
                named = zip(keys[done : done + len(some)], some, strict=True)
                yield [preparer.question(key, text, self.rejected.get(key)) for key, text in named]
                done += len(some)

    def split(self, documents: int) -> tuple[ReadingChunk, ReadingChunk]:
        """Return the first `documents` documents, and the others."""
        known = self.part.known
        first, rest = known.slice(0, documents), known.slice(documents)
        return replace(self, part=replace(self.part, known=first)), replace(self, part=replace(self.part, known=rest))
