"""Rounds of questions: they go out as the budget admits them, and replies are judged and stored as they come."""

from __future__ import annotations

import queue
import threading
from collections import Counter
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np

from gristmill.operators.errors import FatalError
from gristmill.operators.label.answers import UNKNOWN, AnswerFormat
from gristmill.operators.label.contract import Asker, Completion, PullingAsker, Question, Reply
from gristmill.operators.label.reading import InvalidAnswer
from gristmill.pipelines.label.budget import FREE, Bound, Ledger, Prices
from gristmill.pipelines.label.forecast import Sizes
from gristmill.pipelines.label.questions import BATCH, ReadingChunk, StreamingAsker
from gristmill.pipelines.label.store.schema import Annotation, AnswerRow
from gristmill.pipelines.label.store.writer import Writer
from gristmill.pipelines.progress.reporter import Stage

#: Batches of questions that are read ahead of the backend.
AHEAD = 8
#: Documents of one execution on Ray; the most that each may cost is held in memory.
WINDOW = 500_000

T = TypeVar("T")


@dataclass
class Tally:
    """Counts of the outcomes of one round's questions."""

    answered: int = 0
    invalid: int = 0  #: an answer came, and is none of the task's
    refused: int = 0  #: facts about documents: too long, refused by the endpoint
    failed: int = 0  #: no answer this time
    lost: int = 0  #: of these, those that may have been charged: to be admitted and asked again
    empty: Counter[bytes] = field(default_factory=Counter)  #: of the lost, by key, the number of empty replies
    first_failure: str = ""

    def add(self, other: Tally) -> None:
        """Add the counts of another round."""
        self.answered += other.answered
        self.invalid += other.invalid
        self.refused += other.refused
        self.failed += other.failed
        self.lost += other.lost
        self.empty.update(other.empty)
        self.first_failure = self.first_failure or other.first_failure


@dataclass(frozen=True)
class Round:
    """Questions to one annotator: first ones (attempt 1), or repairs (attempt 2)."""

    answer: AnswerFormat
    annotation: Annotation
    asker: Asker
    sizes: Sizes
    prices: Prices
    ledger: Ledger
    writer: Writer
    stage: Stage
    attempt: int
    at_once: int = BATCH  #: questions reserved for in one step, so that little is reserved for what was never sent

    def ask(self, chunks: Sequence[ReadingChunk]) -> Tally:
        """Ask about all documents of the chunks, or as many as the budget admits; store every answer.

        Answers that were stored stay, even if an error is raised.
        """
        in_flight = InFlight(self, {}, Tally())
        if isinstance(self.asker, StreamingAsker):
            in_flight.consume(in_flight.streamed(self.asker, chunks))
        else:
            questions = (batch for chunk in chunks for batch in chunk.batches())
            pulled = isinstance(self.asker, PullingAsker)
            with closing(questions if pulled else ahead(questions)) as batches:
                in_flight.consume(self.asker.answer(in_flight.admitted(batches)))
        return in_flight.tally


@dataclass(frozen=True)
class InFlight:
    """The questions of a round that are in flight."""

    round: Round
    pending: dict[bytes, tuple[int, Bound]]  #: tokens cut and what was reserved, by key
    tally: Tally

    def admitted(self, batches: Iterable[Sequence[Question]]) -> Iterator[Sequence[Question]]:
        """Yield the questions that the budget admits. Waits while answers in flight may still free room."""
        sizes, ledger, name = self.round.sizes, self.round.ledger, self.round.annotation.annotator
        for batch in batches:
            while batch:
                group = batch[: self.round.at_once]
                reserved = ledger.admit(name, [sizes.bound(question) for question in group])
                if not reserved:
                    return
                now, batch = batch[: len(reserved)], batch[len(reserved) :]
                for question, bound in zip(now, reserved, strict=True):
                    self.pending[question.key] = (question.cut_tokens, bound)
                yield now

    def streamed(self, asker: StreamingAsker, chunks: Sequence[ReadingChunk]) -> Generator[Sequence[Reply]]:
        """Yield replies to chunks that a backend reads itself; as many go out at once as the budget admits at worst."""
        for window in _windows(chunks):
            rest = window
            while rest:
                now, rest = self._admitted_chunks(rest)
                if not now:
                    return
                with closing(asker.answer_chunks(now)) as replies:
                    yield from replies

    def _admitted_chunks(self, chunks: list[ReadingChunk]) -> tuple[list[ReadingChunk], list[ReadingChunk]]:
        """Return the chunks that the budget admits, the last cut short, and the others. Nothing may be in flight."""
        bounds = [bound for chunk in chunks for bound in self.round.sizes.bounds_of(chunk)]
        reserved = self.round.ledger.admit(self.round.annotation.annotator, bounds)
        keys = [key for chunk in chunks for key in chunk.part.keys]
        self.pending.update((key, (0, bound)) for key, bound in zip(keys, reserved, strict=False))
        now: list[ReadingChunk] = []
        others: list[ReadingChunk] = []
        room = len(reserved)
        for chunk in chunks:
            first, rest = chunk.split(room)
            now += [first] if first.documents else []
            others += [rest] if rest.documents else []
            room -= first.documents
        return now, others

    def consume(self, replies: Generator[Sequence[Reply]]) -> None:
        """Store replies as they come."""
        try:
            while (batch := self._next(replies)) is not None:
                self._store(batch)
        except BaseException:
            self.round.ledger.stop()  # wakes a thread that waits for room to ask more
            raise
        finally:
            replies.close()

    def _next(self, replies: Iterator[Sequence[Reply]]) -> Sequence[Reply] | None:
        """Return the next replies; None after the last.

        A backend that gives up has handed out all that may be charged.
        """
        try:
            return next(replies, None)
        except FatalError:
            reserved = [bound for _, bound in self.pending.values()]
            self.pending.clear()
            self._settle([], reserved, [FREE] * len(reserved))
            raise

    def _store(self, replies: Sequence[Reply]) -> None:
        rows: list[AnswerRow] = []
        reserved: list[Bound] = []
        actual: list[Bound] = []
        for reply in replies:
            entry = self.pending.pop(reply.key, None)
            if entry is None:  # asked twice by a backend whose worker died: the first reply counts
                continue
            cut_tokens, bound = entry
            reserved.append(bound)
            actual.append(self._judged(reply, cut_tokens, bound, rows))
        self._settle(rows, reserved, actual)
        self.round.stage.advance(len(reserved))

    def _settle(self, rows: Sequence[AnswerRow], reserved: Sequence[Bound], actual: Sequence[Bound]) -> None:
        name = self.round.annotation.annotator
        self.round.writer.append(self.round.annotation, rows, self.round.ledger.worth(name, reserved))
        self.round.ledger.settle(name, reserved, actual)

    def _judged(self, reply: Reply, cut_tokens: int, bound: Bound, rows: list[AnswerRow]) -> Bound:
        """Return the actual cost of a reply, and add its row to `rows`."""
        completion, tally = reply.completion, self.tally
        if completion is not None:
            cost = Bound(completion.input_tokens, completion.output_tokens, bound.documents)
            rows.append(self._row(reply.key, completion, cut_tokens))
            return cost
        if reply.lasting:
            tally.refused += 1
            cost = bound if reply.billed else Bound(0, 0, bound.documents)
            paid = (None, *cost[:2], self.round.prices.cost(*cost[:2]), cut_tokens, None, reply.error)
            rows.append(AnswerRow._make((reply.key, self.round.attempt, None, *UNKNOWN, *paid)))
            return cost
        tally.failed += 1
        tally.first_failure = tally.first_failure or reply.error
        if not reply.billed:
            return FREE
        tally.lost += 1
        tally.empty[reply.key] += reply.empty
        cost = bound._replace(documents=0)
        tokens = (cost.input_tokens, cost.output_tokens)
        paid = (None, *tokens, self.round.prices.cost(*tokens), 0, None, reply.error)
        rows.append(AnswerRow._make((None, 1, None, *UNKNOWN, *paid)))
        return cost

    def _row(self, key: bytes, completion: Completion, cut_tokens: int) -> AnswerRow:
        """Return the row of a completion. The model's text is kept if it is not valid or was repaired."""
        attempt, tokens = self.round.attempt, (completion.input_tokens, completion.output_tokens)
        paid = (completion.logprob, *tokens, self.round.prices.cost(*tokens), cut_tokens)
        try:
            if completion.fault:
                raise InvalidAnswer(completion.fault)
            answer = self.round.answer.read(completion.text)
        except InvalidAnswer as error:
            self.tally.invalid += 1
            return AnswerRow._make((key, attempt, None, *UNKNOWN, *paid, completion.text, str(error)))
        self.tally.answered += 1
        soft = self.round.answer.soft(answer, completion.slots, completion.logprob)
        return AnswerRow._make((key, attempt, answer, *soft, *paid, completion.text if attempt > 1 else None, None))


def ahead(items: Iterable[T], depth: int = AHEAD) -> Generator[T]:
    """Yield the items, made in a separate thread at most `depth` ahead of the consumer; errors come through."""
    ready: queue.Queue[tuple[T | None, BaseException | None, bool]] = queue.Queue(depth)
    closed = threading.Event()

    def put(item: T | None, error: BaseException | None, last: bool) -> None:
        while not closed.is_set():
            try:
                ready.put((item, error, last), timeout=0.1)
                return
            except queue.Full:
                continue

    def make() -> None:
        try:
            for item in items:
                put(item, None, False)
                if closed.is_set():
                    return
            put(None, None, True)
        except BaseException as error:
            put(None, error, True)

    thread = threading.Thread(target=make, name="gristmill-questions", daemon=True)
    thread.start()
    try:
        while True:
            item, error, last = ready.get()
            if error is not None:
                raise error
            if last:
                return
            yield item  # type: ignore[misc]
    finally:
        closed.set()
        thread.join()


def _windows(chunks: Sequence[ReadingChunk]) -> Iterator[list[ReadingChunk]]:
    """Yield lists of consecutive chunks with at most WINDOW documents together, one chunk at least."""
    sizes = np.cumsum([chunk.documents for chunk in chunks])
    window: list[ReadingChunk] = []
    number = 0
    for chunk, total in zip(chunks, sizes.tolist(), strict=True):
        if window and (total - 1) // WINDOW != number:
            yield window
            window = []
        number = (total - 1) // WINDOW
        window.append(chunk)
    if window:
        yield window
