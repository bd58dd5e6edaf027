"""The Huffman tree of hierarchical softmax, as fastText builds it (HierarchicalSoftmaxLoss::buildTree), ties included.

Nodes are the labels in the model's order, then the inner nodes from the leaves up; the last node is the root.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

#: fastText's count of a tree node that does not exist yet; real counts lie below it.
NO_NODE = 10**15


def huffman_tree(counts: Sequence[int]) -> NDArray[np.int64]:
    """Return the left and the right child of each inner node, int64 [labels - 1, 2].

    `counts` are those of the labels, falling. Inner node i is the node `labels + i` of the tree.
    """
    n = len(counts)
    weights = [*counts, *[NO_NODE] * (n - 1)]
    children = np.empty((n - 1, 2), np.int64)
    next_leaf, next_inner = n - 1, n
    for inner in range(n, len(weights)):
        weight = 0
        for side in (0, 1):
            if next_leaf >= 0 and weights[next_leaf] < weights[next_inner]:
                child, next_leaf = next_leaf, next_leaf - 1
            else:
                child, next_inner = next_inner, next_inner + 1
            children[inner - n, side] = child
            weight += weights[child]
        weights[inner] = weight
    return children


def path_to_leaf(counts: Sequence[int], leaf: int) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Return the inner nodes from the root to a label, counted from 0, and whether the path goes right at each."""
    n, children = len(counts), huffman_tree(counts)
    parents = {int(child): (inner, bool(side)) for (inner, side), child in np.ndenumerate(children)}
    nodes, rights, node = [], [], leaf
    while node in parents:
        inner, goes_right = parents[node]
        nodes.append(inner)
        rights.append(goes_right)
        node = n + inner
    return np.array(nodes[::-1], np.int64), np.array(rights[::-1], np.bool_)
