"""Settlement of components: the documents that survive, and the survivor to which each other one loses.

The members of a component meet in one partition. In the order of the keep-policy each is compared with the survivors so
far; it loses to the first that is similar enough, or survives. So a document is dropped only for one that is itself
that similar: a chain of similar documents drops nothing by being a chain. Documents that an earlier run kept come
first, and stay.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from gristmill.operators.arrays import partition_of
from gristmill.operators.kernels.candidates import hash_pairs
from gristmill.operators.rules.keep import rank_column, ranks
from gristmill.operators.runs import is_first
from gristmill.pipelines.decide.fuzzy.clusters import CLUSTERED, LARGEST, Cluster, histogram
from gristmill.pipelines.decide.fuzzy.components import Members
from gristmill.pipelines.decide.fuzzy.similarity import Evidence, similarities
from gristmill.pipelines.decide.shards import SurvivingShard, addresses_of
from gristmill.pipelines.exchange.shuffle import Exchange, shard_of
from gristmill.pipelines.store.fuzzy_index import CLUSTER

#: Survivors of a component that others are compared with; a document unlike all of them survives without more.
COMPARED = 256
#: The weight of a member with its evidence, in rows of a partition.
MEMBER_FACTOR = 32


@dataclass(frozen=True)
class Settled:
    """The result of settling one partition."""

    dropped: int
    largest: tuple[Cluster, ...]
    sizes: Counter[int]  #: as `histogram` gives them


@dataclass(frozen=True)
class Settlement:
    """The settlement of components. `send` runs once for each shard, then `settle` for each partition."""

    evidence: Evidence
    reach: float  #: the similarity from which on a document loses to a survivor
    keep: str  #: the keep-policy
    ordinals: NDArray[np.int64]  #: of the shards, ascending
    members: Members
    gathered: Exchange  #: members with rank and evidence, from the shards to the partitions of their roots
    settled: Exchange  #: CLUSTERED, from the partitions to the shards
    earlier: frozenset[int] = frozenset()  #: ordinals of shards that earlier runs decided

    def send(self, shard: SurvivingShard) -> int:
        """Send the members in a shard, ranked and with their evidence; return their number."""
        addresses, roots = self.members.of(int(np.searchsorted(self.ordinals, shard.ordinal)))
        if not len(addresses):
            self.gathered.send(shard.ordinal, self.gathered.schema.empty_table(), np.zeros(0, np.int64))
            return 0
        is_new = shard.ordinal not in self.earlier
        keep, names = (self.keep, []) if is_new else ("first", [CLUSTER])
        documents = shard.read([*names, *filter(None, [rank_column(keep)])])
        documents = documents.take(pa.array(np.searchsorted(addresses_of(documents), addresses)))
        unranked, rank = ranks(keep, documents)
        clusters = addresses if is_new else np.asarray(documents[CLUSTER])
        columns = (roots, np.full(len(roots), is_new), unranked, rank, addresses, clusters)
        values = [pa.array(column) for column in columns]
        table = pa.table([*values, self.evidence.of(shard, addresses)], schema=self.gathered.schema)
        self.gathered.send(shard.ordinal, table, partition_of(hash_pairs(roots, roots), self.gathered.partitions))
        return len(addresses)

    def settle(self, partition: int) -> Settled:
        """Settle the components of a partition, and send the outcome to the shards."""
        table = self.gathered.receive(self.ordinals.tolist(), partition)
        order = np.lexsort([np.asarray(table[name]) for name in ("address", "rank", "unranked", "new", "root")])
        roots, new, addresses, clusters = (
            np.asarray(table[name])[order] for name in ("root", "new", "address", "cluster")
        )
        values = table["evidence"].combine_chunks().take(pa.array(order))
        survivors, similarity = _settle(self.evidence, self.reach, roots, new, values)
        firsts = np.flatnonzero(is_first(roots))
        sizes = np.diff(np.append(firsts, len(roots)))
        clusters = np.where(np.repeat(new[firsts], sizes), roots, clusters[survivors])
        arrays = [
            addresses,
            clusters,
            np.repeat(sizes, sizes).astype(np.uint32),
            addresses[survivors],
            similarity.astype(np.float32),
        ]
        outcome = pa.table([pa.array(column) for column in arrays], schema=CLUSTERED)
        self.settled.send(partition, outcome, shard_of(self.ordinals, addresses))
        dropped = int((survivors != np.arange(len(survivors))).sum())
        names = clusters[firsts]
        top = np.lexsort((names, -sizes))[:LARGEST]
        largest = [Cluster(*pair) for pair in zip(names[top].tolist(), sizes[top].tolist(), strict=True)]
        return Settled(dropped, tuple(largest), histogram(sizes))

    def remove(self) -> None:
        """Remove the files that settling read; those sent to the shards stay."""
        self.members.exchange.remove()
        self.gathered.remove()


def gathered_schema(evidence: Evidence) -> pa.Schema:
    """Return the schema of members with their order and evidence."""
    order = [("root", pa.uint64()), ("new", pa.bool_()), ("unranked", pa.bool_()), ("rank", pa.uint64())]
    return pa.schema([*order, ("address", pa.uint64()), ("cluster", pa.uint64()), ("evidence", evidence.type)])


def _settle(
    evidence: Evidence, reach: float, roots: NDArray[np.uint64], new: NDArray[np.bool_], values: pa.Array
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return the survivor (n, a row; its own for a survivor) of each member (n), and the similarity to it (n).

    Members of a component are together, those that are not new first, then in the order of the keep-policy. All
    components are settled at once: of the members that no survivor has beaten, the first of each component is its next
    survivor. Members that are not new are compared with nothing before them.
    """
    survivors, similarity = np.arange(len(roots)), np.ones(len(roots))
    rows = np.arange(len(roots))
    for _ in range(COMPARED):
        rows = rows[_open(roots[rows], new[rows])]
        if not len(rows):
            break
        first = is_first(roots[rows])
        next_survivor, others = rows[first][np.cumsum(first) - 1][~first], rows[~first]
        compared = np.flatnonzero(new[others])
        scores = similarities(evidence, values, next_survivor[compared], others[compared])
        lost, scores = compared[scores >= reach], scores[scores >= reach]
        survivors[others[lost]], similarity[others[lost]] = next_survivor[lost], scores
        rows = np.delete(others, lost)
    return survivors, similarity


def _open(roots: NDArray[np.uint64], new: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return a mask of the members (n) whose component has a new one left: the last of the component is new then."""
    last = np.roll(is_first(roots), -1)  # the first of all stands for the end behind the last
    return np.repeat(new[last], np.diff(np.flatnonzero(last), prepend=-1))
