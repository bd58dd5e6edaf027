from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gristmill.pipelines.label.http.flow import Backoff, retry_after

NOW = datetime(2026, 2, 28, 23, 59, 50, tzinfo=UTC)


@given(attempts=st.integers(1, 1000), seed=st.integers(0, 99))
def test_waits_stay_within_a_limit_that_doubles_up_to_the_longest(attempts: int, seed: int) -> None:
    backoff = Backoff(base=0.5, longest=30.0)
    wait = backoff.wait(attempts, None, random.Random(seed))
    assert 0.0 <= wait <= min(30.0, 0.5 * 2 ** (attempts - 1))


def test_any_number_of_attempts_has_a_wait() -> None:
    assert Backoff(longest=30.0).limit(10**6) == 30.0


def test_jitter_is_full() -> None:
    draw = random.Random(1)
    waits = [Backoff(base=1.0, longest=8.0).wait(9, None, draw) for _ in range(4000)]
    assert min(waits) < 0.1
    assert max(waits) > 7.9
    assert sum(waits) / len(waits) == pytest.approx(4.0, rel=0.05)


@given(asked=st.floats(0, 1e6), seed=st.integers(0, 99))
def test_what_the_endpoint_asks_for_is_followed_up_to_a_bound(asked: float, seed: int) -> None:
    wait = Backoff(longest_asked_for=120.0).wait(1, asked, random.Random(seed))
    assert min(asked, 120.0) <= wait <= 1.1 * min(asked, 120.0)


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        (None, None),
        ("2", 2.0),
        ("0.5", 0.5),
        ("-3", 0.0),
        ("nan", None),
        ("soon", None),
        ("", None),
        ("Sun, 01 Mar 2026 00:00:00 GMT", 10.0),
        ("Sun, 01 Mar 2026 00:00:00 -0000", 10.0),
        ("Sat, 28 Feb 2026 00:00:00 GMT", 0.0),
        ("Sun, 99 Mar 2026 00:00:00 GMT", None),
    ],
)
def test_retry_after(header: str | None, seconds: float | None) -> None:
    assert retry_after(header, NOW) == seconds


@given(seconds=st.integers(0, 10**7))
def test_retry_after_as_a_date_is_the_time_until_it(seconds: int) -> None:
    assert retry_after(format_datetime(NOW + timedelta(seconds=seconds), usegmt=True), NOW) == seconds
