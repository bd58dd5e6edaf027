"""Candidate pairs: documents that share a bucket, found key range by key range.

A bucket holds the documents with one band key. It lies in one partition, however many documents it has.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from gristmill.operators.kernels.candidates import bucket_pairs, first_occurrences, may_repeat
from gristmill.operators.runs import is_first
from gristmill.pipelines.decide.fuzzy.history import Meetings
from gristmill.pipelines.decide.fuzzy.pairs import pair_arrays, pair_table
from gristmill.pipelines.decide.shards import SurvivingShard
from gristmill.pipelines.exchange.shuffle import Exchange, shard_of

#: The largest bucket of which all pairs are candidates.
WHOLE = 16
#: In a larger bucket, each document is compared with the first and with this many documents before it.
PREDECESSORS = 4


@dataclass(frozen=True)
class CandidatePairs:
    """Pairs that share a bucket, on their way from the key ranges to the shards of their smaller addresses."""

    ordinals: NDArray[np.int64]  #: of the shards, ascending: this run's, and those of earlier runs that are met
    senders: NDArray[np.int64]  #: ordinals of this run's shards, ascending
    keys: Exchange  #: from the shards to the key ranges
    copies: Exchange  #: pairs with the same signature, which each shard kept for itself
    found: Exchange  #: from the key ranges to the shards
    verified: bool  #: true where they are to be compared
    meetings: Meetings | None = None  #: with documents that earlier runs kept

    def find(self, partition: int) -> int:
        """Send the pairs of one key range; return their number.

        Where pairs are compared, an edge is lost with each pair that is left out. Where they are not, the pairs of a
        bucket with its first document connect it as well as all pairs do.
        """
        table = self.keys.receive(self.senders.tolist(), partition)
        addresses, starts = _buckets(np.asarray(table["key"]), np.asarray(table["address"]))
        left, right = bucket_pairs(addresses, starts, *((WHOLE, PREDECESSORS) if self.verified else (0, 0)))
        if self.meetings is not None:
            met = self.meetings.pairs(partition, table)
            left, right = np.concatenate([left, met[0]]), np.concatenate([right, met[1]])
        self.found.send(partition, pair_table(left, right), shard_of(self.ordinals, left))
        return len(left)

    def of(self, shard: SurvivingShard) -> pa.Table:
        """Return the pairs (PAIRS) whose smaller address is in a shard, each once."""
        shared = self.found.receive(range(self.keys.partitions), self.position(shard))
        own = [shard.ordinal] if shard.ordinal in self.senders else []
        pairs = pa.concat_tables([self.copies.receive(own, 0), shared]).combine_chunks()
        return pairs.filter(pa.array(first_occurrences(*pair_arrays(pairs)))).combine_chunks()

    def connect(self, edges: Exchange, shard: SurvivingShard) -> int:
        """Write down all pairs of a shard as edges; return their number."""
        pairs = self.of(shard)
        edges.keep(shard.ordinal, pairs)
        return int(pairs.num_rows)

    def remove(self) -> None:
        """Remove the files that the edges were made of."""
        self.copies.remove()
        self.found.remove()
        if self.meetings is not None:
            self.meetings.met.remove()

    def position(self, shard: SurvivingShard) -> int:
        """Return the position of a shard among all: its partition in an exchange with the shards."""
        return int(np.searchsorted(self.ordinals, shard.ordinal))


def _buckets(keys: NDArray[np.uint64], addresses: NDArray[np.uint64]) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
    """Return addresses (m) of the documents that share a key, bucket by bucket, and the buckets' bounds (b + 1).

    Rows came in the order of their addresses, and stay so within a bucket.
    """
    shared = may_repeat(keys)
    keys, addresses = keys[shared], addresses[shared]
    order = np.argsort(keys, kind="stable")
    keys, addresses = keys[order], addresses[order]
    return addresses, np.append(np.flatnonzero(is_first(keys)), len(keys))
