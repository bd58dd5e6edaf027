"""Progress of the shards that threads of this process are reading: reported by the readers, shown by `reporter`."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Reached:
    """Progress of the reading of a shard."""

    documents: int = 0
    text_bytes: int = 0
    share: float = 0.0  #: of the shard, 0 to 1, as far as that is known


#: Progress of the shards being read, by the file that is written from each.
AT_WORK: dict[str, Reached] = {}


class _File(threading.local):
    share: Callable[[], float] | float = 0.0


_FILE = _File()


def tell_share(share: Callable[[], float] | float) -> None:
    """Report the share of this thread's latest file that is read, 0 to 1, or a function that returns it."""
    _FILE.share = share


def share_read() -> float:
    """Return the share of this thread's latest file that is read, 0 to 1."""
    try:
        return min(1.0, _FILE.share() if callable(_FILE.share) else _FILE.share)
    except (OSError, ValueError):  # it is closed: read to its end
        return 1.0
