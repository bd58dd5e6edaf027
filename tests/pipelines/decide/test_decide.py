"""Whole decisions: against SQL, over engines, splits and orders; and that the counts add up."""

from __future__ import annotations

import math
import pickle
import random
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gristmill.operators import columns
from gristmill.operators.base import Rule
from gristmill.operators.errors import FatalError, ShardError
from gristmill.operators.rules.drop import Drop
from gristmill.operators.rules.exact_dedup import ExactDedup
from gristmill.operators.rules.select import Select
from gristmill.pipelines.config.tuning import tuned
from gristmill.pipelines.decide import DECISIONS, Decided, decide
from gristmill.pipelines.decide.funnel import build_funnel
from gristmill.pipelines.engine.base import Engine
from gristmill.pipelines.engine.local import LocalEngine
from gristmill.pipelines.store.measures import ShardCounts
from tests.pipelines.decide.fakes import MemoryShard, ShufflingEngine, documents, split

N = 400


@pytest.fixture(scope="module")
def table() -> pa.Table:
    draw = np.random.default_rng(0)
    key = pa.array([f"k{i}" if i % 7 else None for i in draw.integers(0, N // 2, N)])
    quality = pa.array([None if i % 11 == 0 else float(v) for i, v in enumerate(draw.integers(0, 60, N) / 60)])
    added = {
        "key": key,
        "quality": quality,
        "words": pa.array(draw.integers(1, 200, N), pa.uint32()),
        "score": pa.array([math.nan if i % 13 == 0 else float(v) for i, v in enumerate(draw.integers(-9, 9, N))]),
        "source": [["docs", "web", "news"][i] for i in draw.integers(0, 3, N)],
    }
    whole = documents(N)
    for name, column in added.items():
        whole = whole.append_column(name, pa.array(column))
    return whole


def run(rules: Sequence[Rule], shards: Sequence[MemoryShard], folder: Path, engine: Engine) -> tuple[Decided, pa.Table]:
    """The funnel, and the decisions of all shards in the order of addresses."""
    decided = decide(rules, shards, engine, str(folder))
    assert [entry.name for entry in folder.iterdir()] == ["decisions"], "scratch is removed"
    files = sorted((folder / "decisions").iterdir())
    assert [file.name for file in files] == sorted(f"{shard.ordinal:08d}.parquet" for shard in shards)
    decisions = pa.concat_tables(pq.read_table(file) for file in files)
    assert decisions.schema == DECISIONS
    return decided, decisions


def by_content(decisions: pa.Table, shards: Sequence[MemoryShard]) -> list[dict[str, Any]]:
    """Decisions with ids in the place of addresses."""
    ids: dict[int | None, str] = {}
    for shard in shards:
        rows = shard.table[columns.ROW].to_pylist()
        ids |= {
            columns.address(shard.ordinal, r): i for r, i in zip(rows, shard.table[columns.ID].to_pylist(), strict=True)
        }
    rows = decisions.to_pylist()
    return [{**row, "address": ids[row["address"]], "survivor": ids.get(row["survivor"])} for row in rows]


CHAIN: list[Rule] = [
    Drop(when="words < 20 or quality > 0.95"),
    ExactDedup(keep="best: quality", by="key"),
    Drop(when="quality < quantile(0.3)", name="low"),
    Drop(when="source = 'news' and words > 180"),
    Select(by="score", method="top", documents=90),
]

ORACLE = """
WITH a AS (SELECT *, CASE WHEN words < 20 THEN 'words < 20' WHEN quality > 0.95 THEN 'quality > 0.95' END AS c1 FROM t),
b AS (SELECT *, first_value(n) OVER best AS survivor, key IS NOT NULL AND row_number() OVER best > 1 AS lost
      FROM a WHERE c1 IS NULL WINDOW best AS (PARTITION BY key ORDER BY quality DESC NULLS LAST, n)),
c AS (SELECT *, coalesce(quality < (SELECT quantile_disc(quality, 0.3) FROM b WHERE NOT lost), false) AS low
      FROM b WHERE NOT lost),
d AS (SELECT *, source = 'news' AND words > 180 AS c4 FROM c WHERE NOT low),
e AS (SELECT n, isnan(score) OR row_number() OVER (ORDER BY isnan(score), score DESC, n) > 90 AS out
      FROM d WHERE NOT c4)
SELECT 'doc-' || t.n, CASE WHEN a.c1 IS NOT NULL THEN 'drop' WHEN b.lost THEN 'exact_dedup' WHEN c.low THEN 'low'
                WHEN d.c4 THEN 'drop_2' WHEN e.out THEN 'select' END,
       CASE WHEN b.lost THEN 'doc-' || b.survivor END, a.c1
FROM t LEFT JOIN a USING (n) LEFT JOIN b USING (n) LEFT JOIN c USING (n) LEFT JOIN d USING (n) LEFT JOIN e USING (n)
ORDER BY t.n
"""


def test_a_chain_of_rules_against_sql(table: pa.Table, tmp_path: Path) -> None:
    shards = split(table, [100, 0, 250, 50])
    decided, decisions = run(CHAIN, shards, tmp_path, LocalEngine(2))
    with duckdb.connect() as connection:
        connection.register("numbered", table.append_column("n", pa.array(range(N))))
        connection.execute("CREATE TABLE t AS SELECT * FROM numbered")
        expected = connection.execute(ORACLE).fetchall()
    found = by_content(decisions, shards)
    clauses = [row["condition"] if row["rule"] == "drop" else None for row in found]
    assert [(r["address"], r["rule"], r["survivor"], c) for r, c in zip(found, clauses, strict=True)] == expected
    assert [row["kept"] for row in found] == [rule is None for _, rule, *_ in expected]
    assert {rule for _, rule, *_ in expected} == {None, *(count.name for count in decided.funnel)}


def test_the_funnel_adds_up(table: pa.Table, tmp_path: Path) -> None:
    shards = split(table, [150, 250])
    decided, decisions = run(CHAIN, shards, tmp_path, LocalEngine(2))
    joined = decisions.append_column("bytes", table["bytes"]).append_column("tokens", table["tokens"])
    left, dropped_bytes, dropped_tokens = N, 0, 0
    for count in decided.funnel:
        lost = joined.filter(pa.compute.equal(joined["rule"].cast(pa.string()), count.name))
        assert (count.seen, count.dropped) == (left, lost.num_rows)
        assert count.dropped_bytes == sum(lost["bytes"].to_pylist())
        assert count.dropped_tokens == sum(lost["tokens"].to_pylist())
        left -= count.dropped
        dropped_bytes += count.dropped_bytes
        dropped_tokens += count.dropped_tokens
    assert decided.kept == left == 90 == sum(decisions["kept"].to_pylist())
    assert [shard.ordinal for shard in decided.shards] == [shard.ordinal for shard in shards]
    assert decided.kept_bytes + dropped_bytes == sum(table["bytes"].to_pylist())
    assert decided.kept_tokens + dropped_tokens == sum(table["tokens"].to_pylist())
    first = decided.funnel[0].details["conditions"]
    assert list(first) == ["words < 20", "quality > 0.95"]
    assert sum(first.values()) == decided.funnel[0].dropped
    pickle.dumps(decided)


def test_decision_rows_say_by_how_much(table: pa.Table, tmp_path: Path) -> None:
    shards = split(table, [N])
    decided, decisions = run(CHAIN, shards, tmp_path, LocalEngine(1))
    rows = list(zip(decisions.to_pylist(), table.to_pylist(), strict=True))
    (limit,) = decided.funnel[2].details["quantiles"].values()
    for decision, document in rows:
        reason = tuple(decision[name] for name in ("condition", "value", "limit"))
        if decision["kept"] or decision["rule"] == "exact_dedup":
            assert reason == (None, None, None)
        elif decision["rule"] == "low":
            assert reason == ("quality < quantile(0.3)", document["quality"], limit)
        elif decision["rule"] == "drop" and decision["condition"] == "words < 20":
            assert reason[1:] == (document["words"], 20)
        elif decision["rule"] == "drop_2":
            assert reason == ("(\"source\" = 'news') AND (words > 180)", None, None)
        elif decision["rule"] == "select" and math.isnan(document["score"]):
            assert reason == ("score is null", None, None)
        elif decision["rule"] == "select":
            assert reason == (None, document["score"], decided.funnel[4].details["groups"][0]["threshold"])
            assert decision["value"] <= decision["limit"]


RESAMPLED: list[Rule] = [
    Drop(when="words < quantile(0.1) or words > quantile(0.95)"),
    ExactDedup(keep="longest", by=["source", "key"]),
    ExactDedup(by="key", name="second"),
    Select(by="quality", fraction=0.8, seed=3, temperature=0.2),
    Select(by="random", tokens=20_000, quotas={"shares": {"docs": 0.4, "web": 0.4}}, name="draw"),
]


@pytest.mark.parametrize("rules", [CHAIN, RESAMPLED], ids=["chain", "resampled"])
def test_engines_splits_and_orders_change_nothing(table: pa.Table, tmp_path: Path, rules: list[Rule]) -> None:
    whole = split(table, [N])
    expected, decisions = run(rules, whole, tmp_path / "whole", LocalEngine(1))
    rows = by_content(decisions, whole)
    engines: list[Engine] = [LocalEngine(1), LocalEngine(2), LocalEngine(4), ShufflingEngine(1), ShufflingEngine(2)]
    for i, engine in enumerate(engines):
        shards = split(table, [50, 1, 0, 149, 130, 70])
        random.Random(i).shuffle(shards)
        with tuned(tabulated=10, partition_rows=90) if i % 2 else nullcontext():
            decided, decisions = run(rules, shards, tmp_path / str(i), engine)
        assert by_content(decisions, shards) == rows
        assert [without_addresses(count.details) for count in decided.funnel] == [
            without_addresses(count.details) for count in expected.funnel
        ]


def without_addresses(details: dict[str, Any]) -> dict[str, Any]:
    largest = [group["copies"] for group in details.get("largest_groups", [])]
    return {**details, "largest_groups": largest}


def test_files_are_the_same_bytes_on_every_engine(table: pa.Table, tmp_path: Path) -> None:
    shards = split(table, [130, 270])
    for name, engine in {"threads": LocalEngine(2), "shuffled": ShufflingEngine(5)}.items():
        run(RESAMPLED, shards, tmp_path / name, engine)
    for file in (tmp_path / "threads" / "decisions").iterdir():
        assert file.read_bytes() == (tmp_path / "shuffled" / "decisions" / file.name).read_bytes()


rules = st.one_of(
    st.sampled_from(["x < 2", "x < quantile(0.3)", "x > quantile(y, 0.5) or y is null"]).map(lambda w: Drop(when=w)),
    st.tuples(st.sampled_from(["first", "longest", "best: x", "best: y"]), st.sampled_from(["k", "y", ("k", "y")])).map(
        lambda keep_by: ExactDedup(keep=keep_by[0], by=keep_by[1])
    ),
    st.builds(Select, by=st.sampled_from(["x", "y", "random"]), documents=st.integers(0, 20), seed=st.integers(0, 3)),
    st.builds(Select, by=st.just("y"), method=st.just("top"), fraction=st.floats(0, 1)),
)
few = st.one_of(st.none(), st.integers(0, 3))


@settings(max_examples=40)
@given(
    rows=st.lists(st.tuples(few, few, few), min_size=1, max_size=25),
    chain=st.lists(rules, max_size=4),
    cut=st.integers(0, 25),
    seed=st.integers(0, 9),
)
def test_any_chain_on_any_documents(
    rows: list[Any], chain: list[Rule], cut: int, seed: int, tmp_path_factory: Any
) -> None:
    whole = documents(len(rows))
    for i, name in enumerate("kxy"):
        whole = whole.append_column(name, pa.array([row[i] for row in rows], pa.float64()))
    cut = min(cut, len(rows))
    shards = split(whole, [cut, len(rows) - cut])
    decided, decisions = run(chain, shards, tmp_path_factory.mktemp("any"), ShufflingEngine(seed))
    assert sum(count.dropped for count in decided.funnel) + decided.kept == len(rows)
    fates = {row["address"]: row for row in decisions.to_pylist()}
    order = {count.name: i for i, count in enumerate(decided.funnel)} | {None: len(chain)}
    for row in fates.values():
        if row["survivor"] is not None:
            assert order[fates[row["survivor"]]["rule"]] > order[row["rule"]], "the survivor is kept by that rule"
    for count in decided.funnel:
        if count.operator == "select" and count.details["unit"] == "documents":
            assert count.kept == min(count.details["budget"], count.seen - count.details["never_taken"])


def test_a_survivor_may_fall_to_a_later_rule(tmp_path: Path) -> None:
    whole = documents(3).append_column("k", pa.array(["a", "a", "b"])).append_column("q", pa.array([1, 2, 3]))
    shards = split(whole, [1, 2])
    _, decisions = run([ExactDedup(keep="best: q", by="k"), Drop(when="q = 2")], shards, tmp_path, LocalEngine(1))
    fates = by_content(decisions, shards)
    assert [(row["rule"], row["survivor"]) for row in fates] == [("exact_dedup", "doc-1"), ("drop", None), (None, None)]


def test_a_clause_that_is_written_twice_is_counted_once(tmp_path: Path) -> None:
    rule = Drop(when="bytes < 1002 or tokens > 101 or bytes < 1002")
    decided, _ = run([rule], split(documents(4), [4]), tmp_path, LocalEngine(1))
    assert decided.funnel[0].details == {"conditions": {"bytes < 1002": 2, "tokens > 101": 2}}


def test_largest_groups_are_reported_with_their_survivors(tmp_path: Path) -> None:
    keys = ["a", "b", "a", "c", "b", "a", None, None, "b", "b"]
    whole = documents(10).append_column("k", pa.array(keys))
    shards = split(whole, [3, 4, 3])
    decided, _ = run([ExactDedup(by="k")], shards, tmp_path, LocalEngine(1))
    first = shards[0].ordinal
    assert decided.funnel[0].details == {
        "groups": 2,
        "largest_groups": [
            {"survivor": columns.address(first, 1), "copies": 4},
            {"survivor": columns.address(first, 0), "copies": 3},
        ],
    }


def test_no_rules_and_no_documents(tmp_path: Path) -> None:
    decided, decisions = run([], split(documents(3), [3]), tmp_path / "a", LocalEngine(1))
    assert (decided.kept, decisions["kept"].to_pylist()) == (3, [True] * 3)
    whole = documents(0).append_column("k", pa.array([], pa.string()))
    chain = [Drop(when="bytes < quantile(0.5)"), ExactDedup(by="k"), Select(by="random", documents=3)]
    decided, _ = run(chain, split(whole, [0, 0]), tmp_path / "b", LocalEngine(1))
    assert [(count.seen, count.dropped) for count in decided.funnel] == [(0, 0)] * 3
    assert decide(chain, [], LocalEngine(1), str(tmp_path / "c")).kept == 0


def test_an_error_of_a_shard_ends_deciding_and_leaves_no_scratch(tmp_path: Path) -> None:
    whole = documents(4).append_column("s", pa.array(["1", "2", "x", "4"]))
    with pytest.raises(ShardError, match="Could not convert string 'x'"):
        decide([Drop(when="s::int > 3")], split(whole, [2, 2]), LocalEngine(2), str(tmp_path))
    assert not (tmp_path / "exchange").exists()


def test_leftovers_of_a_killed_run_are_not_read(tmp_path: Path) -> None:
    (tmp_path / "exchange" / "drops-0").mkdir(parents=True)
    (tmp_path / "exchange" / "drops-0" / "00000005.arrow").write_bytes(b"half a file")
    decided, _ = run([Drop(when="bytes > 1001")], split(documents(3), [3]), tmp_path, LocalEngine(1))
    assert decided.kept == 2


def test_counts_that_do_not_add_up_are_refused(tmp_path: Path) -> None:
    decided, _ = run([Drop(when="bytes > 1001")], split(documents(3), [3]), tmp_path, LocalEngine(1))
    counts = ShardCounts(0, documents=3, records=3, rejects=0, text_bytes=0)
    build_funnel([counts], decided).check()
    with pytest.raises(FatalError, match="documents \\+ quarantined"):
        build_funnel([replace(counts, documents=4)], decided).check()
    with pytest.raises(FatalError, match="documents seen by drop = 3, documents left by the rules before it = 4"):
        build_funnel([replace(counts, documents=4, records=4)], decided).check()
    with pytest.raises(FatalError, match="documents kept = 0, documents - dropped = 2"):
        build_funnel([counts], replace(decided, shards=[])).check()
