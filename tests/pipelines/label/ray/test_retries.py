"""Rounds: whatever a backend loses, repeats or splits, each question that can be answered is answered once."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gristmill.operators.errors import FatalError, ShardError
from gristmill.operators.label.contract import Question, Reply
from gristmill.pipelines.engine.base import RETRIES
from gristmill.pipelines.label.questions import HeldChunk
from gristmill.pipelines.label.ray.backend import Ask, ReplyBatch, answer_in_rounds


@dataclass
class LossyBackend:
    """Answers chunks in shuffled parts; of each chunk it loses parts in its first so many rounds."""

    chunks: Sequence[HeldChunk]
    losses: Sequence[int]
    draw: random.Random
    asked: list[list[int]]

    def ask(self, indices: Sequence[int]) -> Iterator[list[ReplyBatch]]:
        rounds_before = [sum(index in asked for asked in self.asked) for index in range(len(self.chunks))]
        self.asked.append(list(indices))
        parts = [
            ReplyBatch(index, len(self.chunks[index].held), [Reply(question.key, None)], None)
            for index in indices
            for place, question in enumerate(self.chunks[index].held)
            if rounds_before[index] >= self.losses[index] or place < self.draw.randrange(len(self.chunks[index].held))
        ]
        self.draw.shuffle(parts)
        while parts:
            size = self.draw.randint(1, len(parts))
            yield parts[:size]
            del parts[:size]


def chunks_of(sizes: Sequence[int]) -> list[HeldChunk]:
    keys = iter(range(sum(sizes)))
    return [HeldChunk(tuple(Question(next(keys).to_bytes(16, "big"), "") for _ in range(size))) for size in sizes]


def keys_of(chunks: Sequence[HeldChunk]) -> list[bytes]:
    return [question.key for chunk in chunks for question in chunk.held]


def outcome(chunks: Sequence[HeldChunk], ask: Ask) -> tuple[list[Reply], Exception | None]:
    """All replies that come, and the error that ends them."""
    replies: list[Reply] = []
    try:
        for some in answer_in_rounds("big", chunks, ask):
            replies += some
    except Exception as error:
        return replies, error
    return replies, None


@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 1)), max_size=12), st.randoms(use_true_random=False))
def test_each_question_is_answered_once_although_parts_get_lost(
    shape: list[tuple[int, int]], draw: random.Random
) -> None:
    chunks = chunks_of([size for size, _ in shape])
    backend = LossyBackend(chunks, [loses for _, loses in shape], draw, [])
    if sum(size > 0 and loses for size, loses in shape) > RETRIES + 1:
        backend.losses = [0] * len(chunks)
    replies = [reply.key for some in answer_in_rounds("big", chunks, backend.ask) for reply in some]
    assert sorted(replies) == sorted(keys_of(chunks))


def test_chunks_that_are_never_answered_in_full_are_given_up_after_the_others() -> None:
    chunks = chunks_of([3] * 20)
    backend = LossyBackend(chunks, [1000 if index in (4, 9) else 0 for index in range(20)], random.Random(1), [])
    answered, error = outcome(chunks, backend.ask)
    replies = [reply.key for reply in answered]
    assert isinstance(error, FatalError)
    assert re.match(r"big could not answer 3 questions from \w+ and 1 more chunk:", str(error))
    assert "run the same command to go on" in str(error)
    assert len(replies) == len(set(replies))
    assert set(replies) >= set(keys_of([chunk for index, chunk in enumerate(chunks) if index not in (4, 9)]))
    assert backend.asked[-2:] == [[4], [9]]


def test_a_backend_that_answers_nothing_is_not_asked_about_every_chunk() -> None:
    chunks = chunks_of([1] * 100)
    asked: list[Sequence[int]] = []

    def ask(indices: Sequence[int]) -> Iterator[list[ReplyBatch]]:
        asked.append(indices)
        yield []

    _, error = outcome(chunks, ask)
    assert "99 more chunks" in str(error)
    assert [len(indices) for indices in asked] == [100] + [1] * (RETRIES + 1)


@pytest.mark.parametrize(("error", "came"), [(ShardError("gone"), 2), (FatalError("no model"), 1)])
def test_errors_of_one_chunk_wait_and_errors_of_all_do_not(error: Exception, came: int) -> None:
    chunks = chunks_of([1, 1, 1])

    def ask(_: Sequence[int]) -> Iterator[list[ReplyBatch]]:
        yield [ReplyBatch(0, 1, [Reply(chunks[0].held[0].key, None)], None)]
        yield [ReplyBatch(1, 1, (), error)]
        yield [ReplyBatch(2, 1, [Reply(chunks[2].held[0].key, None)], None)]

    replies, raised = outcome(chunks, ask)
    assert (len(replies), raised) == (came, error)
