"""Columns that rules give: what later rules, files and other engines see of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gristmill.operators.base import Rule
from gristmill.operators.errors import RecipeError
from gristmill.operators.rules.drop import Drop
from gristmill.operators.rules.fuzzy_dedup import FuzzyDedup
from gristmill.pipelines.decide import decide, given_file
from gristmill.pipelines.decide.executors import given_columns
from gristmill.pipelines.engine.local import LocalEngine
from tests.pipelines.decide.fakes import MemoryShard, ShufflingEngine, check_rules, documents, split

#: Documents by what is in them: 0 and 3 stand for texts that come three times.
CONTENTS = [0, 1, 2, 0, 3, 4, 5, 3, 6, 0, 7, 3]
RULES: list[Rule] = [
    Drop(when="tokens = 101"),
    FuzzyDedup(),
    Drop(when="fuzzy_dedup_size > 2 and bytes < 1004", name="frequent"),
    FuzzyDedup(name="again", verify="none"),
]


@pytest.fixture
def shards() -> list[MemoryShard]:
    signatures = np.random.default_rng(0).integers(0, 1 << 16, (8, 112), np.uint16)[CONTENTS].astype("<u2")
    column = pa.array([row.tobytes() for row in signatures], pa.binary(224))
    return split(documents(len(CONTENTS)).append_column("minhash_5_112_1", column), [5, 0, 7])


def test_later_rules_see_the_columns(shards: list[MemoryShard], tmp_path: Path) -> None:
    decided = decide(RULES, shards, LocalEngine(2), str(tmp_path))
    assert [(rule.name, rule.dropped) for rule in decided.funnel] == [
        ("drop", 1),
        ("fuzzy_dedup", 4),
        ("frequent", 1),
        ("again", 0),
    ]
    given = pa.concat_tables(pq.read_table(given_file(str(tmp_path), 1, shard.ordinal)) for shard in shards)
    assert given.column_names == ["row", *given_columns(RULES)[1].names]
    assert given["row"].to_pylist() == [row for shard in shards for row in shard.table["row"].to_pylist()]
    expected = [3 if content in (0, 3) else None for content in CONTENTS]
    assert given["fuzzy_dedup_size"].to_pylist() == expected
    assert given["fuzzy_dedup_similarity"].to_pylist() == [size and 1.0 for size in expected]
    firsts = [shards[0].ordinal << 32 | row for row in (0, 6)]
    assert set(given["fuzzy_dedup_cluster"].to_pylist()) == {None, *firsts}


def test_they_do_not_depend_on_the_engine(shards: list[MemoryShard], tmp_path: Path) -> None:
    decide(RULES, shards, LocalEngine(2), str(tmp_path / "local"))
    for seed in range(5):
        decide(RULES, shards[::-1], ShufflingEngine(seed), str(tmp_path / f"{seed}"))
        for path in (tmp_path / "local").rglob("*.parquet"):
            other = tmp_path / f"{seed}" / path.relative_to(tmp_path / "local")
            assert other.read_bytes() == path.read_bytes()


def test_a_column_is_given_once(shards: list[MemoryShard]) -> None:
    check_rules(RULES, shards[0].schema)
    with pytest.raises(RecipeError, match="there is a column near_size already"):
        check_rules([FuzzyDedup(name="near")], shards[0].schema.append(pa.field("near_size", pa.uint32())))
    with pytest.raises(RecipeError, match="unknown column fuzzy_dedup_size"):
        check_rules([RULES[2], RULES[1]], shards[0].schema)
    with pytest.raises(RecipeError, match=r"needs fixed_size_binary\[224\] in minhash_5_112_1, not string"):
        check_rules([FuzzyDedup()], pa.schema({"minhash_5_112_1": pa.string()}))
