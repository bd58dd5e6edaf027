"""Exact Jaccard similarity of sets of hashes."""

# mypy: ignore-errors
from __future__ import annotations

import numpy as np

from gristmill.operators.kernels.compiling import kernel


@kernel
def jaccard_of_sets(left, left_offsets, right, right_offsets):
    """Return intersection size over union size for each of n pairs of sets; float64[n].

    Set i is left[left_offsets[i] : left_offsets[i + 1]] (uint64, sorted, distinct: as `shingle_sets` gives them), and
    likewise on the right. Two empty sets have nothing in common: 0.
    """
    out = np.zeros(left_offsets.shape[0] - 1, np.float64)
    for i in range(out.shape[0]):
        ours, theirs = left[left_offsets[i] : left_offsets[i + 1]], right[right_offsets[i] : right_offsets[i + 1]]
        common = _common(ours, theirs)
        union = ours.shape[0] + theirs.shape[0] - common
        if union > 0:
            out[i] = common / union
    return out


@kernel
def _common(left, right):
    """Count the values in both of two sorted arrays of distinct values: a merge without branches on them."""
    i, j, common = 0, 0, 0
    while i < left.shape[0] and j < right.shape[0]:
        a, b = left[i], right[j]
        common += a == b
        i += a <= b
        j += b <= a
    return common
