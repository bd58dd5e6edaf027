"""Losses by group: against SQL over the decisions, whatever the engine, the split and the order of the shards."""

from __future__ import annotations

import random
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gristmill.operators.base import Rule
from gristmill.operators.errors import RecipeError
from gristmill.operators.rules.drop import Drop
from gristmill.operators.rules.select import Select
from gristmill.pipelines.decide import Decided, decide, grouped_by, groups
from gristmill.pipelines.engine.base import Engine
from gristmill.pipelines.engine.local import LocalEngine
from tests.pipelines.decide.fakes import MemoryShard, ShufflingEngine, documents, split

N = 300
BY = ("source", "lang", "year", "good")
RULES: list[Rule] = [
    Drop(when="bytes % 7 = 0 and source = 'web'"),
    Drop(when="tokens > quantile(0.8)", name="long"),
    Select(by="random", documents=80),
]


@pytest.fixture(scope="module")
def table() -> pa.Table:
    draw = random.Random(0)
    columns = {
        "source": pa.array([draw.choice(["web", "docs"]) for _ in range(N)]),
        "lang": pa.array([draw.choice(["en", "pt", "de", None, ""]) for _ in range(N)]),
        "year": pa.array([draw.choice([1999, 2003, None]) for _ in range(N)], pa.int16()),
        "good": pa.array([draw.random() < 0.5 for _ in range(N)]),
    }
    whole = documents(N)
    for name, column in columns.items():
        whole = whole.append_column(name, column)
    tokens = pa.array([None if i % 50 == 0 else 100 + i for i in range(N)], pa.uint32())
    return whole.set_column(whole.schema.names.index("tokens"), "tokens", tokens)


def run(shards: list[MemoryShard], folder: Path, engine: Engine) -> Decided:
    return decide(RULES, shards, engine, str(folder), by=BY)


def test_they_are_what_sql_finds_in_the_decisions(table: pa.Table, tmp_path: Path) -> None:
    shards = split(table, [120, 0, 180])
    decided = run(shards, tmp_path, LocalEngine(2))
    decisions = pa.concat_tables(
        pq.read_table(tmp_path / "decisions" / f"{shard.ordinal:08d}.parquet") for shard in shards
    )
    joined = table.append_column("rule", decisions["rule"].cast(pa.string()))  # both in the order of the shards
    for by in BY:
        sql = f"SELECT {by}::VARCHAR, rule, count(*), coalesce(sum(tokens), 0) FROM joined GROUP BY ALL"
        expected = {(value, rule): (n, int(tokens)) for value, rule, n, tokens in duckdb.sql(sql).fetchall()}
        found = {}
        for group in decided.groups:
            if group.column == by:
                found |= {(group.value, rule): counts for rule, counts in group.dropped.items()}
                lost = group.lost(["drop", "long", "select"])
                kept = (group.documents - lost[0], group.tokens - lost[1])
                found |= {(group.value, None): kept} if kept[0] else {}
        assert found == expected
    assert joined.num_rows == N


@pytest.mark.parametrize("seed", range(4))
def test_they_depend_on_the_documents_alone(table: pa.Table, tmp_path: Path, seed: int) -> None:
    """The rules here go by values alone, so that a split changes no decision but the selection's."""
    shuffled = split(table, [10] * 30)
    random.Random(seed).shuffle(shuffled)
    rules = RULES[:2]
    whole = decide(rules, split(table, [N]), LocalEngine(1), str(tmp_path / "a"), by=BY)
    parts = decide(rules, shuffled, ShufflingEngine(seed), str(tmp_path / "b"), by=BY)
    assert parts.groups == whole.groups
    assert [group.column for group in whole.groups[:2]] == ["source", "source"]


def test_a_column_of_too_many_values_is_not_counted(
    table: pa.Table, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(groups, "MOST_VALUES", 1)  # more in one shard, and in none but in all
    apart = table.sort_by("good")
    cut = apart["good"].to_pylist().index(True)
    decided = decide([], split(apart, [cut, N - cut]), LocalEngine(1), str(tmp_path), by=("source", "good", "lang"))
    assert decided.crowded == ["good", "lang"]
    assert {group.column for group in decided.groups} == {"source"}, "sources are as many as the recipe has"


@pytest.mark.parametrize(
    ("asked", "found"), [(None, ("source", "lang")), ((), ("source",)), (("year", "source"), ("source", "year"))]
)
def test_sources_and_languages_are_counted_unasked(table: pa.Table, asked: tuple[str, ...], found: object) -> None:
    assert grouped_by(asked, table.schema) == found


def test_columns_that_make_no_groups_are_refused(table: pa.Table) -> None:
    with pytest.raises(RecipeError, match=r"cannot be counted by content_id, which is fixed_size_binary\[16\]"):
        grouped_by(("content_id",), table.schema)
