"""Strata, against a definition row by row, and the YAML of their columns."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from gristmill.operators.pack import Pack
from gristmill.operators.strata import Stratification, in_order

ROWS = st.lists(
    st.tuples(
        st.sampled_from(["web", "code", None]),
        st.sampled_from([-1.5, 0.0, 2.0, 5.0, 5.5, 7.0, 100.0, float("nan"), None]),
        st.sampled_from([1, 5, 6, 30, None]),
        st.sampled_from([True, False, None]),
    ),
    max_size=30,
)


def bucket(value: float | None, cuts: list[float]) -> str | None:
    if value is None or value != value:
        return None
    if value <= cuts[0]:
        return f"up to {cuts[0]:g}"
    if value > cuts[-1]:
        return f"above {cuts[-1]:g}"
    return next(f"{a:g} to {b:g}" for a, b in pairwise(cuts) if a < value <= b)


def columns_of(*by: Any) -> Pack:
    return Pack(tokenizer="t.json", by=by)


@settings(max_examples=50)
@given(ROWS)
def test_strata_are_those_of_each_row(rows: list[tuple[Any, ...]]) -> None:
    pack = columns_of("source", {"quality": [2, 5.5, 7]}, {"size": 5}, "good")
    of = Stratification(pack.by, {"quality": (2, 5.5, 7), "size": (5,)}, {"size": 1})
    types = {"source": pa.string(), "quality": pa.float64(), "size": pa.uint32(), "good": pa.bool_()}
    columns = list(zip(*rows, strict=True)) or [()] * 4
    table = pa.table({name: pa.array(c, t) for (name, t), c in zip(types.items(), columns, strict=True)})
    keys, numbers = of.strata(table)
    found = [of.told(keys[number]) for number in numbers.tolist()]
    assert found == [
        {"source": s, "quality": bucket(q, [2, 5.5, 7]), "size": bucket(1 if n is None else n, [5]), "good": g}
        for s, q, n, g in rows
    ]
    assert len({*keys}) == len(keys)
    assert sorted(in_order(keys), key=keys.index) == keys


def test_buckets_are_named_by_their_cuts() -> None:
    percent, numbers, plain = columns_of({"q": ["50%", "99.5%"]}, {"n": [0.25, 5]}, "source").by
    assert percent.buckets == ("up to 50%", "50% to 99.5%", "above 99.5%")
    assert numbers.buckets == ("up to 0.25", "0.25 to 5", "above 5")
    assert plain.buckets == ()
    of = Stratification((percent, numbers), {"q": (0.5, float("inf")), "n": (0.25, 5)})
    assert of.described() == [
        {"column": "q", "cuts": [50, 99.5], "percent": True, "limits": [0.5, None]},
        {"column": "n", "cuts": [0.25, 5], "percent": False},
    ]


def test_settings_without_strata_have_the_fingerprint_of_before() -> None:
    pack = Pack(tokenizer="x", length=64, seed=5)
    assert pack.fingerprint({"tokenizer": "d"}) == "d20c1bed1b76c36bc491febfc7582834"
    assert columns_of("source").fingerprint({}) != columns_of().fingerprint({})


@pytest.mark.parametrize(
    ("by", "message"),
    [
        (["source", "source"], "name each column once, not 'source' again"),
        ([{"q": []}], "q is cut at percentages or at numbers"),
        ([{"q": [0.5, "50%"]}], "q is cut at percentages or at numbers"),
        ([{"q": ["half"]}], "q is cut at percentages or at numbers"),
        ([{"q": [True]}], "q is cut at percentages or at numbers"),
        ([{"q": [5, 5]}], "q is cut at ascending numbers"),
        ([{"q": [float("inf")]}], "q is cut at ascending numbers"),
        ([{"q": ["0%"]}], "percentiles are between 0% and 100%"),
        ([{"a": [1], "b": [2]}], "name a column, such as source, or one with its cuts"),
        ([{"q": [*range(101)]}], "at most 100"),
    ],
)
def test_wrong_columns_say_what_is_right(by: list[Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        columns_of(*by)
