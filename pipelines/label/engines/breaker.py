"""Circuit breaker for an endpoint at which everything fails: stop sending, probe now and then, give up in the end."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

from gristmill.operators.errors import FatalError
from gristmill.pipelines.label.engines.backoff import Backoff


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
