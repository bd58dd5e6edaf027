"""The order in which packed sequences are read: a function of the seed, which takes no memory and no reading.

Positions count on from epoch to epoch. In each epoch the shards are put in a random order and taken in windows of so
many at a time; the sequences of a window are read in a random order. So only the shards of one window are open, or
fetched from an object store, at a time, and ranks that read side by side have the same ones open. Where there are no
more shards than a window has, the order is a permutation of all sequences.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gristmill.operators.errors import RecipeError
from gristmill.operators.kernels.packing import permuted, shuffle_keys

Ints = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class PackedOrder:
    """The sequences of shards, epoch after epoch."""

    sizes: Ints  #: sequences of each shard
    seed: int | None = None  #: None leaves all as it lies
    window: int = 16  #: shards whose sequences are read mixed

    def __post_init__(self) -> None:
        """Raise RecipeError for a seed that is out of range."""
        if self.seed is not None and not 0 <= self.seed < 1 << 64:
            raise RecipeError(f"seed is a number from 0 to 2**64 - 1, or None, not {self.seed}")

    def __reduce__(self) -> tuple[Any, ...]:
        return PackedOrder, (self.sizes, self.seed, self.window)  # without the windows that are kept

    @cached_property
    def total(self) -> int:
        """Return the sequences of an epoch."""
        return int(self.sizes.sum())

    def places(self, positions: Ints) -> tuple[Ints, Ints]:
        """Return the shards (m) and the sequences in them (m) that are read at ascending positions (m)."""
        shards, rows = np.empty_like(positions), np.empty_like(positions)
        for start, stop, epoch, number in self._runs(positions):
            window = self.windows(epoch)[number]
            inside = positions[start:stop] - epoch * self.total - window.first
            if self.seed is not None:
                inside = permuted(_key(self.seed, epoch, number + 1), window.total, inside)
            at = np.searchsorted(window.ends, inside, "right")
            shards[start:stop] = window.shards[at]
            rows[start:stop] = inside - (window.ends - self.sizes[window.shards])[at]
        return shards, rows

    def _runs(self, positions: Ints) -> Iterator[tuple[int, int, int, int]]:
        """Yield the runs of positions in the same epoch and window: start, stop, epoch, number of the window."""
        start = 0
        while start < len(positions):
            epoch, inside = divmod(int(positions[start]), self.total)
            windows = self.windows(epoch)
            number = int(np.searchsorted([window.first for window in windows], inside, "right")) - 1
            end = epoch * self.total + windows[number].first + windows[number].total
            stop = int(np.searchsorted(positions, end, "left"))
            yield start, stop, epoch, number
            start = stop

    def windows(self, epoch: int) -> list[ShardWindow]:
        """Return the windows of an epoch, in the order in which they are read."""
        return self._windows(epoch)

    @cached_property
    def _windows(self) -> _Windows:
        return _Windows(self)


@dataclass(frozen=True, eq=False)
class ShardWindow:
    """Some shards whose sequences are read mixed."""

    shards: Ints
    ends: Ints  #: of each of its shards, in sequences of the window
    first: int  #: its first sequence in the epoch

    @property
    def total(self) -> int:
        """Return its sequences."""
        return int(self.ends[-1])


class _Windows:
    """The windows of each epoch; those of the last few are kept."""

    def __init__(self, order: PackedOrder) -> None:
        self._order = order
        self._of = lru_cache(4)(self._made)

    def __call__(self, epoch: int) -> list[ShardWindow]:
        return self._of(epoch)

    def _made(self, epoch: int) -> list[ShardWindow]:
        order = self._order
        shards = np.flatnonzero(order.sizes)
        if order.seed is not None:
            shards = shards[permuted(_key(order.seed, epoch, 0), len(shards), np.arange(len(shards)))]
        windows, first = [], 0
        for start in range(0, len(shards), order.window):
            held = shards[start : start + order.window]
            windows.append(ShardWindow(held, np.cumsum(order.sizes[held]), first))
            first += windows[-1].total
        return windows


def _key(seed: int, epoch: int, number: int) -> np.uint64:
    """Return the key of a permutation: of shards (0), or of the sequences of a window (from 1)."""
    key: np.uint64 = shuffle_keys(np.uint64(seed), np.array([[epoch, number]], np.uint64))[0]
    return key
