"""Connected components of the verified pairs: in memory where they fit, over the exchange where they do not.

Both ways name a component by the smallest address in it, so both give the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from gristmill.operators.kernels.union_find import smallest_members
from gristmill.pipelines.decide.fuzzy import distributed_components
from gristmill.pipelines.decide.fuzzy.pairs import pair_arrays
from gristmill.pipelines.engine.base import Engine, run_all
from gristmill.pipelines.exchange.shuffle import Exchange, shard_of
from gristmill.pipelines.storage import files

MEMBERS = pa.schema([("address", pa.uint64()), ("root", pa.uint64())])


@dataclass(frozen=True)
class Members:
    """Documents that have an edge, with the smallest address of their component, by shard."""

    exchange: Exchange
    senders: Sequence[int]
    documents: int

    def of(self, position: int) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
        """Return the addresses (m, ascending) of the members in the shard at a position, and their roots (m)."""
        table = self.exchange.receive(self.senders, position).sort_by("address")
        return np.asarray(table["address"]), np.asarray(table["root"])


def find_components(
    ordinals: NDArray[np.int64], edges: Exchange, count: int, budget: int, engine: Engine, folder: str
) -> Members:
    """Find the components of `count` edges (PAIRS, kept by the shards); in memory up to `budget` edges."""
    members = Exchange(files.join(folder, "members"), len(ordinals), MEMBERS)
    if count <= budget:
        senders = range(1)
        union = partial(_unite, ordinals, edges, members)
        return Members(members, senders, sum(run_all(engine, union, senders)))
    return Members(*distributed_components.send_members(ordinals, edges, count, members, engine, folder))


def _unite(ordinals: NDArray[np.int64], edges: Exchange, members: Exchange, sender: int) -> int:
    """Send the members of all components to their shards; return their number."""
    left, right = pair_arrays(edges.receive(ordinals.tolist(), 0))
    nodes = np.unique(np.concatenate([left, right]))  # in order: the smallest node is the smallest address
    roots = nodes[smallest_members(len(nodes), np.searchsorted(nodes, left), np.searchsorted(nodes, right))]
    members.send(sender, pa.table([pa.array(nodes), pa.array(roots)], schema=MEMBERS), shard_of(ordinals, nodes))
    return len(nodes)
