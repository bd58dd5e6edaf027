"""Union-find against repeated spreading of the smallest node."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from gristmill.operators.kernels.union_find import smallest_members


@given(st.integers(1, 40), st.lists(st.tuples(st.integers(0, 39), st.integers(0, 39)), max_size=60))
def test_components(nodes, edges):
    edges = [(a % nodes, b % nodes) for a, b in edges]
    labels = list(range(nodes))
    for _ in range(nodes):
        for a, b in edges:
            labels[a] = labels[b] = min(labels[a], labels[b])
    left, right = np.array(edges, np.int64).reshape(-1, 2).T.copy()
    assert smallest_members(nodes, left, right).tolist() == labels


def test_a_long_chain_backwards():
    n = 100_000
    left = np.arange(n - 1, 0, -1)
    assert not smallest_members(n, left, left - 1).any()
