"""Groups of rows with equal 128-bit keys: the row that survives, and the rows that lose to it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Candidates:
    """Rows (n) that may be copies of each other. Of equal keys the smallest (unranked, rank, address) survives."""

    keys: NDArray[np.uint64]  #: n x 2
    unranked: NDArray[np.bool_]  #: nothing is known to prefer it by
    ranks: NDArray[np.uint64]  #: smaller is better
    addresses: NDArray[np.uint64]  #: distinct

    def take(self, rows: NDArray[np.int64]) -> Candidates:
        """Return some of the rows."""
        return Candidates(self.keys[rows], self.unranked[rows], self.ranks[rows], self.addresses[rows])


def group_copies(
    candidates: Candidates, contested: NDArray[np.bool_] | None = None
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return rows whose key another row has, best first in each group and groups together, and where each group starts.

    Returns rows (m) and starts (g + 1 bounds into rows). Rows with a key of their own are left out. A row that is not
    `contested` (n; by default all are) is better than any that is.
    """
    shared = _repeated(candidates.keys[:, 0])
    subset = candidates.take(shared)
    low, high = subset.keys[:, 0], subset.keys[:, 1]
    first = np.zeros(len(shared), np.bool_) if contested is None else contested[shared]
    order = np.lexsort((subset.addresses, subset.ranks, subset.unranked, first, high, low))
    low, high = low[order], high[order]
    is_start = np.ones(len(order) + 1, np.bool_)
    is_start[1:-1] = (low[1:] != low[:-1]) | (high[1:] != high[:-1])
    alone = is_start[:-1] & is_start[1:]  # half a key may be shared by chance
    starts = np.flatnonzero(is_start[:-1][~alone])
    rows = shared[order[~alone]]
    return rows, np.append(starts, len(rows))


def _repeated(words: NDArray[np.uint64]) -> NDArray[np.int64]:
    """Return rows whose word occurs more than once: most rows are dismissed by one sort of one word."""
    order = np.argsort(words, kind="stable")
    same = words[order][1:] == words[order][:-1]
    repeated = np.zeros(len(words), np.bool_)
    repeated[order[1:][same]] = True
    repeated[order[:-1][same]] = True
    return np.flatnonzero(repeated)
