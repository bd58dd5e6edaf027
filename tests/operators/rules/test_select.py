"""Keys, budgets and groups of the selection, and the effective sample size."""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from gristmill.operators.rules.effective_size import effective_size, exponential_terms
from gristmill.operators.rules.select import Select


def content_ids(n: int, seed: int = 0) -> pa.Array:
    raw = np.random.default_rng(seed).bytes(16 * n)
    return pa.array([raw[16 * i : 16 * i + 16] for i in range(n)], pa.binary(16))


def test_gumbel_top_k_draws_in_proportion_to_the_weights() -> None:
    weights = np.array([1.0, 2.0, 3.0, 4.0])
    first = Counter[int]()
    second_after_last = Counter[int]()
    draws = 20_000
    table = pa.table({"v": np.tile(np.log(weights), draws), "content_id": content_ids(4 * draws)})
    keys = np.asarray(Select(by="v", documents=1).keys(table)).reshape(draws, 4)
    for order in np.argsort(-keys, axis=1):
        first[order[0]] += 1
        if order[0] == 3:
            second_after_last[order[1]] += 1
    assert [first[i] / draws for i in range(4)] == pytest.approx(weights / 10, abs=0.015)
    given_last = sum(second_after_last.values())
    assert [second_after_last[i] / given_last for i in range(3)] == pytest.approx(weights[:3] / 6, abs=0.03)


def test_keys_depend_on_value_seed_and_content_alone() -> None:
    ids = content_ids(3)
    table = pa.table({"v": [1.0, 1.0, 1.0], "content_id": pa.concat_arrays([ids.slice(0, 2), ids.slice(0, 1)])})
    keys = Select(by="v", documents=1, seed=3).keys(table).to_pylist()
    assert keys[0] == keys[2] != keys[1]
    assert Select(by="v", documents=1, seed=3).keys(table.slice(1)).to_pylist() == keys[1:]
    assert Select(by="v", documents=1, seed=4).keys(table).to_pylist() != keys
    cool = Select(by="v", documents=1, seed=3, temperature=0.5).keys(table).to_pylist()
    assert cool == pytest.approx([key + 1 for key in keys])


def test_what_is_never_taken_has_no_key() -> None:
    table = pa.table(
        {
            "v": [1.0, None, math.nan, 2.0],
            "tokens": pa.array([1, 1, 1, None], pa.uint32()),
            "content_id": content_ids(4),
        }
    )
    assert [k is None for k in Select(by="v", documents=1).keys(table).to_pylist()] == [False, True, True, False]
    assert [k is None for k in Select(by="v", tokens=1).keys(table).to_pylist()] == [False, True, True, True]
    assert [k is None for k in Select(by="random", tokens=1).keys(table).to_pylist()] == [False, False, False, True]
    assert Select(by="v", method="top", documents=1).keys(table).to_pylist() == [1.0, None, None, 2.0]
    assert Select(by="v", tokens=1).costs(table).tolist() == [1, 1, 1, 0]


@pytest.mark.parametrize(
    ("fields", "budgets"),
    [
        ({"documents": 10}, [10]),
        ({"tokens": 10}, [10]),
        ({"fraction": 0.1}, [3]),  # of 30: a tenth, though the double 0.1 is a little more
        ({"documents": 10, "quotas": {"shares": {"a": 0.7, "b": 0.3}}}, [7, 3, 0]),
        ({"documents": 10, "quotas": {"shares": {"a": 0.25, "b": 0.25}}}, [3, 2, 5]),
        ({"documents": 1, "quotas": {"shares": {"a": 0.3, "b": 0.3}}}, [0, 0, 1]),
        ({"documents": 7, "quotas": {"shares": {"a": 0.1, "b": 0.2, "c": 0.7}}}, [1, 1, 5, 0]),
    ],
)
def test_budgets(fields: dict[str, Any], budgets: list[int]) -> None:
    assert Select(by="v", **fields).budgets(30) == budgets


@given(st.integers(0, 10**12), st.lists(st.integers(0, 100), min_size=1, max_size=5))
def test_quotas_give_away_the_whole_budget(budget: int, hundredths: list[int]) -> None:
    total = max(100, sum(hundredths))
    shares = {str(i): share / total for i, share in enumerate(hundredths)}
    parts = Select(by="v", documents=budget, quotas={"shares": shares}).budgets(0)
    assert sum(parts) == budget
    assert all(abs(part - budget * share) <= 1 for part, share in zip(parts, shares.values(), strict=False))


def test_groups_by_the_text_of_a_column() -> None:
    table = pa.table({"source": ["b", "a", None, "c"], "year": [2001, 2002, 2001, None]})
    assert Select(by="v", documents=1, quotas={"shares": {"a": 0.5, "b": 0.1}}).group_of(table).tolist() == [1, 0, 2, 2]
    by_year = Select(by="v", documents=1, quotas={"column": "year", "shares": {"2001": 0.5}})
    assert by_year.group_of(table).tolist() == [0, 1, 0, 1]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({}, "give exactly one budget.*found none"),
        ({"documents": 1, "fraction": 0.5}, "found documents and fraction"),
        ({"documents": 1, "quotas": {"shares": {"a": 0.7, "b": 0.4}}}, "shares add up to 1.1"),
        ({"documents": 1, "quotas": {"shares": {"a": -0.1}}}, "a share is 0 or more; a is not"),
        ({"documents": 1, "method": "top", "temperature": 2.0}, "temperature has a meaning only"),
        ({"fraction": 1.5}, "less than or equal to 1"),
        ({"documents": 1, "temperature": 0}, "greater than 0"),
    ],
)
def test_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Select(by="v", **fields)


def size_of(values: np.ndarray) -> float:
    return effective_size(exponential_terms(values), exponential_terms(values, 2))


@given(st.lists(st.floats(-50, 50), min_size=1, max_size=30), st.sampled_from([0.0, 5000.0, -80000.0]))
def test_effective_size_against_the_formula(values: list[float], shift: float) -> None:
    weights = np.exp(np.array(values) - max(values))
    assert size_of(np.array(values) + shift) == pytest.approx(weights.sum() ** 2 / (weights**2).sum(), rel=1e-6)


def test_effective_size_does_not_depend_on_how_values_are_split() -> None:
    values = np.random.default_rng(0).normal(0, 30, 1000)
    whole = exponential_terms(values)
    parts = [exponential_terms(part) for part in np.array_split(values[::-1], [3, 400, 400, 999])]
    assert sum(reversed(parts), Counter()) == whole


def test_effective_size_of_the_plain_cases() -> None:
    assert size_of(np.full(40, -3.0)) == pytest.approx(40)
    assert size_of(np.array([1e9, 0, 0])) == pytest.approx(1)
    assert size_of(np.array([math.nan, -math.inf, 2.0, 2.0])) == pytest.approx(2)
    assert size_of(np.zeros(0)) == 0


@pytest.mark.parametrize("huge", [1e13, 1e300, 1.7e308])
def test_effective_size_of_weights_beyond_all_measure(huge: float) -> None:
    assert size_of(np.array([huge, huge, huge, 0.0, -huge])) == pytest.approx(3)
    assert size_of(np.array([-huge] * 7)) == pytest.approx(7)
    assert size_of(np.array([math.inf, huge])) == pytest.approx(1)
