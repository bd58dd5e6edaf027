"""Comparison of signatures: band keys, equal where a whole band of lanes is, and the number of lanes that agree."""

# mypy: ignore-errors
from __future__ import annotations

import numpy as np

from gristmill.operators.kernels.compiling import kernel
from gristmill.operators.kernels.primitives import GOLDEN, SECRET_0, SECRET_1, multiply_fold


@kernel
def band_keys(signatures, bands, rows, out):
    """Write out[d, b] (uint64[n, bands]): a hash of b and of lanes b * rows to (b + 1) * rows - 1 of signature d.

    signatures: uint16[n, K], K >= bands * rows; lanes after these are left out. The band's number is in the hash, so
    that equal keys mean equal bands of the same number (but for chance, 2**-64).
    """
    for d in range(signatures.shape[0]):
        for b in range(bands):
            key = np.uint64(b + 1) * GOLDEN
            for k in range(b * rows, (b + 1) * rows):
                key = multiply_fold(key ^ np.uint64(signatures[d, k]), SECRET_1)
            out[d, b] = multiply_fold(key, SECRET_0)


@kernel
def agreements(left, right):
    """Return the number of lanes (int64[n]) that agree in left[i] and right[i] (both uint16[n, K], K < 65,536)."""
    out = np.empty(left.shape[0], np.int64)
    for i in range(left.shape[0]):
        same = np.uint16(0)  # as wide as a lane, so that the compiler counts a vector of lanes at a time
        for k in range(left.shape[1]):
            same += np.uint16(left[i, k] == right[i, k])
        out[i] = same
    return out
