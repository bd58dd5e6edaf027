from __future__ import annotations

import asyncio
import gc
import itertools
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gristmill.pipelines.config.tuning import tuned
from gristmill.pipelines.label.http.loop import Inbox, through_loop


def label_threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("label-")]


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Iterator[None]:
    assert not label_threads()
    yield
    gc.collect()
    assert not label_threads()


def collect(stream: Iterable[Sequence[int]], into: list[int]) -> None:
    for replies in stream:
        into += replies


async def double(inbox: Inbox[int], emit: Callable[[int], None]) -> None:
    """Four workers; every reply is twice its question."""

    async def work() -> None:
        while (number := await inbox.get()) is not None:
            await asyncio.sleep(0.0001 * (number % 3))
            emit(2 * number)

    await asyncio.gather(*(work() for _ in range(4)))


@settings(max_examples=40, deadline=None)
@given(batches=st.lists(st.lists(st.integers(0, 10**6), max_size=9), max_size=12), ahead=st.integers(1, 10))
def test_every_question_has_its_reply(batches: list[list[int]], ahead: int) -> None:
    lists = list(through_loop(batches, double, ahead))
    assert all(lists)
    assert sorted(itertools.chain(*lists)) == sorted(2 * number for batch in batches for number in batch)


def test_only_a_little_is_pulled_ahead_of_what_is_taken() -> None:
    pulled = 0
    release = threading.Event()

    def batches() -> Iterator[list[int]]:
        nonlocal pulled
        for number in range(1000):
            pulled += 1
            yield [number, number]

    async def hold(inbox: Inbox[int], emit: Callable[[int], None]) -> None:
        await inbox.get()
        emit(-1)
        while not release.is_set():
            await asyncio.sleep(0.001)
        while (number := await inbox.get()) is not None:
            emit(number)

    stream = through_loop(batches(), hold, 4)
    assert list(next(stream)) == [-1]
    time.sleep(0.05)
    assert pulled <= 3  # one is taken: 5 wait where no more are pulled once there are 4
    release.set()
    assert sum(map(len, stream)) == 1999


@tuned(undelivered=10)
def test_a_slow_consumer_stops_the_pulling() -> None:
    pulled = 0

    def batches() -> Iterator[list[int]]:
        nonlocal pulled
        for number in range(500):
            pulled += 1
            yield [number]

    stream = through_loop(batches(), double, 2)
    taken = list(next(stream))
    time.sleep(0.1)
    assert pulled < 40
    assert len(taken) + sum(map(len, stream)) == 500


def test_replies_come_while_the_batches_block() -> None:
    go_on = threading.Event()

    def batches() -> Iterator[list[int]]:
        yield [1, 2, 3]
        assert go_on.wait(10)
        yield [4]

    stream = through_loop(batches(), double, 64)
    got: list[int] = []
    while len(got) < 3:
        got += next(stream)
    go_on.set()
    assert sorted([*got, *itertools.chain(*stream)]) == [2, 4, 6, 8]


def test_an_exception_of_the_batches_comes_after_the_replies_to_what_was_pulled() -> None:
    def batches() -> Iterator[list[int]]:
        yield [1, 2, 3]
        raise OSError("the shard went away")

    got: list[int] = []
    with pytest.raises(OSError, match="the shard went away"):
        collect(through_loop(batches(), double, 64), got)
    assert sorted(got) == [2, 4, 6]


def test_an_exception_of_the_work_comes_even_while_the_batches_block() -> None:
    blocked, release = threading.Event(), threading.Event()

    def batches() -> Iterator[Sequence[int]]:
        yield [1]
        blocked.set()
        release.wait(10)
        raise AssertionError("nobody listens any more")

    async def fail(inbox: Inbox[int], emit: Callable[[int], None]) -> None:
        emit(await inbox.get() or 0)
        while not blocked.is_set():
            await asyncio.sleep(0.001)
        threading.Timer(0.1, release.set).start()
        raise ValueError("no such model")

    got: list[int] = []
    with pytest.raises(ValueError, match="no such model"):
        collect(through_loop(batches(), fail, 4), got)
    assert got == [1]


def test_closing_cancels_the_work() -> None:
    cancelled = threading.Event()

    async def wait_for_ever(inbox: Inbox[int], emit: Callable[[int], None]) -> None:
        emit(await inbox.get() or 0)
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            cancelled.set()
            raise

    stream = through_loop(itertools.repeat([7]), wait_for_ever, 4)
    assert list(next(stream)) == [7]
    stream.close()
    assert cancelled.is_set()
    assert not label_threads()


def test_an_interrupt_in_the_consumer_cancels_the_work() -> None:
    def consume() -> None:
        for _ in through_loop(itertools.repeat([7]), double, 4):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        consume()


def test_a_generator_that_is_never_begun_starts_nothing() -> None:
    through_loop([[1]], double, 4)
    assert not label_threads()
