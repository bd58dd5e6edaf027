"""The order of a mixture: which part each sequence is of, and which one of that part; computed, and never stored.

The largest part takes its turns at even distances, the second largest at even distances of what is left, and so on:
at any place each of k parts has had its share of the sequences so far, to within 1 + ln k of them. Even distances would
meet the ranks that take turns (one of two ranks would get one of two equal parts), so the turns in each block of
`BLOCK` sequences are shuffled. Each part gives its sequences in its own order all the same.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from gristmill.operators.errors import RecipeError
from gristmill.operators.kernels.packing import shuffle_keys
from gristmill.pipelines.readers.packed_order import Ints, PackedOrder

#: Sequences whose turns are shuffled.
BLOCK = 64
#: Sequences of a mixture, at most, so that no product overflows.
MOST = 1 << 41
_BITS = 20


class MixedOrder:
    """The sequences of several orders, so many of each, by turns."""

    def __init__(self, orders: Sequence[PackedOrder], counts: Sequence[int], seed: int) -> None:
        """Take `counts[i]` sequences of `orders[i]`. Raises RecipeError where there are too many of them."""
        if sum(counts) >= MOST:
            raise RecipeError(f"a mixture has fewer than {MOST:,} sequences, and this one would have {sum(counts):,}")
        self._orders, self._counts, self._seed = orders, counts, np.uint64(seed)
        #: sequences of the mixture
        self.total = sum(counts)
        self._largest_first = sorted(range(len(counts)), key=lambda part: (-counts[part], part))

    def places(self, positions: Ints) -> tuple[Ints, Ints, Ints]:
        """Return parts (m), their shards (m) and the sequences in them (m) that are read at ascending positions (m)."""
        parts, numbers = self.turns(positions)
        shards, rows = np.empty_like(parts), np.empty_like(parts)
        for part, order in enumerate(self._orders):
            of_part = np.flatnonzero(parts == part)
            shards[of_part], rows[of_part] = order.places(numbers[of_part])
        return parts, shards, rows

    def turns(self, positions: Ints) -> tuple[Ints, Ints]:
        """Return the part (m) whose turn it is at positions (m), and how many turns it had before (m)."""
        blocks, found = np.unique(positions // BLOCK, return_inverse=True)
        block, inside = np.divmod(np.arange(len(blocks) * BLOCK), BLOCK)
        place = blocks[block] * BLOCK + inside
        block, place = block[place < self.total], place[place < self.total]  # the last block may not be whole
        parts, numbers = self._even(place)
        keys = shuffle_keys(self._seed, np.stack([place, np.zeros_like(place)], axis=1).astype(np.uint64))
        shuffled = parts[np.lexsort((keys, block))]
        in_order = np.empty_like(numbers)
        in_order[np.lexsort((shuffled, block))] = numbers[np.lexsort((parts, block))]
        at = found * BLOCK + positions % BLOCK
        return shuffled[at], in_order[at]

    def _even(self, place: Ints) -> tuple[Ints, Ints]:
        """Return `turns` at even distances, before blocks are shuffled."""
        parts, numbers = np.empty_like(place), np.empty_like(place)
        left, total = np.arange(len(place)), self.total
        for part in self._largest_first:
            before = _share(self._counts[part], total, place)
            now = _share(self._counts[part], total, place + 1) > before
            parts[left[now]], numbers[left[now]] = part, before[now]
            left, place = left[~now], (place - before)[~now]
            total -= self._counts[part]
        return parts, numbers


def _share(count: int, total: int, place: Ints) -> Ints:
    """Return floor(count * place / total) (m), for numbers below `MOST`, whose products may be too large."""
    high, low = np.divmod(place, 1 << _BITS)
    whole, rest = np.divmod(count * high, total)
    share: Ints = (whole << _BITS) + ((rest << _BITS) + count * low) // total
    return share
