"""Compiled conditions: what fires, by which clause, how far from the limit; and nothing else of the world."""

from __future__ import annotations

import datetime
import math
import pickle
import re

import duckdb
import pyarrow as pa
import pytest

from gristmill.operators.errors import RecipeError, ShardError
from gristmill.operators.expressions.condition import Quantile, compile_condition
from gristmill.operators.expressions.sandbox import tables

TABLE = pa.table(
    {
        "a": [1.0, None, math.nan, 7.0, -0.0],
        "w": pa.array([5, 10, None, 3, 4], pa.uint32()),
        "s": ["x", "é", None, "12", ")("],
        "limits": [1, 2, 3, 4, 5],
        "y": [[1, 2], [3], None, [], [9]],
        "m": [{"q": 1.5}, {"q": 0.5}, None, {"q": 3.0}, {"q": None}],
        "d": pa.array([datetime.datetime(2020, 1, day) for day in range(1, 6)], pa.timestamp("us")),
    }
)


def fired(when: str, **quantiles: object) -> list[tuple[int, str, float | None, float | None]]:
    condition = compile_condition(when, TABLE.schema)
    limits = {q: pa.scalar(quantiles[q.column], TABLE.schema.field(q.column).type) for q in condition.quantiles}
    found = pickle.loads(pickle.dumps(condition)).evaluate(TABLE, limits)
    clauses = [condition.clauses[i] for i in found.clauses]
    return list(zip(found.rows.tolist(), clauses, found.values.to_pylist(), found.limits.to_pylist(), strict=True))


@pytest.mark.parametrize(
    "when",
    [
        "a < 3 or w > 4",
        "not (a > 3 or w > 3)",
        "a > 0",  # NaN is the greatest
        "a is null or w is null",
        "s like 'x%' or s = ')('",
        "len(s) < 2 and w > 4",
        "try_cast(s as int) > 3",
        "list_reduce(list_concat([0], y), lambda p, q: p + q) > 2",
        "m.q > 1 or y[1] = 3",
        "w between 4 and 5 or w in (10, 11)",
        "limits * 2 > w + 1 and s <> 'it''s'",
        "case when a > 3 then true else w > 5 end",
        "d < '2020-01-03' or date_part('day', d) = 5",
        "s collate nocase = 'X'",
        "a = 0.0 or a = 1e0",
    ],
)
def test_drops_what_a_where_clause_selects(when: str) -> None:
    with duckdb.connect() as connection:
        connection.register("numbered", TABLE.append_column("n", pa.array(range(5))))
        connection.execute("CREATE TABLE t AS SELECT * FROM numbered")  # stored: no filter reaches into Arrow
        expected = connection.execute(f"SELECT n FROM t WHERE {when} ORDER BY n").fetchall()
    assert [row for row, *_ in fired(when)] == [row for (row,) in expected]


def test_the_first_clause_that_is_true_gives_the_reason() -> None:
    assert fired("a < 3 or w > 4") == [
        (0, "a < 3", 1.0, 3.0),
        (1, "w > 4", 10.0, 4.0),
        (4, "a < 3", 0.0, 3.0),
    ]


def test_values_come_before_limits_whatever_side_they_stand_on() -> None:
    assert fired("5 > w") == [(3, "5 > w", 3.0, 5.0), (4, "5 > w", 4.0, 5.0)]
    assert fired("w > limits * 2") == [(0, "w > (limits * 2)", 5.0, 2.0), (1, "w > (limits * 2)", 10.0, 4.0)]


def test_comparisons_of_other_things_than_numbers_give_the_condition_alone() -> None:
    assert fired("s = 'x' or d > '2020-01-04'") == [
        (0, "s = 'x'", None, None),
        (4, "d > '2020-01-04'", None, None),
    ]
    assert fired("w = 3 and a = 7") == [(3, "(w = 3) AND (a = 7)", None, None)]


def test_quantiles_are_named_by_the_column_they_are_compared_with() -> None:
    when = "w between quantile(0.1) and quantile(0.9) or quantile(0.50) <= limits or a > 2 * quantile(w, 1)"
    names = [Quantile("w", "0.1"), Quantile("w", "0.9"), Quantile("limits", "0.50"), Quantile("w", "1")]
    assert list(compile_condition(when, TABLE.schema).quantiles) == names


def test_quantiles_stand_as_the_limit() -> None:
    assert fired("a < quantile(0.5)", a=1.0) == [(4, "a < quantile(0.5)", 0.0, 1.0)]
    assert fired("a < quantile(0.5)", a=None) == []
    assert [row for row, *_ in fired("d >= quantile(0.5)", d=datetime.datetime(2020, 1, 4))] == [3, 4]


@pytest.mark.parametrize(
    ("p", "n", "rank"), [("0.1", 10, 1), ("0.1", 11, 2), ("0.3", 10, 3), ("0", 5, 1), ("1", 5, 5), ("1e-1", 100, 10)]
)
def test_rank_of_a_quantile_is_exact(p: str, n: int, rank: int) -> None:
    assert Quantile("a", p).rank(n) == rank


@pytest.mark.parametrize(
    ("when", "message"),
    [
        ("a", "a gives double, not true or false"),
        ("a > 3 or w", "w gives uint32"),
        ("s < 3", "Cannot compare values of type VARCHAR"),
        ("a < 'x'", "Could not convert string 'x' to DOUBLE"),
        ("3 > 2", "names no column"),
        ("lower(a, 1) = 'x'", "No function matches"),
        ("a < quantile(2)", "quantile at character 5 of 'a < quantile(2)': p is a number from 0 to 1"),
        ("a < quantile(w)", "p is a number"),
        ("a < quantile(-0.1)", "p is a number"),
        ("a + 1 < quantile(0.5)", "not compared with a plain column"),
        ("quantile(0.5) < 3 or a > 1", "not compared with a plain column"),
        ("quantile(a + 1, 0.5) < 3 or a > 1", "its first argument is not a plain column"),
        ("a < quantile(0.1, 0.2, 0.3)", "write quantile(p) or quantile(column, p)"),
        ("s > quantile(0.5)", "s is string, not a number, date or time"),
    ],
)
def test_refused(when: str, message: str) -> None:
    with pytest.raises(RecipeError) as error:
        compile_condition(when, TABLE.schema)
    assert message in str(error.value)


def test_a_value_that_cannot_be_computed_is_an_error_of_the_shard() -> None:
    condition = compile_condition("s::int > 3", TABLE.schema)
    with pytest.raises(ShardError, match=r"Could not convert string 'x'.*try_cast"):
        condition.evaluate(TABLE, {})


@pytest.mark.parametrize(
    "query",
    [
        "SELECT * FROM read_text('/etc/hostname')",
        "SELECT * FROM '/etc/hostname'",
        "COPY (SELECT 1) TO '/tmp/gristmill-sandbox.csv'",
        "ATTACH '/tmp/gristmill-sandbox.db'",
        "INSTALL httpfs",
        "LOAD httpfs",
        "SET enable_external_access = true",
        "SET lock_configuration = false",
        "SELECT * FROM TABLE",  # a variable of this module
        "SELECT * FROM other",
    ],
)
def test_the_sandbox_holds_whatever_runs_in_it(query: str) -> None:
    with tables({"other": TABLE}), tables({"documents": TABLE}) as connection, pytest.raises(duckdb.Error):
        connection.execute(query).fetchall()


@pytest.mark.parametrize(
    ("when", "told"),
    [
        ("a < 3 || w > 4", "`||` joins texts in SQL; for one or the other: write `or`"),
        ("a || w", "write `or`"),
        ("s || 'x'", "write `or`"),
        ("a < 3 && w > 4", "`&&` is no `and` in SQL; for both: write `and`"),
    ],
)
def test_operators_of_other_languages_are_explained(when: str, told: str) -> None:
    with pytest.raises(RecipeError, match=re.escape(told)):
        compile_condition(when, TABLE.schema)


def test_operators_in_texts_are_not_explained() -> None:
    with pytest.raises(RecipeError) as refused:
        compile_condition("s = '||' and", TABLE.schema)
    assert "joins" not in str(refused.value)
