"""Connected components without holding the graph: large-star and small-star over the exchange.

Kiveris, Lattanzi, Mirrokni, Rastogi and Vassilvitskii, "Connected Components in MapReduce and Beyond", SoCC 2014, the
alternating algorithm. Every node tells its neighbours of the smallest node that it knows, until each component is a
star around its smallest. Nodes are spread over partitions by a hash; a partition holds the edges of its nodes.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from functools import partial

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from gristmill.operators.arrays import partition_of
from gristmill.operators.kernels.candidates import first_occurrences, hash_pairs
from gristmill.operators.runs import is_first
from gristmill.pipelines.decide.fuzzy.pairs import pair_arrays
from gristmill.pipelines.engine.base import Engine, run_all
from gristmill.pipelines.exchange.shuffle import Exchange, partitions_for, shard_of
from gristmill.pipelines.storage import files

#: An edge, in the partition of its node.
NEIGHBOURS = pa.schema([("node", pa.uint64()), ("neighbour", pa.uint64())])

Nodes = NDArray[np.uint64]


def send_members(
    ordinals: NDArray[np.int64], edges: Exchange, count: int, members: Exchange, engine: Engine, folder: str
) -> tuple[Exchange, Sequence[int], int]:
    """Send each node of the graph, with the smallest node of its component, to its shard.

    `edges` are `count` pairs, kept by the shards. Return the exchange to receive them from, the senders and
    the number of nodes that they sent.
    """
    partitions = range(partitions_for(2 * count))
    senders: Sequence[int] = ordinals.tolist()
    stars = Exchange(files.join(folder, "stars-0"), len(partitions), NEIGHBOURS)
    sum(run_all(engine, partial(_spread, edges, stars), senders))
    stars = stars.merged(senders, engine)
    moved = 1
    for turn in itertools.count(1):
        if not moved:
            break
        before, large = stars, Exchange(files.join(folder, f"large-{turn}"), len(partitions), NEIGHBOURS)
        stars = Exchange(files.join(folder, f"stars-{turn}"), len(partitions), NEIGHBOURS)
        moved = sum(run_all(engine, partial(_large_star, before, senders, large), partitions))
        large = large.merged(partitions, engine)
        moved += sum(run_all(engine, partial(_small_star, large, stars), partitions))
        stars = stars.merged(partitions, engine)
        before.remove()
        large.remove()
        senders = partitions
    nodes = sum(run_all(engine, partial(_send_roots, ordinals, stars, members), partitions))
    return members.merged(partitions, engine), partitions, nodes


def _spread(edges: Exchange, stars: Exchange, sender: int) -> int:
    """Send the edges that a shard kept to both their nodes."""
    return _send_both(stars, sender, *pair_arrays(edges.receive([sender], 0)))


def _large_star(stars: Exchange, senders: Sequence[int], large: Exchange, partition: int) -> int:
    """Connect the larger neighbours of each node to the smallest node it knows; return how many edges moved."""
    node, neighbour, smallest = _neighbourhoods(stars.receive(senders, partition))
    larger = neighbour > node
    _send(large, partition, neighbour[larger], smallest[larger])
    return int((smallest[larger] != node[larger]).sum())


def _small_star(large: Exchange, stars: Exchange, partition: int) -> int:
    """Connect each node and its neighbours, all smaller, to the smallest of them; return how many edges moved."""
    node, neighbour, smallest = _neighbourhoods(large.receive(range(large.partitions), partition))
    moved = neighbour != smallest
    _send_both(stars, partition, np.concatenate([node, neighbour[moved]]), np.concatenate([smallest, smallest[moved]]))
    return int(moved.sum())


def _send_roots(ordinals: NDArray[np.int64], stars: Exchange, members: Exchange, partition: int) -> int:
    """Send each node, with the centre of its star, to its shard; return the number of nodes."""
    node, _, smallest = _neighbourhoods(stars.receive(range(stars.partitions), partition))
    first = is_first(node)
    table = pa.table([pa.array(node[first]), pa.array(smallest[first])], schema=members.schema)
    members.send(partition, table, shard_of(ordinals, node[first]))
    return int(first.sum())


def _neighbourhoods(edges: pa.Table) -> tuple[Nodes, Nodes, Nodes]:
    """Return edges (n, each once, by node): node, neighbour, and the smallest of the node and all its neighbours."""
    node, neighbour = np.asarray(edges["node"]), np.asarray(edges["neighbour"])
    once = first_occurrences(node, neighbour)
    node, neighbour = node[once], neighbour[once]
    order = np.argsort(node)
    node, neighbour = node[order], neighbour[order]
    starts = np.flatnonzero(is_first(node))
    if not len(starts):
        return node, neighbour, node
    smallest = np.minimum(np.minimum.reduceat(neighbour, starts), node[starts])
    return node, neighbour, np.repeat(smallest, np.diff(np.append(starts, len(node))))


def _send(exchange: Exchange, sender: int, node: Nodes, neighbour: Nodes) -> None:
    """Send edges to the partitions of their nodes."""
    table = pa.table([pa.array(node), pa.array(neighbour)], schema=NEIGHBOURS)
    exchange.send(sender, table, partition_of(hash_pairs(node, node), exchange.partitions))


def _send_both(exchange: Exchange, sender: int, left: Nodes, right: Nodes) -> int:
    """Send edges to both their nodes; return the number of edges."""
    _send(exchange, sender, np.concatenate([left, right]), np.concatenate([right, left]))
    return len(left)
