"""Documents that earlier runs kept, brought in where they share a bucket with a document of this run.

Their keys lie in files sorted by key, one for each key range. Only keys that this run has too are taken from them, row
group by row group, and only the shards that these lead to take part in the steps that follow, as if they were shards of
this run. Documents that were kept before are never paired with each other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from gristmill.operators import columns
from gristmill.operators.runs import is_first
from gristmill.pipelines.decide.earlier import EarlierShard
from gristmill.pipelines.decide.fuzzy.keys import KEYS
from gristmill.pipelines.decide.shards import SurvivingShard
from gristmill.pipelines.exchange.shuffle import Exchange
from gristmill.pipelines.storage import files
from gristmill.pipelines.store.fuzzy_index import CLUSTER, SIGNATURE, GenerationFiles, HeldShard, Index

#: Each new document of a bucket is compared with at most this many of earlier runs, those of the smallest addresses.
MET = 16


@dataclass(frozen=True)
class KeptShard:
    """The part of a shard that an earlier run kept: a `ShardColumns` of its signatures and clusters."""

    held: HeldShard
    column: str  #: name of the signatures in this run

    @property
    def ordinal(self) -> int:
        """Return the shard's number in the registry."""
        return self.held.ordinal

    @property
    def rows(self) -> int:
        """Return the number of its documents that were kept."""
        return self.held.documents

    @property
    def schema(self) -> pa.Schema:
        """Return every column there is."""
        with files.open_table(self.held.url) as file:
            stored = pq.read_schema(file)
        row, signature = (columns.ROW, columns.TYPES[columns.ROW]), (self.column, stored.field(SIGNATURE).type)
        return pa.schema([row, stored.field(CLUSTER), signature])

    def read(self, names: Sequence[str]) -> pa.Table:
        """Return columns of the documents that were kept."""
        stored = {columns.ROW: columns.ADDRESS, self.column: SIGNATURE}
        table = files.read_table(self.held.url, columns=[stored.get(name, name) for name in names])
        arrays = dict(zip(names, table.columns, strict=True))
        if columns.ROW in arrays:
            addresses = np.asarray(arrays[columns.ROW])
            arrays[columns.ROW] = pa.array(addresses.astype(np.uint32))  # the lower half of an address is the row
        return pa.table(arrays)


@dataclass(frozen=True)
class History:
    """The documents that earlier runs kept."""

    generations: tuple[GenerationFiles, ...]
    held: Mapping[int, HeldShard]  #: by ordinal
    earlier: Sequence[EarlierShard] = ()  #: what they were measured by, where a rule looks back at that

    @classmethod
    def of(cls, index: Index, earlier: Sequence[EarlierShard] = ()) -> History:
        """Return the documents that an index holds."""
        return cls(tuple(map(index.files_of, index.generations)), index.held, earlier)

    def shard(self, ordinal: int, column: str) -> SurvivingShard:
        """Return a shard that earlier runs decided, less what they dropped; its signatures go by the name `column`."""
        return SurvivingShard(KeptShard(self.held[ordinal], column))


@dataclass(frozen=True)
class Meetings:
    """The search for earlier documents that share a bucket with one of this run. `find` runs for each key range."""

    generations: tuple[GenerationFiles, ...]
    keys: Exchange  #: of this run's documents
    senders: Sequence[int]  #: ordinals of their shards
    met: Exchange  #: KEYS of earlier documents, kept by key range: by key, then address
    most: int  #: the largest number of them in a bucket

    def find(self, partition: int) -> list[int]:
        """Write down the earlier documents in the buckets of a key range; return the ordinals of their shards."""
        wanted_keys = np.unique(np.asarray(self.keys.receive(self.senders, partition)["key"]))
        urls = [url for at in self.generations for url in at.keys_within(partition, self.keys.partitions)]
        table = pa.concat_tables([KEYS.empty_table(), *(_matching(url, wanted_keys, self.most) for url in urls)])
        keys, addresses = (np.asarray(table[name]) for name in KEYS.names)
        order = np.lexsort((addresses, keys))
        keys, addresses = keys[order], addresses[order]
        starts = np.flatnonzero(is_first(keys))
        place = np.arange(len(keys)) - np.repeat(starts, np.diff(np.append(starts, len(keys))))
        few = place < self.most
        self.met.keep(partition, pa.table([pa.array(keys[few]), pa.array(addresses[few])], schema=KEYS))
        shards: list[int] = np.unique(addresses[few] >> np.uint64(columns.ROW_BITS)).tolist()
        return shards

    def pairs(self, partition: int, new: pa.Table) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
        """Return pairs (smaller addresses, m; larger, m) of new documents (KEYS) of a key range with earlier ones."""
        met = self.met.receive([partition], 0)
        bounds = [np.searchsorted(np.asarray(met["key"]), np.asarray(new["key"]), side) for side in ("left", "right")]
        old = np.asarray(met["address"])[_ranges(*bounds)]
        addresses = np.repeat(np.asarray(new["address"]), bounds[1] - bounds[0])
        return np.minimum(old, addresses), np.maximum(old, addresses)


def _matching(url: str, wanted: NDArray[np.uint64], most: int) -> pa.Table:
    """Return rows of a key file by wanted keys (distinct, ascending): of each row group the first `most` of a key."""
    tables = []
    with files.open_table(url) as file:
        parquet = pq.ParquetFile(file)
        for group in range(parquet.num_row_groups):
            limits = parquet.metadata.row_group(group).column(0).statistics
            if limits is None:  # of no rows
                continue
            first = np.searchsorted(wanted, np.uint64(limits.min))
            end = np.searchsorted(wanted, np.uint64(limits.max), "right")
            if first == end:
                continue
            rows = parquet.read_row_group(group, use_threads=False)
            keys = np.asarray(rows["key"])
            starts = np.searchsorted(keys, wanted[first:end])
            ends = np.minimum(np.searchsorted(keys, wanted[first:end], "right"), starts + most)
            tables.append(rows.take(pa.array(_ranges(starts, ends))))
    return pa.concat_tables([KEYS.empty_table(), *tables])


def _ranges(starts: NDArray[np.int64], ends: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return all whole numbers from starts[i] to ends[i] - 1, one i after the other."""
    lengths = ends - starts
    before = np.cumsum(lengths) - lengths
    return np.repeat(starts - before, lengths) + np.arange(lengths.sum())
