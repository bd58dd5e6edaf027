"""How far the shards are that threads of this process are reading: told by the readers, shown by whoever waits."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Reached:
    """How far the reading of a shard is."""

    documents: int = 0
    text_bytes: int = 0
    share: float = 0.0  #: of the shard, 0 to 1, as far as that is known


#: Shards at work, by the file that is written of them.
AT_WORK: dict[str, Reached] = {}


class _File(threading.local):
    share: Callable[[], float] | float = 0.0


_FILE = _File()


def tell_share(share: Callable[[], float] | float) -> None:
    """Say how much of the file that this thread has opened last is read, or how to find out."""
    _FILE.share = share


def share_read() -> float:
    """Return how much of the file that this thread has opened last is read, 0 to 1."""
    try:
        return min(1.0, _FILE.share() if callable(_FILE.share) else _FILE.share)
    except (OSError, ValueError):  # it is closed: read to its end
        return 1.0
