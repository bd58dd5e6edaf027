"""Exact crossings by radix refinement, against sorting everything."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gristmill.operators.rules.drop import Drop
from gristmill.pipelines.config.tuning import sizes, tuned
from gristmill.pipelines.decide import decide
from gristmill.pipelines.decide.order_statistics import Crossing, Located, Weighted, find_crossings
from gristmill.pipelines.decide.shards import SurvivingShard, Survivors
from gristmill.pipelines.engine.local import LocalEngine
from tests.pipelines.decide.fakes import ShufflingEngine, documents, split


def low_and_high(shard: SurvivingShard) -> list[Weighted]:
    table = shard.read(["key", "weight"])
    keys, weights = np.asarray(table["key"]), np.asarray(table["weight"])
    low = keys < 2**63
    return [Weighted(keys[low], weights[low]), Weighted(keys[~low], weights[~low])]


def by_sorting(keys: list[int], weights: list[int], budget: int) -> Located:
    spent, crossed = 0, None
    for key in sorted(set(keys)):
        here = [w for k, w in zip(keys, weights, strict=True) if k == key]
        if crossed is None and spent + sum(here) > budget:
            crossed = Crossing(key, spent, len(here))
        spent += sum(here)
    return Located(len(keys), spent, crossed)


near = st.integers(0, 40)  # keys that differ in their last bits
far = st.sampled_from([0, 2**16, 2**48 + 1, 2**63, 2**63 + 2**32, 2**64 - 50])


@pytest.mark.parametrize("few", [0, 5, sizes().tabulated])
@settings(max_examples=50)
@given(
    rows=st.lists(st.tuples(near, far, st.integers(0, 5)), max_size=60),
    cuts=st.tuples(st.integers(0, 60), st.integers(0, 60)),
    budgets=st.tuples(st.integers(0, 100), st.integers(0, 100)),
)
def test_crossings(few: int, rows: list[Any], cuts: tuple[int, int], budgets: tuple[int, int]) -> None:
    keys, weights = [a + b for a, b, _ in rows], [w for *_, w in rows]
    table = pa.table({"key": pa.array(keys, pa.uint64()), "weight": pa.array(weights, pa.int64())})
    first, second = sorted(min(cut, len(rows)) for cut in cuts)
    shards = [SurvivingShard(s) for s in split(table, [first, second - first, len(rows) - second])]
    with tuned(tabulated=few):
        searches = [lambda n, budget=budget: budget for budget in budgets]
        found = find_crossings(ShufflingEngine(), Survivors(shards, len(rows)), low_and_high, searches)
    sides = [[i for i, key in enumerate(keys) if (key < 2**63) == low] for low in (True, False)]
    assert found == [
        by_sorting([keys[i] for i in side], [weights[i] for i in side], budget)
        for side, budget in zip(sides, budgets, strict=True)
    ]


@pytest.mark.parametrize("few", [10, sizes().tabulated])
@settings(max_examples=30)
@given(
    values=st.lists(st.one_of(st.none(), st.floats(), st.integers(-3, 3).map(float)), min_size=1, max_size=50),
    p=st.sampled_from(["0", "0.1", "0.25", "0.3", "0.5", "0.999", "1"]),
)
def test_quantiles_against_the_definition_and_duckdb(few: int, values: list[float | None], p: str) -> None:
    table = documents(len(values)).append_column("x", pa.array(values, pa.float64()))
    with tuned(tabulated=few):
        decided = decide(
            [Drop(when=f"x < quantile({p})")], split(table, [len(values)]), LocalEngine(1), "memory://decide"
        )
    (learnt,) = decided.funnel[0].details["quantiles"].values()
    counted = sorted(v for v in values if v is not None and not math.isnan(v))
    if not counted:
        assert learnt is None
        return
    assert learnt == next(v for v in counted if sum(w <= v for w in counted) >= Fraction(p) * len(counted))
    oracle = pa.table({"x": counted})
    with duckdb.connect() as connection:
        connection.register("oracle", oracle)
        assert connection.execute(f"SELECT quantile_disc(x, {p}) FROM oracle").fetchone() == (learnt,)
