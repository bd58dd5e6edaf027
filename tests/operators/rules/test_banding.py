"""Bands for a threshold, against datasketch; probabilities and estimates, against simulation."""

from __future__ import annotations

import numpy as np
import pytest
from datasketch import lsh

from gristmill.operators.kernels.bands import band_keys
from gristmill.operators.rules.banding import caught, estimate, optimal_banding


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "permutations", [8, 16, 31, 64, 112, *(pytest.param(n, marks=pytest.mark.slow) for n in (128, 256))]
)
def test_the_optimum_is_that_of_datasketch(permutations: int) -> None:
    for threshold in np.arange(0.1, 0.96, 0.05).tolist():
        for weight in (0.1, 0.5, 0.9):
            theirs = lsh._optimal_param(threshold, permutations, 1 - weight, weight)
            assert optimal_banding(threshold, permutations, weight) == theirs, (threshold, weight)


@pytest.mark.parametrize(
    ("threshold", "permutations", "weight", "optimum"),
    [(0.75, 112, 0.5, (11, 10)), (0.8, 128, 0.5, (9, 13)), (0.5, 128, 0.5, (25, 5)), (0.75, 1024, 0.5, (64, 16))],
)
def test_known_optima(threshold: float, permutations: int, weight: float, optimum: tuple[int, int]) -> None:
    assert optimal_banding(threshold, permutations, weight) == optimum


def test_more_weight_on_false_negatives_catches_more() -> None:
    weights = np.linspace(0.05, 0.95, 10).tolist()
    shares = [float(caught(0.75, *optimal_banding(0.75, 112, weight))) for weight in weights]
    assert shares == sorted(shares)
    assert shares[0] < 0.2 < 0.8 < shares[-1]


@pytest.mark.parametrize(
    ("threshold", "permutations", "weight"), [(1.1, 8, 0.5), (-0.1, 8, 0.5), (0.5, 0, 0.5), (0.5, 8, 2)]
)
def test_impossible_options_are_refused(threshold: float, permutations: int, weight: float) -> None:
    with pytest.raises(ValueError, match=r"no banding for threshold .* lie between 0 and 1"):
        optimal_banding(threshold, permutations, weight)


@pytest.mark.parametrize("similarity", [0.3, 0.5, 0.8])
def test_caught_is_the_share_of_pairs_with_a_band_in_common(similarity: float) -> None:
    draw, pairs, bands, rows = np.random.default_rng(2), 20_000, 10, 3
    left, right = draw.integers(0, 2**16, (2, pairs, bands * rows), np.uint16)
    right = np.where(draw.random(right.shape) < similarity, left, right)
    keys = np.empty((2, pairs, bands), np.uint64)
    for signatures, out in zip((left, right), keys, strict=True):
        band_keys(signatures, bands, rows, out)
    share = (keys[0] == keys[1]).any(axis=1).mean()
    expected = caught(similarity, bands, rows)
    assert abs(share - expected) < 4 * np.sqrt(expected * (1 - expected) / pairs)


def test_estimate_takes_off_what_agrees_by_chance() -> None:
    # of 2**16 lanes, with nothing in common, one agrees; with half in common, half of the others' one as well
    assert estimate(np.array([0, 1, 2**16]), 2**16).tolist() == [0, 0, 1]
    assert estimate(np.array([2**15]), 2**16)[0] == pytest.approx(0.5 - 2**-17, rel=1e-4)
    assert estimate(np.array([84]), 112)[0] == pytest.approx(0.75, abs=1e-5)
