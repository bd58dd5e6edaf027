from __future__ import annotations

import asyncio
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gristmill.pipelines.label.http.flow import Limiter


@given(most=st.integers(1, 16), events=st.lists(st.booleans(), max_size=200))
def test_the_limit_stays_between_one_and_the_most(most: int, events: list[bool]) -> None:
    limiter = Limiter(most)
    for number, success in enumerate(events):
        before = limiter.limit
        if success:
            limiter.succeeded()
            assert before <= limiter.limit <= before + 1.0
        else:
            limiter.overloaded(sum(not earlier for earlier in events[:number]))
            assert limiter.limit <= before
        assert 1.0 <= limiter.limit <= most


@pytest.mark.parametrize(("most", "growth"), [(64, 4.0), (12, 1.0)])
def test_the_limit_grows_by_a_sixteenth_of_the_most_in_a_round_of_successes(most: int, growth: float) -> None:
    limiter = Limiter(most)
    for decreases in range(3):
        limiter.overloaded(decreases)
    before = limiter.limit
    for _ in range(round(before)):
        limiter.succeeded()
    assert limiter.limit == pytest.approx(before + growth, rel=0.15)


def test_complaints_about_one_moment_count_once() -> None:
    limiter = Limiter(10)
    for _ in range(10):
        limiter.overloaded(0)
    assert limiter.limit == pytest.approx(7.0)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10**6), most=st.integers(1, 6))
def test_no_more_hold_a_place_than_the_limit_says_and_none_is_lost(seed: int, most: int) -> None:
    """Tasks that are cancelled at random, and a limit that moves: all others come to their turn."""

    async def play() -> None:
        draw = random.Random(seed)
        limiter = Limiter(most)
        held = finished = 0

        async def hold() -> None:
            nonlocal held, finished
            moment = await limiter.acquire()
            held += 1
            assert held <= most
            try:
                for _ in range(draw.randrange(4)):
                    await asyncio.sleep(0)
                limiter.overloaded(moment) if draw.random() < 0.3 else limiter.succeeded()
                finished += 1
            finally:
                held -= 1
                limiter.release()

        tasks = [asyncio.create_task(hold()) for _ in range(40)]
        for task in draw.sample(tasks, 10):
            for _ in range(draw.randrange(3)):
                await asyncio.sleep(0)
            task.cancel()
        done = await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), 10)
        assert finished >= 30
        assert all(result is None or isinstance(result, asyncio.CancelledError) for result in done)
        assert held == 0

    asyncio.run(play())


def test_a_smaller_limit_holds_newcomers_back() -> None:
    async def play() -> None:
        limiter = Limiter(2)
        moment = await limiter.acquire()
        await limiter.acquire()
        limiter.overloaded(moment)  # 1.4
        limiter.release()
        third = asyncio.create_task(limiter.acquire())
        await asyncio.sleep(0)
        assert not third.done()
        limiter.release()
        await third

    asyncio.run(play())
