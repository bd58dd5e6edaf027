"""Signatures, against slow computations in Python integers, and the quality of what they estimate."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pyarrow as pa
import pytest
from numpy.typing import NDArray

from benchmarks.minhash import planted_pairs
from gristmill.operators.kernels.bands import agreements
from gristmill.operators.kernels.buffers import text_buffers
from gristmill.operators.kernels.minhash import Sketch, fast_similarity, k_permutations, sign, split_mix
from gristmill.operators.kernels.shingles import alphabet, fill_shingles, scratch_for
from gristmill.operators.rules.banding import estimate

SCHEMES = pytest.mark.parametrize("scheme", [k_permutations, fast_similarity])
Scheme = Callable[[int, int], Sketch]


def signed(
    texts: Sequence[str] | pa.Array, sketch: Sketch, lanes: int, ngram: int = 1
) -> tuple[NDArray[np.uint16], NDArray[np.int64]]:
    signatures, shingles = np.empty((len(texts), lanes), np.uint16), np.empty(len(texts), np.int64)
    sign(*text_buffers(pa.array(texts, pa.large_string())), ngram, alphabet(), sketch, signatures, shingles)
    return signatures, shingles


def hashes_of(text: str) -> list[int]:
    data, offsets = text_buffers(pa.array([text], pa.large_string()))
    scratch = scratch_for(offsets)
    return scratch.hashes[: fill_shingles(data, 0, len(data), 1, alphabet(), scratch)].tolist()


def multiply_fold(a: int, b: int) -> int:
    return (a * b >> 64) ^ (a * b & 0xFFFFFFFFFFFFFFFF)


def expected_permutations(hashes: list[int], sketch: Sketch) -> list[int]:
    """Even lanes from the hashes' high halves, the first parameters; odd lanes from the low halves, the others."""
    lanes = len(sketch.multipliers)
    signature = []
    for lane in range(lanes):
        at = lane // 2 if lane % 2 == 0 else (lanes + 1) // 2 + lane // 2
        a, b = int(sketch.multipliers[at]), int(sketch.increments[at])
        least = min((a * (h // 2**32 if lane % 2 == 0 else h % 2**32) + b) % 2**32 for h in hashes)
        signature.append(least // 2**16 ^ least % 2**16)
    return signature


def expected_fast_similarity(hashes: list[int], sketch: Sketch) -> list[int]:
    """Algorithm 1 of the paper, each lane filled by itself: the first round in which a shingle falls in it."""
    lanes = len(sketch.rounds) // 2
    signature = []
    for lane in range(lanes):
        for r, key in enumerate(sketch.rounds.tolist()):
            mixed = [multiply_fold(h ^ key, 0xA0761D6478BD642F) for h in hashes]
            values = [m % 2**32 for m in mixed if ((m >> 32) * lanes >> 32 if r < lanes else r - lanes) == lane]
            if values:
                signature.append(min(values) % 2**16)
                break
    return signature


EXPECTED = [(k_permutations, expected_permutations), (fast_similarity, expected_fast_similarity)]


@pytest.mark.parametrize(("scheme", "expected"), EXPECTED)
@pytest.mark.parametrize("lanes", [8, 9, 31, 64, 112])
def test_signatures_equal_the_slow_computation(
    scheme: Scheme, expected: Callable[[list[int], Sketch], list[int]], lanes: int
) -> None:
    sketch = scheme(lanes, 7)
    texts = [" ".join(f"w{i}" for i in range(words)) for words in [*range(1, 12), 100]]
    signatures, shingles = signed(texts, sketch, lanes)
    assert signatures.tolist() == [expected(hashes_of(text), sketch) for text in texts]
    assert shingles.tolist() == [*range(1, 12), 100]


def test_split_mix_is_the_published_generator() -> None:
    # the outputs for this seed in the reference implementation's test (https://prng.di.unimi.it/splitmix64.c)
    first = [6457827717110365317, 3203168211198807973, 9817491932198370423, 4593380528125082431, 16408922859458223821]
    assert split_mix(1234567, 5).tolist() == first


@SCHEMES
def test_only_the_set_of_shingles_counts(scheme: Scheme) -> None:
    sketch = scheme(100, 1)
    texts = ["a b c", "c A, b", "b a b c c a", "a b c " * 100_000, "a b d"]
    (one, other, repeated, often, different), shingles = signed(texts, sketch, 100)
    assert (one == other).all()
    assert (one == repeated).all()
    assert (one == often).all()
    assert (one != different).any()
    assert shingles.tolist() == [3, 3, 6, 300_000, 3]


@SCHEMES
def test_neighbours_do_not_matter(scheme: Scheme) -> None:
    sketch = scheme(16, 1)
    texts = ["", "a", "... !", "字", "b " * 1000, None, "a b c d e f"]
    together, shingles = signed(texts, sketch, 16, ngram=3)
    assert together.tolist() == [signed([text], sketch, 16, ngram=3)[0][0].tolist() for text in texts]
    assert shingles.tolist() == [0, 1, 0, 1, 998, 0, 4]


@SCHEMES
def test_seeds_give_other_signatures(scheme: Scheme) -> None:
    one, other = (signed(["a b c d e f g h"], scheme(64, seed), 64)[0][0] for seed in (1, 2))
    assert (one == other).mean() < 0.1


@SCHEMES
def test_different_texts_of_one_shingle_agree_only_by_chance_and_in_few_lanes(scheme: Scheme) -> None:
    count, lanes = 200_000, 64
    signatures, _ = signed([str(i) for i in range(count)], scheme(lanes, 1), lanes)
    found = agreements(signatures[:-1], signatures[1:])
    expected = count * lanes / 2**16
    assert abs(found.sum() - expected) < 4 * np.sqrt(expected)
    assert found.max() <= 3
    # of 200,000 hashes of 32 bits some four pairs are equal, of 16 bits nearly all
    assert len(np.unique(signatures[:, :4].copy().view(np.uint64))) == count


#: Bounds on the root mean squared error, relative to that of independent lanes.
QUALITY = [
    (k_permutations, 30, 0.97, 1.03),
    (k_permutations, 100, 0.97, 1.03),
    (k_permutations, 400, 0.97, 1.03),
    (fast_similarity, 30, 0.6, 0.85),
    (fast_similarity, 100, 0.6, 0.85),
    (fast_similarity, 400, 0.75, 1.0),
]


@pytest.mark.parametrize(("scheme", "size", "least", "most"), QUALITY)
def test_estimates_are_unbiased_and_as_exact_as_they_should_be(
    scheme: Scheme, size: int, least: float, most: float
) -> None:
    # Of 10,000 pairs, at J = 0.7 and 112 lanes, the mean has a standard error of 0.0004 and the root mean squared error
    # one of 0.7 %: the bounds are four of them away.
    lanes, pairs, common = 112, 10_000, round(size * 1.4 / 1.7)
    left, right = (signed(texts, scheme(lanes, 1), lanes)[0] for texts in planted_pairs(size, common, pairs, seed=size))
    jaccard = common / (2 * size - common)
    errors = estimate(agreements(left, right), lanes) - jaccard
    assert abs(errors.mean()) <= 0.002
    assert least <= np.sqrt((errors**2).mean() / (jaccard * (1 - jaccard) / lanes)) <= most
