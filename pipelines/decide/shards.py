"""The rules' view of a shard: its narrow columns, less the documents that earlier rules dropped.

The drops of each rule are kept in small files, one for each shard and step. A step reads the file of the step before
and writes its own under a name that depends on shard and step alone, so it can be run again, anywhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from gristmill.operators import columns
from gristmill.pipelines.exchange import shuffle_files


class ShardColumns(Protocol):
    """The measured columns of one shard, `row` (ascending), `bytes` and `tokens` among them. Picklable."""

    @property
    def ordinal(self) -> int:
        """Return the shard's number in the registry, the upper half of its documents' addresses."""
        ...

    @property
    def rows(self) -> int:
        """Return the number of its documents."""
        ...

    @property
    def schema(self) -> pa.Schema:
        """Return every column there is in this run, with its type."""
        ...

    def read(self, names: Sequence[str], /) -> pa.Table:
        """Return columns of all its documents, always in the same order."""
        ...


#: Reasons for drops. `row` counts the rows that a rule was given, or, in a file of drops, those of the shard.
LOSSES = pa.schema(
    [
        ("row", pa.int64()),
        ("condition", pa.string()),  # the clause that fired
        ("value", pa.float64()),
        ("limit", pa.float64()),
        ("survivor", pa.uint64()),  # address of the document kept in its place
    ]
)
DROPS = LOSSES.append(pa.field("rule", pa.int32()))  # position of the rule in the recipe


@dataclass(frozen=True)
class SurvivingShard:
    """The documents of a shard that the rules so far kept. `drops` is the file of those that they dropped."""

    shard: ShardColumns
    drops: str | None = None

    @property
    def ordinal(self) -> int:
        """Return the shard's ordinal."""
        return self.shard.ordinal

    def dropped(self) -> pa.Table:
        """Return the documents dropped so far (DROPS)."""
        return DROPS.empty_table() if self.drops is None else shuffle_files.read_table(self.drops)

    def read(self, names: Sequence[str]) -> pa.Table:
        """Return columns of the survivors, with their addresses as column `address`, in the shard's order."""
        wanted_names = dict.fromkeys([*names, columns.ROW])
        table = self.shard.read([name for name in wanted_names if name != columns.ADDRESS])
        rows = np.asarray(table[columns.ROW]).astype(np.uint64)
        addresses = pa.array(rows | np.uint64(columns.address(self.ordinal, 0)))
        table = table.append_column(columns.ADDRESS, addresses)
        return table if self.drops is None else table.filter(pa.array(self.kept()))

    def kept(self) -> NDArray[np.bool_]:
        """Return a mask (n) of the shard's documents: true where one is left."""
        kept = np.ones(self.shard.rows, np.bool_)
        kept[np.asarray(self.dropped()["row"])] = False
        return kept


@dataclass(frozen=True)
class Survivors:
    """The documents of all shards that the rules so far kept, and their number."""

    shards: Sequence[SurvivingShard]
    documents: int


def losses(
    rows: NDArray[np.int64],
    condition: pa.Array | None = None,
    value: pa.Array | None = None,
    limit: pa.Array | None = None,
    survivor: pa.Array | None = None,
) -> pa.Table:
    """Return a table of LOSSES; what is left out is null."""
    values = {"row": pa.array(rows), "condition": condition, "value": value, "limit": limit, "survivor": survivor}
    arrays = (pa.nulls(len(rows), f.type) if values[f.name] is None else values[f.name] for f in LOSSES)
    return pa.table(list(arrays), schema=LOSSES)


def addresses_of(documents: pa.Table) -> NDArray[np.uint64]:
    """Return the addresses (n) of documents that `SurvivingShard.read` gave."""
    return np.asarray(documents[columns.ADDRESS])


def total(column: pa.ChunkedArray) -> int:
    """Return the exact sum of a column of whole numbers; nulls count nothing."""
    return int(pc.sum(column.cast(pa.int64()), min_count=0).as_py())
