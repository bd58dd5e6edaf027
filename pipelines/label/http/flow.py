"""Flow of requests to one endpoint: how many are in flight, when one is tried again, when nothing is sent any more.

At an endpoint at which everything fails the circuit is broken: stop sending, probe now and then, give up in the end.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Protocol, TypeVar

from gristmill.operators.errors import FatalError

_DECREASE = 0.7
#: Rounds in which the limit would grow from zero to the most. One place a round, as in TCP, is too timid if an endpoint
#: turns away one request in a hundred whatever it gets: 17 of 64 places would be used.
_ROUNDS = 16


@dataclass(frozen=True)
class Backoff:
    """Exponential backoff with full jitter (Brooker, "Exponential Backoff and Jitter", AWS Architecture Blog, 2015).

    Times in seconds.
    """

    base: float = 0.5
    longest: float = 30.0
    longest_asked_for: float = 120.0  #: longest Retry-After of an endpoint that is followed

    def limit(self, attempts: int) -> float:
        """Return the longest wait after a number of failed attempts."""
        return min(self.longest, self.base * 2.0 ** min(attempts - 1, 60))

    def wait(self, attempts: int, asked_for: float | None, draw: random.Random) -> float:
        """Return the wait after a number of failed attempts, or what the endpoint asked for and at most a tenth more.

        Requests that were turned away together do not come back together.
        """
        if asked_for is not None:
            return min(asked_for, self.longest_asked_for) * draw.uniform(1.0, 1.1)
        return draw.uniform(0.0, self.limit(attempts))


def retry_after(header: str | None, now: datetime | None = None) -> float | None:
    """Return the seconds that a Retry-After header asks for, in seconds or as an HTTP date; None if it is neither."""
    if header is None:
        return None
    try:
        seconds = float(header)
    except ValueError:
        try:
            moment = parsedate_to_datetime(header)
        except ValueError:
            return None
        if moment.tzinfo is None:  # "-0000", which RFC 5322 reads as UTC from an unknown place
            moment = moment.replace(tzinfo=UTC)
        seconds = (moment - (now or datetime.now(UTC))).total_seconds()
    return max(0.0, seconds) if seconds == seconds else None


class Limiter:
    """Adaptive concurrency by additive increase and multiplicative decrease (Chiu and Jain, 1989).

    The limit starts at `most`, grows by a sixteenth of that (by one at least) with each round of successes, as many as
    the limit, and shrinks to 0.7 of itself when the endpoint says that it is too much. It stays within 1 and `most`.
    Complaints about requests that were sent before the last decrease do not count: they are news of the old limit.
    """

    def __init__(self, most: int) -> None:
        self.limit = float(most)
        self._most = most
        self._growth = max(1.0, most / _ROUNDS)
        self._held = 0
        self._decreases = 0
        self._waiters: deque[asyncio.Future[None]] = deque()

    async def acquire(self) -> int:
        """Wait for a place; return the moment it was given at, counted in decreases, for `overloaded`."""
        if self._waiters or self._held >= int(self.limit):
            waiter = asyncio.get_running_loop().create_future()
            self._waiters.append(waiter)
            try:
                await waiter
            except asyncio.CancelledError:
                if waiter.cancelled():
                    with contextlib.suppress(ValueError):  # `_wake` may have passed it over already
                        self._waiters.remove(waiter)
                else:
                    self.release()
                raise
        else:
            self._held += 1
        return self._decreases

    def release(self) -> None:
        """Give a place back."""
        self._held -= 1
        self._wake()

    def succeeded(self) -> None:
        """Let the limit grow: a request was answered."""
        self.limit = min(float(self._most), self.limit + self._growth / self.limit)
        self._wake()

    def overloaded(self, moment: int) -> None:
        """Shrink the limit: a request that got its place at this moment met an endpoint with too much to do."""
        if moment == self._decreases:
            self._decreases += 1
            self.limit = max(1.0, self.limit * _DECREASE)

    def _wake(self) -> None:
        while self._waiters and self._held < int(self.limit):
            waiter = self._waiters.popleft()
            if not waiter.done():
                self._held += 1
                waiter.set_result(None)


@dataclass(frozen=True)
class Outage:
    """Failures that count as an outage, and the time that it may last. Times in seconds."""

    failures: int = 16  #: in a row, and no answer between them
    failures_at_start: int = 3  #: the same before the first answer
    probes: Backoff = field(default_factory=lambda: Backoff(base=1.0, longest=30.0))  #: waits between two probes
    patience: float = 300.0  #: from the first failure of the row to giving up
    patience_at_start: float = 30.0  #: the same before the first answer


class AttemptOutcome(Protocol):
    """Result of an attempt."""

    @property
    def alive(self) -> bool:
        """Return whether the endpoint does its work, whatever its reply."""
        ...

    @property
    def message(self) -> str:
        """Return the message of a failure."""
        ...


O = TypeVar("O", bound=AttemptOutcome)  # noqa: E741


class Breaker:
    """Circuit breaker (Nygard, Release It!, 2007): open after a row of failures, closed by a probe that succeeds."""

    def __init__(self, where: str, outage: Outage, clock: Callable[[], float] = time.monotonic) -> None:
        self._where, self._outage, self._clock = where, outage, clock
        self._answered = False
        self._failures = 0
        self._probes = 0
        self._since = 0.0
        self._turn = asyncio.Lock()
        self.open = False

    async def attempt(self, send: Callable[[], Awaitable[O]]) -> O:
        """Send, or first wait for a turn to probe. Raises FatalError if the outage has lasted too long."""
        while self.open:
            async with self._turn:
                if self.open:
                    self._probes += 1
                    await asyncio.sleep(self._outage.probes.limit(self._probes))
                    return self._judged(await send())
        return self._judged(await send())

    def forgive(self) -> None:
        """Forget the failures: the request was at fault."""
        self._failures = 0
        self._probes = 0
        self.open = False

    def _judged(self, outcome: O) -> O:
        if outcome.alive:
            self._answered = True
            self.forgive()
            return outcome
        if self._failures == 0:
            self._since = self._clock()
        self._failures += 1
        self.open = self._failures >= (self._outage.failures if self._answered else self._outage.failures_at_start)
        if self.open and self._clock() - self._since >= self._patience:
            raise FatalError(
                f"{self._where} has answered nothing for {self._patience:.0f} s; at last: {outcome.message}. "
                "Check base_url and that the endpoint runs, and run again; the answers so far are kept"
            )
        return outcome

    @property
    def _patience(self) -> float:
        return self._outage.patience if self._answered else self._outage.patience_at_start
