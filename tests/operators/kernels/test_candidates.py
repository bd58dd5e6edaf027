"""Keys that occur again, pairs of buckets, pairs once: against plain Python."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gristmill.operators.kernels.candidates import bucket_pairs, first_occurrences, hash_pairs, may_repeat


def test_keys_that_repeat_are_all_found_and_few_others():
    rng = np.random.default_rng(0)
    for n in (0, 1, 7, 1000, 100_000):
        keys = rng.integers(0, 1 << 64, n, dtype=np.uint64)
        keys[: n // 10] = keys[n - n // 10 :]
        repeated = np.zeros(n, bool)
        repeated[: n // 10] = repeated[n - n // 10 :] = True
        found = may_repeat(keys)
        assert found[repeated].all()
        assert found[~repeated].mean() < 0.05 if n > 1000 else True


@given(st.lists(st.integers(1, 12), max_size=6), st.integers(0, 6), st.integers(0, 3))
def test_pairs_of_buckets(sizes, whole, predecessors):
    bounds = np.concatenate([[0], np.cumsum(sizes, dtype=np.int64)]).astype(np.int64)
    addresses = np.arange(bounds[-1], dtype=np.uint64) * np.uint64(3)
    left, right = bucket_pairs(addresses, bounds, whole, predecessors)
    expected = []
    for start, end in itertools.pairwise(bounds.tolist()):
        for i, j in itertools.combinations(range(end - start), 2):
            if end - start <= whole or i == 0 or j - i <= predecessors:
                expected.append((3 * (start + i), 3 * (start + j)))
    found = list(zip(left.tolist(), right.tolist(), strict=True))
    assert sorted(found) == sorted(expected)
    assert all(a < b for a, b in found)


def test_pairs_of_a_bucket_of_a_million_are_linear_in_it_and_connect_it():
    n = 1_000_000
    left, right = bucket_pairs(np.arange(n, dtype=np.uint64), np.array([0, n], np.int64), 16, 4)
    assert len(left) <= 5 * n
    assert np.array_equal(np.unique(right[left == 0]), np.arange(1, n))


@given(st.lists(st.tuples(st.integers(0, 5), st.sampled_from([0, 1, 2, (1 << 64) - 1])), max_size=40))
def test_first_occurrences(pairs):
    left, right = np.array(pairs, np.uint64).reshape(-1, 2).T.copy()
    seen: set[tuple[int, int]] = set()
    expected = [not (pair in seen or seen.add(pair)) for pair in pairs]
    assert first_occurrences(left, right).tolist() == expected


def test_hashes_of_pairs_spread_neighbours_evenly():
    """Addresses are small numbers in a row, and partitions are ranges of the upper bits."""
    grid = np.arange(1 << 16, dtype=np.uint64)
    for left, right in ((grid, grid), (grid >> np.uint64(8), grid & np.uint64(255)), (grid, grid + np.uint64(1))):
        hashes = hash_pairs(left, right)
        assert len(set(hashes.tolist())) == len(hashes)
        filled = np.bincount((hashes >> np.uint64(56)).astype(int), minlength=256)
        assert filled == pytest.approx(256, abs=6 * 16)  # six standard deviations
