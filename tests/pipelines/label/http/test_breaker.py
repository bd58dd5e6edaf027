from __future__ import annotations

import asyncio
from typing import NamedTuple

import pytest

from gristmill.operators.errors import FatalError
from gristmill.pipelines.label.http.flow import Backoff, Breaker, Outage

QUICK = Outage(failures=5, failures_at_start=2, probes=Backoff(0.001, 0.004), patience=1000.0, patience_at_start=10.0)


class Said(NamedTuple):
    alive: bool
    message: str = "it is down"


class Endpoint:
    """Answers when it is up; counts what it is sent."""

    def __init__(self) -> None:
        self.up, self.sent, self.in_flight, self.most_in_flight = True, 0, 0, 0

    async def send(self) -> Said:
        self.sent += 1
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        up = self.up
        await asyncio.sleep(0.001)
        self.in_flight -= 1
        return Said(up)


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_it_opens_after_a_row_of_failures_only() -> None:
    async def play() -> None:
        breaker, endpoint = Breaker("here", QUICK), Endpoint()
        for up in [True, False, False, False, False, True, False, False, False, False]:
            endpoint.up = up
            await breaker.attempt(endpoint.send)
            assert not breaker.open
        await breaker.attempt(endpoint.send)
        assert breaker.open

    asyncio.run(play())


def test_before_the_first_answer_fewer_failures_open_it() -> None:
    async def play() -> None:
        breaker, endpoint = Breaker("here", QUICK), Endpoint()
        endpoint.up = False
        for _ in range(2):
            await breaker.attempt(endpoint.send)
        assert breaker.open

    asyncio.run(play())


def test_while_open_one_probe_at_a_time_and_all_at_once_after_it_succeeds() -> None:
    async def play() -> None:
        breaker, endpoint = Breaker("here", QUICK), Endpoint()
        await breaker.attempt(endpoint.send)
        endpoint.up = False
        for _ in range(5):
            await breaker.attempt(endpoint.send)
        endpoint.most_in_flight = 0

        async def persist() -> None:
            while not (await breaker.attempt(endpoint.send)).alive:
                pass

        tasks = [asyncio.create_task(persist()) for _ in range(20)]
        before = endpoint.sent
        while endpoint.sent < before + 4:
            await asyncio.sleep(0.001)
        assert endpoint.most_in_flight == 1
        endpoint.up = True
        await asyncio.wait_for(asyncio.gather(*tasks), 10)
        assert endpoint.most_in_flight > 10
        assert not breaker.open

    asyncio.run(play())


@pytest.mark.parametrize(("answered", "patience"), [(True, 1000.0), (False, 10.0)])
def test_it_gives_up_when_the_outage_outlasts_its_patience(answered: bool, patience: float) -> None:
    async def play() -> None:
        clock, endpoint = Clock(), Endpoint()
        breaker = Breaker("http://there/v1", QUICK, clock)
        clock.now = 50.0
        if answered:
            await breaker.attempt(endpoint.send)
        endpoint.up = False
        for _ in range(6):
            await breaker.attempt(endpoint.send)
        clock.now += patience - 0.01
        await breaker.attempt(endpoint.send)
        clock.now += 0.01
        with pytest.raises(
            FatalError, match=rf"http://there/v1 .* {patience:.0f} s; at last: it is down\. Check base_url"
        ):
            await breaker.attempt(endpoint.send)

    asyncio.run(play())


def test_what_is_forgiven_does_not_count() -> None:
    async def play() -> None:
        breaker, endpoint = Breaker("here", QUICK), Endpoint()
        endpoint.up = False
        for _ in range(10):
            await breaker.attempt(endpoint.send)
            breaker.forgive()
        assert not breaker.open

    asyncio.run(play())
