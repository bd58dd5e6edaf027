"""Look-up by content id, compact, of what one annotator has answered already."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from gristmill.operators.columns import CONTENT_ID
from gristmill.operators.label.contract import Rejected
from gristmill.pipelines.label.answer_rows import halves, last_of_each, sorted_order

#: States of a content id.
MISSING, ANSWERED, REPAIR, QUARANTINED = range(4)
#: Columns that a look-up is made of.
NEEDED = (CONTENT_ID, "attempt", "answer", "raw", "error", "created")
_ATTEMPT_BITS = 56  # above the microseconds of any time


class Known:
    """Content ids with their states: 17 bytes for each, in sorted arrays, and the answers that are to be repaired."""

    def __init__(self, tables: Iterable[pa.Table]) -> None:
        """Build the look-up from rows (columns NEEDED) of one annotator and revision, one table at a time."""
        parts = [_Part(table) for table in tables if table.num_rows]
        high, low, rank, state = (
            np.concatenate([np.empty(0, kind), *(getattr(part, name) for part in parts)])
            for name, kind in (("high", np.uint64), ("low", np.uint64), ("rank", np.int64), ("state", np.uint8))
        )
        order = sorted_order(high, low, rank)
        order = order[last_of_each(order, high, low)]
        self._high, self._low, self._state = high[order], low[order], state[order]
        self._rejected = {key: rejected for part in parts for key, rejected in part.rejected}

    def __len__(self) -> int:
        return len(self._state)

    def states(self, keys: pa.FixedSizeBinaryArray | pa.ChunkedArray) -> NDArray[np.uint8]:
        """Return the states (n) of content ids (n): MISSING, ANSWERED, REPAIR or QUARANTINED."""
        high, low = halves(keys)
        states = np.full(len(high), MISSING, np.uint8)
        # sorted keys are found at places close to each other, which suits the processor's caches
        order = np.argsort(high)
        high, low = high[order], low[order]
        at = np.searchsorted(self._high, high)
        looking = np.arange(len(high))
        while len(looking):
            looking = looking[at[looking] < len(self._high)]
            looking = looking[self._high[at[looking]] == high[looking]]
            found = self._low[at[looking]] == low[looking]
            states[order[looking[found]]] = self._state[at[looking[found]]]
            looking = looking[~found]
            at[looking] += 1
        return states

    def rejected(self, key: bytes) -> Rejected:
        """Return the answer that is to be repaired, of a content id in the state REPAIR; KeyError for another."""
        return self._rejected[key]


class _Part:
    """The rows of one table as arrays."""

    def __init__(self, table: pa.Table) -> None:
        table = table.filter(pc.is_valid(table[CONTENT_ID]))
        self.high, self.low = halves(table[CONTENT_ID])
        attempt = table["attempt"].to_numpy().astype(np.int64)
        self.rank = (attempt << _ATTEMPT_BITS) + table["created"].cast(pa.int64()).to_numpy()
        answered, told = (table[name].is_valid().to_numpy() for name in ("answer", "raw"))
        repairable = ~answered & told & (attempt == 1)
        self.state = np.select([answered, repairable], [ANSWERED, REPAIR], QUARANTINED).astype(np.uint8)
        chosen = table.select([CONTENT_ID, "raw", "error"]).filter(pa.array(repairable))
        self.rejected = [
            (key, Rejected(raw, error or "")) for key, raw, error in zip(*(c.to_pylist() for c in chosen), strict=True)
        ]
