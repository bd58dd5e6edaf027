"""Hashed n-grams, against a slow implementation over Python strings."""

from __future__ import annotations

import hashlib
import random
import re
from collections import Counter

import numpy as np
import pyarrow as pa
import pytest

from gristmill.operators.kernels.buffers import text_buffers
from gristmill.operators.kernels.ngrams import UNCACHED, Features, count_buckets, sum_over_buckets
from gristmill.operators.kernels.wordpunct import characters


def features(order: int = 2, buckets: int = 10_000, *, sha256: bool = False, cache: int = 1 << 14) -> Features:
    entries = np.zeros(cache, np.uint64) if sha256 else UNCACHED
    return Features(characters(like_re=True), order, buckets, entries)


def counts(texts: list[str], which: Features) -> np.ndarray:
    counted = np.zeros(which.buckets, np.int64)
    count_buckets(*text_buffers(pa.array(texts, pa.large_string())), which, counted)
    return counted


def grams(text: str, order: int) -> list[str]:
    words = re.findall(r"\w+|[^\w\s]+", text.lower())
    return [" ".join(words[i : i + n]) for n in range(1, order + 1) for i in range(len(words) - n + 1)]


def random_text(seed: int, words: int) -> str:
    draw = random.Random(seed)
    vocabulary = ["the", "Cat", "sat", "ÉTÉ", "on", "mat99", "x", "..."]
    return "".join(draw.choice(vocabulary) + draw.choice(" ,\n") for _ in range(words))


# More words than are hashed at a time, so that n-grams span the borders between blocks.
TEXTS = ["", "one", "one two", "one, two; three", *(random_text(i, 1 << i) for i in range(13))]


@pytest.mark.parametrize("order", [1, 2, 3, 5])
@pytest.mark.parametrize("buckets", [3, 1000, 1 << 14])
def test_sha256_buckets_equal_hashlib(order: int, buckets: int) -> None:
    expected: Counter[int] = Counter()
    for text in TEXTS:
        expected.update(int(hashlib.sha256(gram.encode()).hexdigest(), 16) % buckets for gram in grams(text, order))
    counted = counts(TEXTS, features(order, buckets, sha256=True))
    assert {i: n for i, n in enumerate(counted.tolist()) if n} == expected


def test_a_cache_that_is_too_small_changes_nothing() -> None:
    small, large = features(buckets=16, sha256=True, cache=16), features(buckets=16, sha256=True, cache=1 << 16)
    assert (counts(TEXTS, small) == counts(TEXTS, large)).all()
    assert (counts(TEXTS, small) == counts(TEXTS, large)).all()  # now from a cache that is full


@pytest.mark.parametrize("order", [1, 2, 4])
def test_own_hash_gives_each_ngram_one_bucket(order: int) -> None:
    which = features(order, 1 << 26)
    distinct = sorted({gram for text in TEXTS for gram in grams(text, order)})
    counted = counts(TEXTS, which)
    frequencies = Counter(gram for text in TEXTS for gram in grams(text, order))
    assert sorted(counted[counted > 0].tolist()) == sorted(frequencies[gram] for gram in distinct)


@pytest.mark.parametrize("buckets", [2, 3, 1000, 1024, 10_000, 262_144])
def test_own_hash_spreads_evenly_over_any_number_of_buckets(buckets: int) -> None:
    words = [f"word{i}" for i in range(40_000)]
    counted = counts([" ".join(words)], features(1, buckets))
    expected = len(words) / buckets
    chi_squared = ((counted - expected) ** 2 / expected).sum()
    assert counted.sum() == len(words)
    assert abs(chi_squared - (buckets - 1)) < 5 * np.sqrt(2 * (buckets - 1))


def test_sums_are_those_of_the_buckets() -> None:
    which = features(3, 1000)
    values = np.random.default_rng(0).normal(size=(1000, 2))
    sums, lengths = np.empty((len(TEXTS), 2)), np.empty(len(TEXTS), np.int64)
    sum_over_buckets(*text_buffers(pa.array(TEXTS, pa.large_string())), which, values, sums, lengths)
    expected = np.stack([counts([text], which) @ values for text in TEXTS])
    assert lengths.tolist() == [len(grams(text, 3)) for text in TEXTS]
    np.testing.assert_allclose(sums, expected, atol=1e-9)


def test_tokens_are_counted() -> None:
    which = features()
    tokens = count_buckets(*text_buffers(pa.array(TEXTS, pa.large_string())), which, np.zeros(10_000, np.int64))
    assert tokens == sum(len(grams(text, 1)) for text in TEXTS)
