"""The condition of `thresholds` beside plain comparisons, for any names, values and limits."""

from __future__ import annotations

import math

import duckdb
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from gristmill.operators.rules.thresholds import Thresholds

VALUES = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=4)
NUMBERS = st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(2**53), 2**53)
BOUNDS = st.fixed_dictionaries({}, optional={"a": st.dictionaries(VALUES, NUMBERS, min_size=1, max_size=4)})
#: Beside numbers at large those next to the limits.
DRAWS = st.tuples(VALUES | st.none(), st.none() | NUMBERS | st.just(math.inf))


@given(minimum=BOUNDS, maximum=BOUNDS, draws=st.lists(DRAWS, max_size=4))
def test_the_condition_is_what_comparisons_say(minimum: dict, maximum: dict, draws: list) -> None:  # type: ignore[type-arg]
    if not (minimum or maximum):
        return
    rule = Thresholds(by='the "group"', minimum=minimum, maximum=maximum)
    limits = [(value, float(limit)) for side in (minimum, maximum) for value, limit in side.get("a", {}).items()]
    near = [(value, x) for value, limit in limits for x in (limit, math.nextafter(limit, -math.inf))]
    rows = [(value, None if x is None else float(x)) for value, x in [*draws, *near]]
    table = pa.table(
        {
            'the "group"': pa.array([value for value, _ in rows], pa.string()),
            "a": pa.array([x for _, x in rows], pa.float64()),
        }
    )
    with duckdb.connect() as connection:
        connection.register("documents", table)
        dropped = [row[0] is True for row in connection.execute(f"SELECT {rule.when()} FROM documents").fetchall()]
    low, high = minimum.get("a", {}), maximum.get("a", {})
    expected = [
        x is not None and ((value in low and x < float(low[value])) or (value in high and x > float(high[value])))
        for value, x in rows
    ]
    assert dropped == expected
    assert len(rule.clauses()) == len(minimum) + len(maximum)
    assert rule.meant_for() == ('the "group"', tuple(dict.fromkeys([*low, *high])))


def test_limits_are_needed() -> None:
    with pytest.raises(ValidationError, match="name a file that `gristmill thresholds` wrote"):
        Thresholds()
