"""Connected components by union-find (Tarjan and van Leeuwen 1984), with path halving."""

# mypy: ignore-errors
from __future__ import annotations

import numpy as np

from gristmill.operators.kernels.compiling import kernel


@kernel
def smallest_members(nodes, left, right):
    """Return the smallest node (int64[nodes]) of each node's component, by the edges (left, right: int64[m]).

    The smaller root always becomes the parent: trees are as deep as path halving leaves them, and no second pass is
    needed to find the smallest.
    """
    parents = np.arange(nodes)
    for e in range(left.shape[0]):
        a, b = _root(parents, left[e]), _root(parents, right[e])
        parents[max(a, b)] = min(a, b)
    for i in range(nodes):
        parents[i] = parents[parents[i]]  # a parent is smaller than its child, so it has its root already
    return parents


@kernel
def _root(parents, node):
    while parents[node] != node:
        parents[node] = parents[parents[node]]
        node = parents[node]
    return node
