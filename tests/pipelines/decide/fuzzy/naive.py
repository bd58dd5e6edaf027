"""Fuzzy deduplication as its definition reads, one document at a time: the oracle of the tests here."""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import Any

from gristmill.operators import columns

WHOLE, PREDECESSORS, COMPARED = 16, 4, 256

Pair = tuple[int, int]


def candidates(signatures: dict[int, Sequence[int]], bands: int, rows: int, verified: bool = True) -> set[Pair]:
    """Pairs of addresses that are compared."""
    found: set[Pair] = set()
    first_of: dict[Hashable, int] = {}
    buckets: dict[Hashable, list[int]] = defaultdict(list)
    for address in sorted(signatures):
        signature = tuple(signatures[address])
        first = first_of.setdefault((address >> columns.ROW_BITS, signature), address)
        if first != address:
            found.add((first, address))
            continue
        for band in range(bands):
            buckets[band, signature[band * rows : (band + 1) * rows]].append(address)
    for bucket in buckets.values():
        for i, j in itertools.combinations(range(len(bucket)), 2):
            near = verified and (len(bucket) <= WHOLE or j - i <= PREDECESSORS)
            if i == 0 or near:
                found.add((bucket[i], bucket[j]))
    return found


def components(edges: Iterable[Pair]) -> list[list[int]]:
    """Connected components, each ascending."""
    neighbours: dict[int, set[int]] = defaultdict(set)
    for a, b in edges:
        neighbours[a].add(b)
        neighbours[b].add(a)
    found, seen = [], set()
    for start in sorted(neighbours):
        if start in seen:
            continue
        members, todo = {start}, [start]
        while todo:
            for other in neighbours[todo.pop()] - members:
                members.add(other)
                todo.append(other)
        seen |= members
        found.append(sorted(members))
    return found


def settle(
    members: Sequence[int], rank: Callable[[int], Any], similarity: Callable[[int, int], float], threshold: float
) -> dict[int, tuple[int, float]]:
    """Address to (survivor, similarity)."""
    survivors: list[int] = []
    fate: dict[int, tuple[int, float]] = {}
    for address in sorted(members, key=lambda address: (rank(address), address)):
        fate[address] = (address, 1.0)
        for survivor in survivors[:COMPARED]:
            if similarity(survivor, address) >= threshold:
                fate[address] = (survivor, similarity(survivor, address))
                break
        if fate[address][0] == address:
            survivors.append(address)
    return fate
