"""Vectors against bags of words, k-means against Lloyd's algorithm, and small topics in samples by cluster."""

from __future__ import annotations

import random
import re
from collections import Counter

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from gristmill.operators.label.clusters import Space, cluster, nearest, ngram_vectors, squared_distances
from gristmill.operators.label.samplers import choose
from gristmill.operators.label.task import Sample
from tests.support import sentences

WORDS = "abcdefgh"
texts_of_words = st.lists(st.lists(st.sampled_from(WORDS), max_size=12).map(" ".join), min_size=1, max_size=8)


def similarity(first: str, second: str, ngram: int = 1) -> float:
    """Inner product of the unit vectors of square roots of n-gram counts, without hashing."""
    bags = []
    for text in (first, second):
        words = re.findall(r"\w+", text.lower())
        # a text of fewer words than an n-gram has one of all its words
        runs = [range(0, max(len(words) - n, 0) + 1) for n in range(1, ngram + 1)]
        bags.append(Counter((n, *words[i : i + n]) for n, starts in enumerate(runs, 1) for i in starts if words))
    sizes = [max(bag.total(), 1) for bag in bags]
    return sum((bags[0][w] * bags[1][w]) ** 0.5 for w in bags[0]) / (sizes[0] * sizes[1]) ** 0.5


@given(texts_of_words, st.sampled_from([1, 2]))
def test_inner_products_are_those_of_bags_of_words(texts: list[str], ngram: int) -> None:
    long_enough = [text if len(text) > 2 else text + " a b" for text in texts]
    # In so many dimensions none of the 8 words and 64 pairs of them shares a coordinate with another.
    vectors = ngram_vectors(pa.array(long_enough), dimensions=1 << 18, ngram=ngram)
    products = [[similarity(first, second, ngram) for second in long_enough] for first in long_enough]
    assert (vectors @ vectors.T).tolist() == [pytest.approx(row, abs=1e-5) for row in products]


def test_hashing_with_a_sign_keeps_different_words_apart_on_average() -> None:
    draw = random.Random(4)
    texts = [" ".join(f"w{draw.random()}".replace(".", "") for _ in range(200)) for _ in range(300)]
    products = (lambda v: v @ v.T)(ngram_vectors(pa.array(texts), dimensions=64))
    apart = products[np.triu_indices(300, 1)]
    assert abs(apart.mean()) < 0.01  # without signs it is above 0.5
    assert np.diag(products) == pytest.approx(np.ones(300), abs=1e-5)


@given(st.lists(st.one_of(st.none(), st.text(), st.integers(0, 5).map(lambda i: sentences(i, 30))), max_size=8))
def test_a_vector_depends_on_its_text_alone(texts: list[str | None]) -> None:
    whole = ngram_vectors(pa.array(texts, pa.large_string()))
    assert whole.shape == (len(texts), 256)
    assert whole.dtype == np.float32
    for i, text in enumerate(texts):
        assert (ngram_vectors(pa.array([text], pa.string()))[0] == whole[i]).all()
        length = np.linalg.norm(whole[i])
        assert length == pytest.approx(1, abs=1e-5) or length == 0  # words on one coordinate may cancel
        assert length > 0 or not re.fullmatch(r"\s*[a-z]+\s*", text or "")
    assert (ngram_vectors(pa.array(["x", *texts], pa.large_string()).slice(1)) == whole).all()


def test_what_does_not_matter_to_a_vector() -> None:
    same = ["Red fox, red fox!", "fox RED\nfox red", "fox fox red red"]
    vectors = ngram_vectors(pa.array(same))
    assert (vectors == vectors[0]).all()
    assert not ngram_vectors(pa.array(["", None, " ,.!"], pa.string())).any()


def blobs(n: int, centres: int, seed: int, spread: float) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    draw = np.random.default_rng(seed)
    of = draw.integers(0, centres, n)
    points = draw.normal(size=(centres, 32))[of] + spread * draw.normal(size=(n, 32))
    return (points / np.linalg.norm(points, axis=1, keepdims=True)).astype(np.float32), of


def test_blobs_are_told_apart() -> None:
    vectors, of = blobs(6000, 12, 3, spread=0.1)
    # More clusters than blobs: k-means++ from one start may give two blobs one centre.
    found = cluster(vectors, np.arange(6000), 40, seed=1)
    pairs = set(zip(found.tolist(), of.tolist(), strict=True))
    assert len(pairs) == len(set(found.tolist())) <= 40


def spread_within(points: NDArray[np.float64], labels: NDArray[np.int64]) -> float:
    groups = [points[labels == label] for label in np.unique(labels)]
    return float(sum(((group - group.mean(axis=0)) ** 2).sum() for group in groups))


def lloyd(points: NDArray[np.float64], k: int, seed: int) -> NDArray[np.int64]:
    centres = points[np.random.default_rng(seed).choice(len(points), k, replace=False)]
    labels = np.zeros(len(points), np.int64)
    for _ in range(50):
        labels = ((points[:, None, :] - centres[None]) ** 2).sum(axis=2).argmin(axis=1)
        centres = np.stack([points[labels == i].mean(axis=0) if (labels == i).any() else centres[i] for i in range(k)])
    return labels


@pytest.mark.parametrize("seed", range(5))
def test_clusters_are_nearly_as_tight_as_lloyds(seed: int) -> None:
    vectors, _ = blobs(3000, 20, seed, spread=0.8)
    rows = np.random.default_rng(seed).permutation(3000)
    points = Space.of(vectors, rows).points(rows).astype(np.float64)
    best = min(spread_within(points, lloyd(points, 10, start)) for start in range(3))
    assert spread_within(points, cluster(vectors, rows, 10, seed)) < 1.05 * best


@pytest.mark.parametrize("dimensions", [1, 32, 256, 4096])
def test_distances_are_exact(dimensions: int) -> None:
    draw = np.random.default_rng(dimensions)
    vectors = draw.normal(size=(200, dimensions))
    vectors[:10, 1:] = 0  # all of their length on one coordinate
    vectors[10:20] = -vectors[:10]
    vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    points = Space.of(vectors, np.arange(200)).points(np.arange(200))
    whole = points.astype(np.int64)
    assert (whole == points).all()
    distances = np.stack([((whole - centre) ** 2).sum(axis=1) for centre in whole[:40]])
    assert distances.max() < 2**24
    assert (squared_distances(points, points[:40]) == distances).all()
    assert (nearest(points, points[:40]) == distances.argmin(axis=0)).all()


def test_clusters_do_not_depend_on_where_the_vectors_lie() -> None:
    vectors, _ = blobs(5000, 9, 6, spread=0.6)
    rows = np.random.default_rng(0).permutation(5000)
    shuffled = np.random.default_rng(1).permutation(5000)
    labels = cluster(vectors, rows, 15, seed=2)
    assert (cluster(vectors[shuffled], np.argsort(shuffled)[rows], 15, seed=2) == labels).all()
    assert (cluster(vectors, rows, 15, seed=3) != labels).any()


def test_fewer_different_vectors_than_clusters() -> None:
    vectors = np.eye(8, dtype=np.float32)[np.arange(300) % 3]
    labels = cluster(vectors, np.arange(300), 10, seed=0)
    assert len(set(labels.tolist())) == 3
    assert (labels == labels[np.arange(300) % 3]).all()
    assert (cluster(np.zeros((5, 8), np.float32), np.arange(5), 10, seed=0) == 0).all()


def topics(sizes: list[int], seed: int, common: int) -> tuple[list[str], list[int]]:
    """Texts of 30 words that only their topic has and so many that all have, and the topic of each."""
    draw = random.Random(seed)
    texts, of = [], []
    for topic, size in enumerate(sizes):
        for _ in range(size):
            words = [f"topic{topic}word{w}" for w in draw.choices(range(40), k=30)]
            texts.append(" ".join(words) + " " + sentences(draw.randrange(10**6), common))
            of.append(topic)
    return texts, of


def keys_of(n: int, seed: int = 0) -> pa.Array:
    content = pa.py_buffer(np.random.default_rng(seed).bytes(16 * n))
    return pa.FixedSizeBinaryArray.from_buffers(pa.binary(16), n, [None, content])


SIZES = [1400, 200, 150, 100, 80, 30, 20, 20]  # the smallest are 1 % of all


@pytest.mark.parametrize("common", [0, 30])
def test_every_topic_is_represented(common: int) -> None:
    missed = Counter[str]()
    for seed in range(4):
        texts, of = topics(SIZES, seed, common)
        table = pa.table({"key": keys_of(len(texts), seed)})
        vectors = ngram_vectors(pa.array(texts))
        for by in ("random", "cluster"):
            kept = choose(Sample(documents=100, by=by, seed=seed), table, vectors)
            assert kept.sum() == 100
            missed[by] += len(SIZES) - len(set(np.array(of)[kept].tolist()))
    assert missed["cluster"] == 0
    assert missed["random"] > 0  # else this test would not tell them apart


def test_a_sample_by_cluster_depends_on_texts_alone() -> None:
    texts, _ = topics([300, 60, 30], seed=1, common=30)
    keys = keys_of(len(texts)).to_pylist()
    vectors = ngram_vectors(pa.array(texts))
    sample = Sample(documents=40, by="cluster", clusters=12, seed=9)
    kept = choose(sample, pa.table({"key": pa.array(keys, pa.binary(16))}), vectors)
    chosen = {keys[i] for i in np.flatnonzero(kept)}
    assert len(chosen) == 40
    order = [*range(len(keys)), *range(0, len(keys), 7)]  # some texts twice
    random.Random(5).shuffle(order)
    shuffled = pa.table({"key": pa.array([keys[i] for i in order], pa.binary(16))})
    again = choose(sample, shuffled, ngram_vectors(pa.array([texts[i] for i in order])))
    assert {keys[i] for i, taken in zip(order, again, strict=True) if taken} == chosen
    assert not {keys[i] for i, taken in zip(order, again, strict=True) if not taken} & chosen


def test_more_documents_than_there_are() -> None:
    vectors = ngram_vectors(pa.array(["one", None, ""], pa.string()))
    assert choose(Sample(documents=9, by="cluster"), pa.table({"key": keys_of(3)}), vectors).all()
    with pytest.raises(ValueError, match="needs the vectors"):
        choose(Sample(documents=9, by="cluster"), pa.table({"key": keys_of(3)}))
