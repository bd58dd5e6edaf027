"""Samplers against brute force, and against the game that robust gain solves."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from gristmill.operators.student import samplers
from gristmill.operators.student.samplers import SAMPLERS, TextPool


def pool(n: int = 400, labels: int = 3, seed: int = 0, exclusive: bool = True, known: int = 60) -> TextPool:
    draw = np.random.default_rng(seed)
    shares = draw.dirichlet([0.7] * labels, n) if exclusive else draw.random((n, labels))
    vectors = draw.normal(size=(n, 16)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    targets = np.full((n, labels), np.nan)
    targets[:known] = np.eye(labels)[draw.integers(labels, size=known)]
    return TextPool(
        noise=draw.permutation(n) / n + 0.5 / n,
        taken=np.arange(n) < known,
        shares=shares,
        exclusive=exclusive,
        sure=draw.random(n),
        targets=targets,
        reward=targets[:, 0],
        wrong=0.1,
        vectors=vectors,
    )


@pytest.mark.parametrize("exclusive", [True, False])
@pytest.mark.parametrize("name", SAMPLERS)
def test_all_choose_different_texts_that_are_left_and_go_by_no_order(name: str, exclusive: bool) -> None:
    some = pool(exclusive=exclusive)
    chosen = SAMPLERS[name](some, 50)
    assert len({*chosen.tolist()}) == 50
    assert not some.taken[chosen].any()
    order = np.random.default_rng(1).permutation(len(some.noise))
    shuffled = some._replace(
        **{field: getattr(some, field)[order] for field in TextPool._fields if field not in ("exclusive", "wrong")}
    )
    again = SAMPLERS[name](shuffled, 50)
    assert {*order[again].tolist()} == {*chosen.tolist()}


@pytest.mark.parametrize("name", SAMPLERS)
def test_all_give_what_is_left_where_more_is_asked_for(name: str) -> None:
    some = pool(n=80)
    assert {*SAMPLERS[name](some, 50).tolist()} == {*range(60, 80)}


def test_uncertainty_takes_the_largest_entropy() -> None:
    some = pool()
    entropy = [-sum(p * math.log(p) for p in row if p > 0) for row in some.shares.tolist()]
    expected = sorted(range(60, 400), key=lambda i: -entropy[i])[:20]
    assert samplers.by_uncertainty(some, 20).tolist() == expected


def test_uncertainty_of_several_labels_is_that_of_all() -> None:
    some = pool(exclusive=False)
    shares = np.full((400, 3), 0.01)
    shares[100], shares[200] = [0.5, 0.01, 0.01], [0.5, 0.5, 0.01]
    assert samplers.by_uncertainty(some._replace(shares=shares), 2).tolist() == [200, 100]


def test_llkd_passes_over_texts_of_which_annotators_or_no_student_are_sure() -> None:
    some = pool(n=100, labels=2, known=0)
    shares = np.tile([0.99, 0.01], (100, 1))
    shares[:50] = [0.6, 0.4]
    sure = np.where(np.arange(100) % 2, 0.9, 0.3)
    chosen = samplers.by_llkd(some._replace(shares=shares, sure=sure), 25)
    assert {*chosen.tolist()} == {*range(1, 50, 2)}


def test_llkd_asks_less_of_a_label_that_is_seldom_given() -> None:
    some = pool(n=100, labels=2, known=0)
    shares = np.tile([0.8, 0.2], (100, 1))  # the mean entropy is about that of these
    shares[:2] = [0.08, 0.92]  # below it, but above the threshold of the rare label
    sure = np.full(100, 0.9)
    sure[2:] = np.where(np.arange(98) % 2, 0.95, 0.7)
    passed = samplers.by_llkd(some._replace(shares=shares, sure=sure), 51)
    assert {0, 1} <= {*passed.tolist()}


def best_of_game(gains: list[float], wrong: int) -> float:
    """The most that a draw gains where an adversary makes `wrong` texts worthless: a linear program, by scipy."""
    optimize = pytest.importorskip("scipy.optimize")
    n = len(gains)
    subsets = [*itertools.combinations(range(n), wrong)]
    bounds = [[-gain * (i not in subset) for i, gain in enumerate(gains)] + [1.0] for subset in subsets]
    found = optimize.linprog(
        [0.0] * n + [-1.0], bounds, [0.0] * len(bounds), [[1.0] * n + [0.0]], [1.0], bounds=[(0, None)] * (n + 1)
    )
    return float(found.x[-1])


@pytest.mark.parametrize("wrong", [0, 1, 2, 3])
@pytest.mark.parametrize("seed", range(5))
def test_robust_gain_solves_the_game(seed: int, wrong: int) -> None:
    gains = np.sort(np.random.default_rng(seed).random(7))[::-1]
    k = samplers._most_drawn(gains, wrong)
    odds = 1 / gains[:k] / (1 / gains[:k]).sum()
    worst = np.sort(odds * gains[:k])[: k - wrong].sum()  # an adversary takes the largest
    assert worst == pytest.approx(best_of_game(gains.tolist(), wrong), abs=1e-6)


def test_robust_gain_draws_in_inverse_proportion_to_the_gain() -> None:
    margins = np.repeat([0.2, 0.6], 200)
    some = pool(n=400, labels=2, known=0)._replace(shares=np.stack([0.5 + margins / 2, 0.5 - margins / 2], axis=1))
    drawn = np.concatenate(
        [
            samplers.by_robust_gain(some._replace(noise=np.random.default_rng(seed).random(400), wrong=0.6), 10)
            for seed in range(300)
        ]
    )
    # gains are 0.8 and 0.4, and all texts are drawn from where six of ten labels are wrong
    assert (drawn >= 200).mean() == pytest.approx(2 / 3, abs=0.03)


def test_robust_gain_draws_from_the_top_alone_where_labels_are_right() -> None:
    some = pool(n=400, labels=2, known=0)._replace(wrong=0.0)
    margin = np.abs(some.shares[:, 0] - some.shares[:, 1])
    assert {*samplers.by_robust_gain(some, 20).tolist()} == {*np.argsort(margin)[:20].tolist()}


def test_neighbours_are_those_of_brute_force() -> None:
    some = pool(n=300)
    disharmony = {}
    for i in range(60, 300):
        whole = np.rint(some.vectors.astype(np.float64) * 2000)
        likeness = np.maximum(whole[:60] @ whole[i], 0)
        near = sorted(range(60), key=lambda j: (-likeness[j], j))[: samplers.NEIGHBOURS]
        theirs = sum(some.targets[j] * likeness[j] for j in near) / sum(likeness[j] for j in near)
        disharmony[i] = 1 - float(some.shares[i] @ theirs)
    expected = sorted(disharmony, key=lambda i: -disharmony[i])[:15]
    assert samplers.by_neighbours(some, 15).tolist() == expected


def test_the_bandit_goes_where_the_label_was_found() -> None:
    draw = np.random.default_rng(3)
    n, topics = 2000, 20
    topic = draw.integers(topics, size=n)
    centres = draw.normal(size=(topics, 64))
    vectors = centres[topic] + 0.3 * draw.normal(size=(n, 64))
    vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    positive = topic == 0
    known = draw.random(n) < 0.1
    targets = np.where(known[:, None], np.stack([positive, ~positive], axis=1), np.nan)
    some = pool(n=n, labels=2)._replace(taken=known, targets=targets, reward=targets[:, 0], vectors=vectors)
    chosen = samplers.by_cluster_bandit(some._replace(shares=np.full((n, 2), 0.5)), 60)
    assert positive[chosen].mean() > 3 * positive[~known].mean()


@pytest.mark.parametrize(("mean", "draws", "total"), [(0.0, 3, 100), (0.2, 10, 50), (0.9, 40, 1000), (1.0, 5, 20)])
def test_upper_bounds_are_where_the_divergence_is_spent(mean: float, draws: int, total: int) -> None:
    (bound,) = samplers._upper_bounds(np.array([mean]), np.array([float(draws)]), float(total))
    room = math.log(total) / draws

    def divergence(q: float) -> float:
        return sum(p * math.log(p / r) for p, r in ((mean, q), (1 - mean, 1 - q)) if p > 0)

    grid = [q for q in np.linspace(mean, 1, 200_001)[:-1] if q > 0 and divergence(q) <= room]
    assert bound == pytest.approx(max([mean, *grid]), abs=2e-5)


def test_an_arm_without_labels_comes_first() -> None:
    assert samplers._upper_bounds(np.array([1.0, 0.0]), np.array([9.0, 0.0]), 9.0).argmax() == 1
