"""The matrices of a fastText classifier: sums of rows where they lie in the memory-mapped model."""

# mypy: ignore-errors
from __future__ import annotations

from typing import NamedTuple

import numpy as np

from gristmill.operators.kernels.compiling import kernel
from gristmill.operators.kernels.primitives import load_float32, prefetch

#: Rows are prefetched this far ahead of the sum: by the time that they are added they have come from memory.
AHEAD = 16
#: Sums that a dot product keeps side by side.
LANES = 8
_CACHE_LINE = 64


class Matrix(NamedTuple):
    """A matrix in the memory-mapped model: float32, or codes of a product quantiser (Jégou et al. 2011).

    A quantised row is `stride` codes of one byte, each naming one of 256 centroids for its own stretch of dimensions.
    """

    file: np.ndarray  #: uint8, the memory-mapped model
    start: int  #: byte where the rows begin
    stride: int  #: bytes of one row
    quantised: bool
    centroids: np.ndarray  #: float32, 256 x (stretch of the first code), 256 x (of the second), ...
    stretch: int  #: dimensions that one code stands for; the last code takes what remains
    norms: np.ndarray  #: float32 [256], the factors of rows where norms were quantised on their own; else empty
    norm_start: int  #: byte where the codes of the rows' norms begin


@kernel
def add_rows(matrix, rows, n, total):
    """Add rows[:n] to `total` in their order."""
    file, start, stride, dim = matrix.file, matrix.start, matrix.stride, total.shape[0]
    for i in range(min(AHEAD, n)):
        prefetch_row(file, start + rows[i] * stride, stride)
    if matrix.quantised:
        for i in range(n):
            if i + AHEAD < n:
                prefetch_row(file, start + rows[i + AHEAD] * stride, stride)
            add_row(matrix, rows[i], total)
        return
    i = 0
    while i + 4 <= n:
        # Four rows each time that the sum is loaded and stored, yet added one after the other.
        for ahead in range(i + AHEAD, min(i + AHEAD + 4, n)):
            prefetch_row(file, start + rows[ahead] * stride, stride)
        a, b = start + rows[i] * stride, start + rows[i + 1] * stride
        c, d = start + rows[i + 2] * stride, start + rows[i + 3] * stride
        for k in range(dim):
            two = (total[k] + load_float32(file, a + 4 * k)) + load_float32(file, b + 4 * k)
            total[k] = (two + load_float32(file, c + 4 * k)) + load_float32(file, d + 4 * k)
        i += 4
    while i < n:
        add_row(matrix, rows[i], total)
        i += 1


@kernel
def add_row(matrix, row, total):
    """Add one row to `total`: its numbers, or the centroids that its codes name times its norm."""
    start = matrix.start + row * matrix.stride
    if not matrix.quantised:
        for k in range(total.shape[0]):
            total[k] += load_float32(matrix.file, start + 4 * k)
        return
    norm = np.float32(1)
    if matrix.norms.shape[0] > 0:
        norm = matrix.norms[matrix.file[matrix.norm_start + row]]
    for part in range(matrix.stride):
        first = part * matrix.stretch
        width = min(matrix.stretch, total.shape[0] - first)
        centroid = 256 * first + np.int64(matrix.file[start + part]) * width
        for k in range(width):
            total[first + k] += norm * matrix.centroids[centroid + k]


@kernel
def prefetch_row(file, start, stride):
    """Prefetch the first cache lines of a row; the processor fetches the others as it sees them read in turn."""
    prefetch(file, start)
    prefetch(file, start + min(_CACHE_LINE, stride - 1))


@kernel
def dense_rows(matrix, rows):
    """Fill in the first rows, float32 [n, dim], of a matrix."""
    for row in range(rows.shape[0]):
        rows[row] = np.float32(0)
        add_row(matrix, row, rows[row])


@kernel
def project_rows(matrix, weights, first, scores):
    """Fill in the products, float32 [n, m], of the n rows from `first` on with weights, float32 [m, dim]."""
    row = np.empty(weights.shape[1], np.float32)
    for r in range(scores.shape[0]):
        row[:] = np.float32(0)
        add_row(matrix, first + r, row)
        for i in range(scores.shape[1]):
            scores[r, i] = dot_product(weights[i], row)


@kernel
def dot_product(a, b):
    """Return the product of two float32 vectors, summed in lanes: vectorised, and the same on every processor."""
    lanes = np.zeros(LANES, np.float32)
    whole = a.shape[0] - a.shape[0] % LANES
    for k in range(0, whole, LANES):
        for lane in range(LANES):
            lanes[lane] += a[k + lane] * b[k + lane]
    product = np.float64(0)
    for lane in range(LANES):
        product += lanes[lane]
    for k in range(whole, a.shape[0]):
        product += np.float64(a[k]) * np.float64(b[k])
    return product
