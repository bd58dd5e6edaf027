"""Clusters of similar texts: hashed n-gram vectors, and mini-batch k-means over them.

Distances are computed on whole numbers that float32 holds exactly: a point is of length SCALE, rounded, and no product
or sum of coordinates reaches 2**24. So a matrix product has the same bits whatever the order of its sums, the number of
threads and the machine, and clusters depend on nothing but the texts, their order and the seed.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from gristmill.operators.kernels.buffers import text_buffers
from gristmill.operators.kernels.ngram_vectors import hash_ngrams
from gristmill.operators.kernels.noise import uniform
from gristmill.operators.kernels.shingles import alphabet

SCALE = 2000
#: Texts of a mini-batch, and how many of those there are. Sculley's figures converge within a hundred batches of 1000.
BATCH, ITERATIONS = 1024, 100
#: The first centres are sought among this many texts, and no fewer than this many for each cluster.
SEEDS, SEEDS_PER_CLUSTER = 4096, 4
#: Standard scores are rounded to multiples of 1 / _SCORE before their squares are added up: exactly, in float64.
_SCORE = 64
#: Distances held at once, 16 MB.
_DISTANCES = 1 << 22

Vectors = NDArray[np.float32]


def ngram_vectors(texts: pa.Array, dimensions: int = 256, ngram: int = 1) -> Vectors:
    """Return vectors (n, dimensions) of n texts (string or large_string): of length 1, zero without words.

    Runs of one to `ngram` words, lower-cased, hashed with a sign (Weinberger et al. 2009, section 2); where a script
    has no spaces between words, a character is one. A null is a text without words. In few dimensions pairs of words
    drown the words: 20 clusters of 4,000 news texts on four topics have a purity of 0.37 with them, 0.46 without.
    """
    vectors = np.empty((len(texts), dimensions), np.float32)
    hash_ngrams(*text_buffers(texts), ngram, alphabet(), vectors)
    return vectors


def cluster(vectors: Vectors, rows: NDArray[np.int64], clusters: int, seed: int) -> NDArray[np.int64]:
    """Return the cluster (m), 0 to `clusters` - 1 at most, of each of m > 0 rows of `vectors` (n, d).

    Vectors are of length 1 or zero. Mini-batch k-means (Sculley 2010, "Web-Scale K-Means Clustering", Algorithm 1) from
    a start by greedy k-means++ (Arthur and Vassilvitskii 2007, sections 2.2 and 7). Batches are slices of `rows`, which
    must therefore be in a random order. A centre moves to a text at a rate of one over the number of texts that it was
    given, which makes it their mean: it is computed as that. There are fewer clusters than asked for where there are
    fewer different vectors. Large topics are split before small ones have a cluster of their own: ask for many more
    clusters than topics.
    """
    seeds = rows[: max(SEEDS, SEEDS_PER_CLUSTER * clusters)]
    space = Space.of(vectors, seeds)
    centres = _first_centres(space.points(seeds), clusters, seed)
    sums, counts = np.zeros(centres.shape), np.zeros(len(centres))
    for batch in _batches(rows):
        points = space.points(batch)
        _add_by_group(points, nearest(points, centres), sums, counts)
        seen = counts > 0
        centres[seen] = np.rint(sums[seen] / counts[seen, np.newaxis])
    step = max(1, _DISTANCES // len(centres))
    slices = [rows[start : start + step] for start in range(0, len(rows), step)]
    return np.concatenate([nearest(space.points(chunk), centres) for chunk in slices])


class Space(NamedTuple):
    """The space in which distances between texts are taken: standard scores of their coordinates.

    The words that every text has lie on few coordinates, whose spread would decide all clusters. With standard scores
    20 clusters of 4,000 news texts on four topics have a purity of 0.46, without them of 0.38.
    """

    vectors: Vectors  #: (n, d)
    mean: Vectors  #: (d), in multiples of 1 / SCALE
    rate: Vectors  #: (d), one over the standard deviation, zero where there is none

    @classmethod
    def of(cls, vectors: Vectors, rows: NDArray[np.int64]) -> Space:
        """Take mean and standard deviation over some rows. Sums are of whole numbers, so exact."""
        points = np.rint(vectors[rows] * np.float32(SCALE)).astype(np.float64)
        sums, squares = points.sum(axis=0), (points * points).sum(axis=0)
        variance = (len(rows) * squares - sums * sums) / len(rows) ** 2
        rate = np.divide(1, np.sqrt(variance), out=np.zeros(len(sums)), where=variance > 0)
        return cls(vectors, (sums / len(rows)).astype(np.float32), rate.astype(np.float32))

    def points(self, rows: NDArray[np.int64]) -> Vectors:
        """Return some rows (m, d) as whole numbers, of length SCALE before they are rounded."""
        scores = (np.rint(self.vectors[rows] * np.float32(SCALE)) - self.mean) * self.rate
        scores = np.rint(scores * np.float32(_SCORE))
        squares = np.einsum("ij,ij->i", scores, scores, dtype=np.float64)
        lengths = np.sqrt(np.maximum(squares, 1)).astype(np.float32)
        points: Vectors = np.rint(scores * (np.float32(SCALE) / lengths)[:, np.newaxis])
        return points


def _batches(rows: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
    """Yield ITERATIONS slices of at most BATCH of the rows; positions wrap around at the end."""
    for i in range(ITERATIONS):
        start = i * BATCH % len(rows)
        yield rows[start : start + BATCH]


def _first_centres(points: Vectors, clusters: int, seed: int) -> Vectors:
    """Choose the first centres by greedy k-means++ over points (n, d).

    Of a few points drawn with chances proportional to the squared distance to the centres so far, the next centre is
    the one that leaves the least squared distance in all.
    """
    candidates = 2 + int(np.log(clusters))
    chances = _chances(seed, clusters, candidates)
    centre_rows: list[int] = []
    distances = np.ones(len(points))
    for i in range(clusters):
        weights = np.cumsum(distances)
        if weights[-1] == 0:
            break
        candidate_rows = np.searchsorted(weights, chances[i] * weights[-1], side="right")
        candidate_distances = squared_distances(points, points[candidate_rows])
        if centre_rows:
            candidate_distances = np.minimum(candidate_distances, distances)
        best = int(candidate_distances.sum(axis=1).argmin())
        centre_rows.append(int(candidate_rows[best]))
        distances = candidate_distances[best]
    return points[centre_rows]


def _chances(seed: int, *shape: int) -> NDArray[np.float64]:
    """Return numbers strictly between 0 and 1 from a seed."""
    counters = np.arange(2 * np.prod(shape), dtype=np.uint64).reshape(-1, 2)
    counters.flags.writeable = False  # as ids are: else the kernel is compiled for both
    chances: NDArray[np.float64] = uniform(np.uint64(seed), counters).reshape(shape)
    return chances


def squared_distances(points: Vectors, centres: Vectors) -> NDArray[np.float64]:
    """Return squared distances from each of k centres (k, d) to each point (n, d), of `Space.points`; exact."""
    squares = np.einsum("ij,ij->i", points, points)
    products = (centres @ points.T).astype(np.float64)
    distances: NDArray[np.float64] = squares - 2 * products + np.einsum("ij,ij->i", centres, centres)[:, np.newaxis]
    return distances


def nearest(points: Vectors, centres: Vectors) -> NDArray[np.int64]:
    """Return the nearest centre (n) of each point (n, d), the first of several."""
    squares = np.einsum("ij,ij->i", centres, centres)
    centre: NDArray[np.int64] = np.argmin(squares - 2 * (points @ centres.T), axis=1)
    return centre


def _add_by_group(
    points: Vectors, groups: NDArray[np.int64], sums: NDArray[np.float64], counts: NDArray[np.float64]
) -> None:
    """Add the points (n, d) of each group (n) to its row of `sums` (k, d), their number to `counts` (k)."""
    order = np.argsort(groups, kind="stable")
    present, starts = np.unique(groups[order], return_index=True)
    sums[present] += np.add.reduceat(points[order].astype(np.float64), starts, axis=0)
    counts += np.bincount(groups, minlength=len(counts))
