"""Agreement of annotators, and scores from comparisons."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gristmill.operators.label.aggregation.agreement import alpha, kappas
from gristmill.operators.label.aggregation.comparisons import bradley_terry
from tests.operators.label.aggregation import reference
from tests.operators.label.aggregation.test_methods import TRIPLES, votes_of

#: Krippendorff 2011, section D: four observers, twelve units.
OBSERVERS = [
    "123321412...",
    "12332241 2 5.3".replace(" ", ""),
    ".33323422 5 1.".replace(" ", ""),
    "12332441 2 5 1.".replace(" ", ""),
]


def test_alpha_of_the_published_example() -> None:
    triples = [
        (unit, observer, int(value) - 1)
        for observer, row in enumerate(OBSERVERS)
        for unit, value in enumerate(row)
        if value != "."
    ]
    votes, _ = votes_of(triples, k=5)
    assert alpha(votes, "nominal") == pytest.approx(0.743, abs=5e-4)
    assert alpha(votes, "ordinal") == pytest.approx(0.815, abs=5e-4)


@given(TRIPLES)
def test_alpha_is_that_of_all_pairs(pairs: list[Any]) -> None:
    triples = [(item, annotator, label) for (item, annotator), label in pairs]
    votes, items = votes_of(triples)
    several = [item for item in items if sum(t[0] == item for t in triples) > 1]
    counted = [t for t in triples if t[0] in several]
    if len({t[2] for t in counted}) < 2:
        assert alpha(votes, "nominal") is None
        return
    assert alpha(votes, "nominal") == pytest.approx(reference.alpha(triples, reference.nominal))
    assert alpha(votes, "ordinal") == pytest.approx(reference.alpha(triples, reference.ordinal))
    among = np.array([item in several for item in items])
    assert alpha(votes, "nominal", among) == pytest.approx(alpha(votes, "nominal"))


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2)), min_size=2, max_size=30))
def test_kappa_of_two(both: list[tuple[int, int]]) -> None:
    triples = [(i, who, labels[who]) for i, labels in enumerate(both) for who in (0, 1)]
    votes, _ = votes_of(triples)
    first, second = ([labels[who] for labels in both] for who in (0, 1))
    for level, weight in (("nominal", lambda a, b: a != b), ("ordinal", lambda a, b: (a - b) ** 2)):
        (pair,) = kappas(votes, [0, 1], level)  # type: ignore[arg-type]
        assert (pair.items, pair.agreement) == (len(both), pytest.approx(np.mean([a == b for a, b in both])))
        if pair.kappa is None:
            assert len({*first, *second}) == 1
        else:
            assert pair.kappa == pytest.approx(reference.kappa(first, second, range(3), weight))


def comparisons(n: int, m: int, spread: float, nu: float, seed: int) -> tuple[np.ndarray, ...]:
    draw = np.random.default_rng(seed)
    truth = draw.normal(0, spread, n)
    left = draw.integers(0, n, m)
    right = (left + draw.integers(1, n, m)) % n
    a, b = np.exp(truth[left]), np.exp(truth[right])
    tie = nu * np.sqrt(a * b)
    at = draw.random(m) * (a + b + tie)
    return truth, left, right, np.where(at < a, 1.0, np.where(at < a + tie, 0.5, 0.0))


@pytest.mark.parametrize("nu", [0.0, 0.7])
def test_scores_of_many_noisy_comparisons(nu: float) -> None:
    truth, left, right, outcome = comparisons(2000, 20_000, 2.5, nu, seed=0)
    found = bradley_terry(left, right, outcome, 2000)
    ranks = [np.argsort(np.argsort(values)) for values in (truth, found.scores)]
    assert np.corrcoef(*ranks)[0, 1] >= 0.95
    assert found.tie == pytest.approx(nu, rel=0.1)
    # each item wins as often as the model says, but for the pull of the prior
    half = (found.scores[left] - found.scores[right]) / 2
    win, tie = np.exp(half), found.tie
    expected = (win + tie / 2) / (win + np.exp(-half) + tie)
    wins = np.bincount(left, outcome - expected, 2000) - np.bincount(right, outcome - expected, 2000)
    assert wins == pytest.approx(0.1 * found.scores, abs=0.02)


def test_an_item_that_always_wins_has_a_finite_score() -> None:
    found = bradley_terry(np.array([0, 0, 1]), np.array([1, 2, 2]), np.array([1.0, 1.0, 1.0]), 4)
    assert np.isfinite(found.scores).all()
    assert found.scores[0] > found.scores[1] > found.scores[2]
    assert found.errors[3] > found.errors[0]
