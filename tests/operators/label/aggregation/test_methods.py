"""Methods of aggregation beside a slow reference, planted annotators and real ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gristmill.operators.label.aggregation.methods import METHODS, _digamma, dawid_skene, glad, mace, moments, weighted
from gristmill.operators.label.aggregation.votes import Votes, coded, credit, make_votes
from tests.operators.label.aggregation import reference

LABELS = range(3)
TRIPLES = st.lists(
    st.tuples(st.integers(0, 5), st.integers(0, 4), st.sampled_from(LABELS)), min_size=1, max_size=40
).map(lambda triples: list({(item, annotator): label for item, annotator, label in triples}.items()))


def votes_of(triples: list[tuple[Any, Any, int]], k: int = 3, **options: Any) -> tuple[Votes, list[Any]]:
    items, annotators = sorted({t[0] for t in triples}), sorted({t[1] for t in triples})
    of_items, of_annotators = coded([t[0] for t in triples], items), coded([t[1] for t in triples], annotators)
    labels = np.array([t[2] for t in triples], np.int64)
    return make_votes(of_items, of_annotators, labels, (len(items), len(annotators), k), **options), items


def planted(
    skills: np.ndarray, n: int, k: int, each: int, seed: int, prior: np.ndarray | None = None
) -> tuple[Votes, np.ndarray]:
    """Votes of annotators with these accuracies on n items, each item seen by so many, and the truth."""
    draw = np.random.default_rng(seed)
    truth = draw.choice(k, n, p=prior)
    items = np.repeat(np.arange(n), each)
    who = np.concatenate([draw.choice(len(skills), each, replace=False) for _ in range(n)])
    right = draw.random(n * each) < skills[who]
    wrong = (truth[items] + draw.integers(1, k, n * each)) % k
    return make_votes(items, who, np.where(right, truth[items], wrong), (n, len(skills), k)), truth


def accuracy(shares: np.ndarray, truth: np.ndarray) -> float:
    return float((shares.argmax(axis=1) == truth).mean())


@given(TRIPLES, st.integers(1, 4))
def test_dawid_skene_is_that_of_the_reference(pairs: list[Any], iterations: int) -> None:
    triples = [(item, annotator, label) for (item, annotator), label in pairs]
    votes, items = votes_of(triples)
    shares = dawid_skene(votes, iterations, -np.inf).shares
    expected = reference.dawid_skene(triples, LABELS, iterations)
    assert shares == pytest.approx(np.array([[expected[item][t] for t in LABELS] for item in items]), abs=1e-6)


@pytest.mark.parametrize("method", METHODS)
@given(pairs=TRIPLES, seed=st.integers(0, 9))
def test_every_method_gives_probabilities_whatever_the_order_and_form_of_the_votes(
    method: str, pairs: list[Any], seed: int
) -> None:
    triples = [(item, annotator, label) for (item, annotator), label in pairs]
    votes, _ = votes_of(triples)
    result = METHODS[method](votes)
    assert result.shares.shape == (votes.n_items, 3)
    assert np.isfinite(result.shares).all()
    assert result.shares.sum(axis=1) == pytest.approx(1)
    assert ((result.accuracy >= 0) & (result.accuracy <= 1)).all()
    shuffled = [triples[i] for i in np.random.default_rng(seed).permutation(len(triples))]
    assert METHODS[method](votes_of(shuffled)[0]).shares == pytest.approx(result.shares, abs=1e-6)
    soft = votes._replace(shares=np.eye(3)[votes.labels])
    assert METHODS[method](soft).shares == pytest.approx(result.shares, abs=1e-6)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.filterwarnings("error")
def test_an_item_without_votes_has_its_gold_or_any_label(method: str) -> None:
    votes = make_votes(np.array([0, 0, 3]), np.array([0, 1, 0]), np.array([1, 1, 0]), (4, 3, 2))
    shares = METHODS[method](votes._replace(gold=np.array([-1, 0, -1, -1]))).shares
    assert shares[1].tolist() == [1.0, 0.0]
    assert 0 < shares[2, 0] < 1
    assert shares.sum(axis=1) == pytest.approx(1)


@pytest.mark.parametrize("method", METHODS)
def test_gold_is_certain_and_teaches(method: str) -> None:
    """Most annotators are wrong nearly always: gold of some items tells."""
    skills = np.array([0.95, 0.9, *[0.1] * 4])
    votes, truth = planted(skills, 400, 2, 4, seed=1)
    gold = np.where(np.arange(400) < 150, truth, -1)
    result = METHODS[method](votes._replace(gold=gold))
    assert (result.shares[:150].argmax(axis=1) == truth[:150]).all()
    assert result.shares[:150].max(axis=1) == pytest.approx(1)
    if method not in ("majority", "weighted", "mace", "moments", "mean"):  # those take nobody for worse than chance
        assert accuracy(result.shares[150:], truth[150:]) > 0.85
    assert accuracy(METHODS["majority"](votes).shares, truth) < 0.4


@pytest.mark.parametrize("method", [m for m in METHODS if m != "majority"])
def test_spammers_count_less_than_those_who_know(method: str) -> None:
    skills = np.array([0.95, 0.9, 0.9, *[0.36] * 9])
    votes, truth = planted(skills, 1500, 3, 6, seed=2)
    result = METHODS[method](votes)
    assert accuracy(result.shares, truth) > accuracy(METHODS["majority"](votes).shares, truth) + 0.02
    assert min(result.accuracy[:3]) > max(result.accuracy[3:])


def test_moments_find_the_accuracies_without_gold() -> None:
    skills = np.array([0.9, 0.8, 0.7, 0.6, 0.55])
    votes, _ = planted(skills, 20_000, 4, 5, seed=3)
    assert moments(votes).accuracy == pytest.approx(skills, abs=0.02)


def test_a_confusion_matrix_is_found() -> None:
    draw = np.random.default_rng(4)
    truth = draw.integers(0, 2, 5000)
    one_sided = np.where(truth == 1, draw.random(5000) < 0.6, 0)  # takes 40 % of the ones for zeros, no zero for a one
    others = [np.where(draw.random(5000) < 0.85, truth, 1 - truth) for _ in range(3)]
    columns = np.stack([one_sided, *others], axis=1)
    votes = make_votes(np.repeat(np.arange(5000), 4), np.tile(np.arange(4), 5000), columns.ravel(), (5000, 4, 2))
    confusions = dawid_skene(votes).confusions
    assert confusions is not None
    assert confusions[0] == pytest.approx(np.array([[1.0, 0.0], [0.4, 0.6]]), abs=0.04)


def test_mace_with_one_rare_label_is_no_worse_than_the_majority() -> None:
    votes, truth = planted(np.full(20, 0.75), 3000, 2, 3, seed=5, prior=np.array([0.9, 0.1]))
    assert accuracy(mace(votes).shares, truth) > accuracy(METHODS["majority"](votes).shares, truth)


def test_glad_comes_to_rest() -> None:
    votes, _ = planted(np.linspace(0.55, 0.95, 10), 300, 3, 5, seed=6)
    one, more = glad(votes, 200, 0.0), glad(votes, 400, 0.0)
    assert one.shares == pytest.approx(more.shares, abs=1e-4)
    easy = credit(votes, more.shares)
    assert 0.5 < easy.mean() < 1


def test_weighted_without_gold_is_agreement_with_the_majority() -> None:
    votes, _ = votes_of([(0, "a", 0), (0, "b", 0), (0, "c", 1), (1, "a", 1), (1, "c", 0)], k=2)
    shares = weighted(votes).shares
    # majority of 0 is 2/3 and of 1 is 1/2: a is right 2/3 and 1/2 of the time, b 2/3, c 1/3 and 1/2
    a, b, c = (2 / 3 + 1 / 2) / 2, 2 / 3, (1 / 3 + 1 / 2) / 2
    assert shares == pytest.approx(np.array([[(a + b) / (a + b + c), c / (a + b + c)], [c / (a + c), a / (a + c)]]))


def test_annotators_that_change_are_followed() -> None:
    """Half of them become spammers in the middle, the others begin as such."""
    draw = np.random.default_rng(7)
    n, each, k = 6000, 4, 3
    truth, items = draw.integers(0, k, n), np.repeat(np.arange(n), each)
    who = np.concatenate([draw.choice(8, each, replace=False) for _ in range(n)])
    good = (who < 4) == (items < n // 2)
    votes_at = np.where(draw.random(n * each) < np.where(good, 0.9, 1 / 3), truth[items], draw.integers(0, k, n * each))
    fixed = make_votes(items, who, votes_at, (n, 8, k))
    moving = fixed._replace(periods=items * 24 // n, half_life=4.0)
    gain = accuracy(dawid_skene(moving).shares, truth) - accuracy(dawid_skene(fixed).shares, truth)
    assert gain > 0.03


def test_digamma() -> None:
    known = {0.5: -1.9635100260214235, 1.0: -0.5772156649015329, 3.0: 0.9227843350984671, 100.0: 4.600161852738087}
    assert _digamma(np.array([*known])) == pytest.approx([*known.values()], abs=1e-9)


#: crowd-kit 1.4.2: the best of MajorityVote, OneCoinDawidSkene, DawidSkene, GLAD and MACE; and DawidSkene.
CROWD_KIT = {"rte": (0.9275, 0.9275, 9), "product_match": (0.9397, 0.9397, 80)}


@pytest.mark.parametrize("name", CROWD_KIT)
def test_real_annotators(shared_data: Path, name: str) -> None:
    table = pq.read_table(shared_data / "crowd" / f"{name}_labels.parquet").to_pydict()
    labels = sorted({*table["gold"]})
    triples = zip(table["item"], table["annotator"], map(labels.index, table["label"]), strict=True)
    votes, items = votes_of([*triples], k=len(labels))
    gold = dict(zip(table["item"], map(labels.index, table["gold"]), strict=True))
    truth = np.array([gold[item] for item in items])
    best, theirs, iterations = CROWD_KIT[name]
    assert accuracy(METHODS["mean"](votes).shares, truth) >= best - 0.005
    ours = dawid_skene(votes)
    assert accuracy(ours.shares, truth) == pytest.approx(theirs, abs=1e-4)
    assert ours.iterations == iterations


def soft(n: int, annotators: int, seed: int) -> tuple[Votes, np.ndarray]:
    """Soft votes of annotators on all of n items, of which a rare label is one in twenty; and the truth."""
    draw = np.random.default_rng(seed)
    truth = draw.choice(3, n, p=[0.5, 0.45, 0.05])
    items, who = np.repeat(np.arange(n), annotators), np.tile(np.arange(annotators), n)
    logs = draw.normal(size=(n * annotators, 3)) + 2.0 * np.eye(3)[truth[items]]
    shares = np.exp(logs) / np.exp(logs).sum(axis=1, keepdims=True)
    return make_votes(items, who, shares.argmax(axis=1), (n, annotators, 3), shares), truth


@pytest.mark.parametrize("method", METHODS)
def test_soft_votes_of_one_annotator_are_the_soft_labels(method: str) -> None:
    votes, _ = soft(400, 1, 0)
    result = METHODS[method](votes)
    assert result.shares == pytest.approx(votes.shares)
    gold = np.where(np.arange(400) < 20, 2, -1)
    with_gold = METHODS[method](votes._replace(gold=gold))
    assert (with_gold.shares[:20, 2] == 1).all()
    assert with_gold.shares[20:] == pytest.approx(votes.shares[20:])
    assert np.isfinite(with_gold.accuracy).all()


@pytest.mark.parametrize("method", METHODS)
def test_soft_votes_that_stand_alone_change_nothing_for_the_others(method: str) -> None:
    votes, _ = soft(300, 3, 1)
    beside, _ = soft(500, 1, 2)
    together = make_votes(
        np.concatenate([votes.items, 300 + beside.items]),
        np.concatenate([votes.annotators, beside.annotators]),
        np.concatenate([votes.labels, beside.labels]),
        (800, 3, 3),
        np.concatenate([votes.shares, beside.shares]),
    )
    shares = METHODS[method](together).shares
    assert shares[:300] == pytest.approx(METHODS[method](votes).shares)
    assert shares[300:] == pytest.approx(beside.shares)
