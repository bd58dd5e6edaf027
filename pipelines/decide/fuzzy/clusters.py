"""The result of fuzzy deduplication: the clusters, their members by shard, counts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from gristmill.pipelines.decide.fuzzy.verification import PairSample
from gristmill.pipelines.exchange.shuffle import Exchange

#: The columns of documents that are in a cluster.
CLUSTERED = pa.schema(
    [
        ("address", pa.uint64()),
        ("cluster", pa.uint64()),  # the smallest address in it
        ("cluster_size", pa.uint32()),
        ("survivor", pa.uint64()),  # address of the document kept in its place; a survivor's own
        ("similarity", pa.float32()),  # to the survivor
    ]
)
LARGEST = 5  # clusters that the report names


class Cluster(NamedTuple):
    """Documents that are connected by similar pairs."""

    root: int  #: the smallest address
    size: int


@dataclass(frozen=True)
class Clusters:
    """The clusters of all shards, written down by shard. Picklable and small."""

    ordinals: NDArray[np.int64]  #: of the shards, ascending
    settled: Exchange  #: CLUSTERED, from the partitions to the shards
    partitions: int  #: that components were settled in
    candidates: int  #: distinct pairs that share a bucket
    edges: int  #: those of them that reached the threshold; all of them where none was compared
    clusters: int  #: of two documents or more
    dropped: int  #: documents that lose
    largest: tuple[Cluster, ...]  #: a few, largest first
    sizes: Counter[int]  #: clusters by the smallest power of two that is not below their size: 2, 4 (3 and 4), 8 ...
    sample: PairSample  #: of the compared pairs, similar or not; empty where none was compared

    def members(self, ordinal: int) -> pa.Table:
        """Return the documents of a shard that are in a cluster (CLUSTERED), ascending by address."""
        position = int(np.searchsorted(self.ordinals, ordinal))
        return self.settled.receive(range(self.partitions), position).sort_by("address")


def largest(clusters: Iterable[Cluster]) -> tuple[Cluster, ...]:
    """Return the few largest of some clusters, those with smaller roots first among equals."""
    return tuple(sorted(clusters, key=lambda cluster: (-cluster.size, cluster.root))[:LARGEST])


def histogram(sizes: NDArray[np.int64]) -> Counter[int]:
    """Return the number of clusters by size (n, two or more), rounded up to a power of two."""
    return Counter((1 << np.frexp(sizes - 1)[1].astype(np.int64)).tolist())
