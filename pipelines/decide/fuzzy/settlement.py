"""Settlement: who of a component survives, and who loses to whom.

The members of a component meet in one partition. In the order of the keep-policy each is compared with the survivors so
far; it loses to the first that it is like enough, or survives. So a document is dropped only for one that is itself
that similar: a chain of look-alikes drops nothing by being a chain.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from operators.dedup.keep import rank_column, ranks
from operators.kernels.candidates import hash_pairs
from pipelines.decide.exchange import Exchange, partition_of, shard_of
from pipelines.decide.fuzzy.clusters import CLUSTERED, LARGEST, Cluster, histogram
from pipelines.decide.fuzzy.components import Members
from pipelines.decide.fuzzy.evidence import Evidence, similarities
from pipelines.decide.fuzzy.runs import is_first
from pipelines.decide.shards import SurvivingShard, addresses_of

#: Survivors of a component that others are compared with; who is unlike all of them survives uncompared with the rest.
COMPARED = 256
#: How much heavier than a row of PARTITION_ROWS a member with its evidence is.
MEMBER_FACTOR = 32


@dataclass(frozen=True)
class Settled:
    """What settling came to in one partition."""

    dropped: int
    largest: tuple[Cluster, ...]
    sizes: Counter[int]  #: as `histogram` gives them


@dataclass(frozen=True)
class Settlement:
    """How components are settled. `send` runs once for each shard, then `settle` for each partition."""

    evidence: Evidence
    reach: float  #: the similarity from which on a document loses to a survivor
    keep: str  #: the keep-policy
    ordinals: NDArray[np.int64]  #: of the shards, ascending
    members: Members
    gathered: Exchange  #: members with rank and evidence, from the shards to the partitions of their roots
    settled: Exchange  #: CLUSTERED, from the partitions to the shards

    def send(self, shard: SurvivingShard) -> int:
        """Send the members in a shard, ranked and with their evidence. Returns how many they are."""
        addresses, roots = self.members.of(int(np.searchsorted(self.ordinals, shard.ordinal)))
        if not len(addresses):
            self.gathered.send(shard.ordinal, self.gathered.schema.empty_table(), np.zeros(0, np.int64))
            return 0
        documents = shard.read(list(filter(None, [rank_column(self.keep)])))
        rows = np.searchsorted(addresses_of(documents), addresses)
        unranked, rank = ranks(self.keep, documents.take(pa.array(rows)))
        values = [pa.array(column) for column in (roots, unranked, rank, addresses)]
        table = pa.table([*values, self.evidence.of(shard, addresses)], schema=self.gathered.schema)
        self.gathered.send(shard.ordinal, table, partition_of(hash_pairs(roots, roots), self.gathered.partitions))
        return len(addresses)

    def settle(self, partition: int) -> Settled:
        """Settle the components of a partition, and tell the shards."""
        table = self.gathered.receive(self.ordinals.tolist(), partition)
        order = np.lexsort([np.asarray(table[name]) for name in ("address", "rank", "unranked", "root")])
        roots, addresses = np.asarray(table["root"])[order], np.asarray(table["address"])[order]
        values = table["evidence"].combine_chunks().take(pa.array(order))
        survivors, similarity = _settle(self.evidence, self.reach, roots, values)
        firsts = np.flatnonzero(is_first(roots))
        sizes = np.diff(np.append(firsts, len(roots)))
        told = [
            addresses,
            roots,
            np.repeat(sizes, sizes).astype(np.uint32),
            addresses[survivors],
            similarity.astype(np.float32),
        ]
        told_table = pa.table([pa.array(column) for column in told], schema=CLUSTERED)
        self.settled.send(partition, told_table, shard_of(self.ordinals, addresses))
        dropped = int((survivors != np.arange(len(survivors))).sum())
        top = np.lexsort((roots[firsts], -sizes))[:LARGEST]
        found = [Cluster(*pair) for pair in zip(roots[firsts][top].tolist(), sizes[top].tolist(), strict=True)]
        return Settled(dropped, tuple(found), histogram(sizes))

    def remove(self) -> None:
        """Remove the files that were settled; what the shards were told stays."""
        self.members.exchange.remove()
        self.gathered.remove()


def gathered_schema(evidence: Evidence) -> pa.Schema:
    """The schema of members with what settles them."""
    plain = [("root", pa.uint64()), ("unranked", pa.bool_()), ("rank", pa.uint64()), ("address", pa.uint64())]
    return pa.schema([*plain, ("evidence", evidence.type)])


def _settle(
    evidence: Evidence, reach: float, roots: NDArray[np.uint64], values: pa.Array
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """The survivor (n, a row; its own for a survivor) of each member (n, components together, each in the order of the
    keep-policy), and the similarity to it (n).

    All components at once: of the members that no survivor has beaten, the first of each component is its next one.
    """
    survivors, similarity = np.arange(len(roots)), np.ones(len(roots))
    left = np.arange(len(roots))
    for _ in range(COMPARED):
        if not len(left):
            break
        first = is_first(roots[left])
        next_survivor, others = left[first][np.cumsum(first) - 1][~first], left[~first]
        found = similarities(evidence, values, next_survivor, others)
        lost = found >= reach
        survivors[others[lost]], similarity[others[lost]] = next_survivor[lost], found[lost]
        left = others[~lost]
    return survivors, similarity
