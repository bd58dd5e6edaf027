"""Waits before the next attempt."""

from __future__ import annotations

import random
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime


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
