"""The order in which the rows of a dataset are read, and the share of it that each of several consumers gets.

The row groups of all files are put in a random order, one after the other, and that sequence of rows is cut into
stretches of equal length, one for each consumer. Inside its stretch a consumer reads some row groups side by side: it
fills a buffer with rows of each of them, gives these in random order, and fills it anew. So the order is known without
reading: any place in it can be gone to directly.

All draws are words of SplitMix64, whose seed is mixed of the seed, the epoch and what is drawn for: the order is the
same with every version of NumPy.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from gristmill.operators.kernels.minhash import split_mix

Ints = NDArray[np.int64]
_GROUPS, _BUFFER = 1, 2  # kinds of draws


#: Row groups that are read side by side where rows are shuffled: neighbours in a file are alike.
TOGETHER = 8


class GroupPart(NamedTuple):
    """Rows of a row group."""

    group: int  #: number of the row group
    first: int  #: the first row, in the group
    rows: int


class Window(NamedTuple):
    """Parts of row groups that are read side by side, in blocks that are shuffled."""

    parts: Sequence[GroupPart]
    before: Ints  #: (blocks + 1, parts): the rows of each part before each block
    places: Ints  #: (blocks + 1): where in its consumer's stretch each block begins


@dataclass(frozen=True, eq=False)
class RowOrder:
    """The rows of some row groups in the order of an epoch, divided among consumers."""

    sizes: Ints  #: rows of each row group
    consumers: int = 1
    seed: int | None = None  #: None leaves the rows in their order
    epoch: int = 0
    buffer: int = 10_000  #: rows that are shuffled together; with 1 or none row groups are, and no rows
    drop_last: bool = False  #: whether all consumers get the same number of rows, and what is left over nobody

    @cached_property
    def groups(self) -> Ints:
        """Return the numbers of the row groups in their order."""
        if self.seed is None:
            return np.arange(len(self.sizes))
        return self._shuffled(len(self.sizes), _GROUPS)

    @cached_property
    def _ends(self) -> Ints:
        """Return where each row group ends in the sequence, in their order."""
        return np.cumsum(self.sizes[self.groups])

    def stretch(self, consumer: int) -> tuple[int, int]:
        """Return where in the sequence the rows of a consumer begin and end.

        Without `drop_last` stretches differ by one row at most, and those of the consumers of a rank together are the
        same however many there are.
        """
        rows = int(self.sizes.sum())
        if self.drop_last:
            each = rows // self.consumers
            return consumer * each, (consumer + 1) * each
        return consumer * rows // self.consumers, (consumer + 1) * rows // self.consumers

    def length(self, consumer: int) -> int:
        """Return the number of rows of a consumer."""
        start, stop = self.stretch(consumer)
        return stop - start

    def parts(self, start: int, stop: int) -> list[GroupPart]:
        """Return what the part from `start` to `stop` of the sequence is made of, in its order."""
        found = []
        place = int(np.searchsorted(self._ends, start, side="right"))
        while start < stop:
            group, end = int(self.groups[place]), int(self._ends[place])
            rows = min(stop, end) - start
            if rows:
                found.append(GroupPart(group, start - (end - int(self.sizes[group])), rows))
            start, place = start + rows, place + 1
        return found

    def windows(self, consumer: int) -> Iterator[Window]:
        """Yield the windows of a consumer's stretch, in order."""
        parts, place = self.parts(*self.stretch(consumer)), 0
        for first in range(0, len(parts), TOGETHER):
            together = parts[first : first + TOGETHER]
            rows = np.array([part.rows for part in together])
            blocks = -(-int(rows.sum()) // self.buffer)
            before = np.arange(blocks + 1)[:, None] * rows // blocks
            yield Window(together, before, place + before.sum(axis=1))
            place += int(rows.sum())

    def shuffled_block(self, consumer: int, place: int, rows: int) -> Ints:
        """Return the order (n) of the rows of a block, whose first one is at some place of a consumer's stretch."""
        return self._shuffled(rows, _BUFFER, consumer, place)

    def _shuffled(self, count: int, *what: int) -> Ints:
        """Return the numbers from 0 to count - 1 in random order."""
        state = 0
        for number in (int(self.seed or 0), self.epoch, *what):
            state = int(split_mix(state ^ number, 1)[0])
        return np.argsort(split_mix(state, count))  # its words are all different: any way of sorting gives this order
