"""Limit of the number of requests in flight."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque

_DECREASE = 0.7
#: Rounds in which the limit would grow from zero to the most. One place a round, as in TCP, is too timid if an endpoint
#: turns away one request in a hundred whatever it gets: 17 of 64 places would be used.
_ROUNDS = 16


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
