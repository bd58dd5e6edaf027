"""Bands of a signature: the chance that a pair shares one, and the number of bands that suits a threshold.

A signature cut into `bands` bands of `rows` lanes makes two documents candidates where a whole band agrees (Indyk and
Motwani 1998; Leskovec, Rajaraman and Ullman, "Mining of Massive Datasets", section 3.4).
"""

from __future__ import annotations

import functools

import numpy as np
from numpy.typing import NDArray

_BY_CHANCE = 2.0**-16  #: probability that lanes of different minima agree


def caught(similarity: NDArray[np.float64] | float, bands: int, rows: int) -> NDArray[np.float64]:
    """Return the probability 1 - (1 - s**rows)**bands that documents of similarity s share a band; shaped as s."""
    return 1 - _missed(np.asarray(similarity, np.float64), bands, rows)


def estimate(agreements: NDArray[np.int64], permutations: int) -> NDArray[np.float64]:
    """Return the Jaccard similarity of documents from the number of lanes that agree; shaped as agreements (int64).

    Lanes of 16 bits agree with probability J + (1 - J) / 2**16 (Li and Koenig 2010, theorem 1, for sets that are small
    compared with 2**32); this is solved for J. No estimate is below zero.
    """
    return np.maximum((agreements / permutations - _BY_CHANCE) / (1 - _BY_CHANCE), 0.0)


@functools.cache
def optimal_banding(threshold: float, permutations: int, false_negative_weight: float = 0.5) -> tuple[int, int]:
    """Return the bands and rows, together at most `permutations` lanes, that suit a Jaccard threshold best.

    The best have the smallest weighted sum of two areas (Zhu et al. 2016, "LSH Ensemble", section 5.3, as datasketch
    has it): under `caught` below the threshold, the false positives, weighted by 1 - false_negative_weight, and above
    `caught` beyond the threshold, the false negatives. Of equals the one of fewer bands, then of fewer rows.

    Raises ValueError where the threshold or the weight is not between 0 and 1, or permutations is below 1.
    """
    if not (0 <= threshold <= 1 and 0 <= false_negative_weight <= 1 and permutations >= 1):
        raise ValueError(
            f"no banding for threshold {threshold}, permutations {permutations}, false_negative_weight "
            f"{false_negative_weight}: the first and the last lie between 0 and 1, permutations is at least 1"
        )
    # Gauss and Legendre's rule with m nodes is exact for polynomials of degree 2 * m - 1; this one has bands * rows.
    nodes, weights = np.polynomial.legendre.leggauss(permutations // 2 + 1)
    below, above = threshold * (nodes + 1) / 2, threshold + (1 - threshold) * (nodes + 1) / 2
    best, smallest = (1, 1), np.inf
    for bands in range(1, permutations + 1):
        for rows in range(1, permutations // bands + 1):
            false_positives = threshold / 2 * float(weights @ (1 - _missed(below, bands, rows)))
            false_negatives = (1 - threshold) / 2 * float(weights @ _missed(above, bands, rows))
            error = (1 - false_negative_weight) * false_positives + false_negative_weight * false_negatives
            if error < smallest:
                best, smallest = (bands, rows), error
    return best


def _missed(similarity: NDArray[np.float64], bands: int, rows: int) -> NDArray[np.float64]:
    return (1 - similarity**rows) ** bands
