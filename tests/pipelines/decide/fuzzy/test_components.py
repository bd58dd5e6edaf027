"""Connected components, in memory and over the exchange, against a search in plain Python."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gristmill.operators import columns
from gristmill.pipelines.config.tuning import tuned
from gristmill.pipelines.decide.fuzzy.components import find_components
from gristmill.pipelines.decide.fuzzy.pairs import PAIRS, pair_table
from gristmill.pipelines.engine.base import Engine
from gristmill.pipelines.engine.local import LocalEngine
from gristmill.pipelines.exchange.shuffle import Exchange, shard_of
from tests.pipelines.decide.fakes import ShufflingEngine
from tests.pipelines.decide.fuzzy import naive

ORDINALS = np.array([2, 3, 7], np.int64)


def address(node: int) -> int:
    """Nodes are dealt to the shards in turn."""
    return columns.address(int(ORDINALS[node % 3]), node)


def roots(
    pairs: Iterable[tuple[int, int]], folder: Path, budget: int, engine: Engine, partition_rows: int
) -> dict[int, int]:
    """Each address that has an edge, with the smallest of its component."""
    ends = np.array([sorted((address(a), address(b))) for a, b in pairs], np.uint64).reshape(-1, 2)
    edges = Exchange(str(folder / "edges"), 1, PAIRS)
    for i, ordinal in enumerate(ORDINALS):
        kept = ends[shard_of(ORDINALS, ends[:, 1]) == i]
        edges.keep(ordinal, pair_table(kept[:, 0], kept[:, 1]))
    with tuned(partition_rows=partition_rows):
        members = find_components(ORDINALS, edges, len(ends), budget, engine, str(folder))
    found: dict[int, int] = {}
    for i in range(3):
        there, of = members.of(i)
        assert there.tolist() == sorted(set(there.tolist()))
        assert shard_of(ORDINALS, there).tolist() == [i] * len(there)
        found |= dict(zip(there.tolist(), of.tolist(), strict=True))
    assert len(found) == members.documents
    return found


def expected(pairs: Iterable[tuple[int, int]]) -> dict[int, int]:
    edges = [(address(a), address(b)) for a, b in pairs]
    return {node: component[0] for component in naive.components(edges) for node in component}


CHAIN = [(i, i + 1) for i in range(1000)]
SHUFFLED = np.random.default_rng(0).permutation(1001).tolist()
GRAPHS = {
    "none": [],
    "chain": CHAIN,
    "chain in any order": [(SHUFFLED[a], SHUFFLED[b]) for a, b in CHAIN],
    "star": [(500, i) for i in range(1000) if i != 500],
    "cliques": [(a + k, b + k) for k in (0, 30, 60) for a in range(25) for b in range(a)],
    "two stars and a bridge": [(0, i) for i in range(2, 400, 2)] + [(999, i) for i in range(401, 800, 2)] + [(6, 999)],
}


@pytest.mark.parametrize("graph", GRAPHS)
@pytest.mark.parametrize("budget", [1, 1 << 24])
def test_shapes(graph: str, budget: int, tmp_path: Path) -> None:
    pairs = GRAPHS[graph]
    assert roots(pairs, tmp_path, budget, LocalEngine(2), 400) == expected(pairs)


@settings(max_examples=40, deadline=None)
@given(
    pairs=st.sets(st.tuples(st.integers(0, 60), st.integers(0, 60)).filter(lambda p: p[0] < p[1]), max_size=60),
    budget=st.sampled_from([0, 1 << 24]),
    partition_rows=st.sampled_from([7, 1 << 22]),
)
def test_random_graphs(
    pairs: set[tuple[int, int]], budget: int, partition_rows: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("graph")
    assert roots(pairs, folder, budget, ShufflingEngine(1), partition_rows) == expected(pairs)
