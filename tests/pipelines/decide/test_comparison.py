"""Two lists of rules side by side: what `decide` says of each, whatever the engine and the split."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gristmill.operators import columns
from gristmill.operators.base import Rule
from gristmill.operators.rules.drop import Drop
from gristmill.operators.rules.exact_dedup import ExactDedup
from gristmill.operators.rules.select import Select
from gristmill.pipelines.decide import Decided, decide
from gristmill.pipelines.decide.comparison import Variant, compare
from gristmill.pipelines.decide.driver import Means
from gristmill.pipelines.decide.last_pass import BothDecided
from gristmill.pipelines.engine.base import Engine
from gristmill.pipelines.engine.local import LocalEngine
from tests.pipelines.decide.fakes import MemoryShard, ShufflingEngine, documents, split

N = 300
SHORT, BAD = Drop(when="words < 40"), Drop(when="quality < 0.5", name="bad")
WORSE = Drop(when="quality < 0.3", name="bad")
COPIES, BEST = ExactDedup(by="key"), Select(by="quality", method="top", documents=40)
LISTS: list[tuple[list[Rule], list[Rule]]] = [
    ([SHORT, BAD], [SHORT, WORSE]),
    ([], [SHORT]),
    ([SHORT, COPIES, BAD], [SHORT, COPIES, WORSE]),
    ([BAD, SHORT, COPIES], [WORSE, SHORT, COPIES]),
    ([COPIES, BAD, SHORT, BEST], [COPIES, BAD, SHORT]),
    ([COPIES, SHORT], [Drop(when="quality < quantile(0.4)"), SHORT]),
]


@pytest.fixture(scope="module")
def shards() -> list[MemoryShard]:
    draw = np.random.default_rng(0)
    added = {
        "key": [f"k{i}" for i in draw.integers(0, N // 2, N)],
        "quality": pa.array([None if i % 11 == 0 else v / 60 for i, v in enumerate(draw.integers(0, 60, N).tolist())]),
        "words": pa.array(draw.integers(1, 200, N), pa.uint32()),
        "source": [["docs", "web"][i] for i in draw.integers(0, 2, N)],
    }
    table = documents(N)
    for name, column in added.items():
        table = table.append_column(name, pa.array(column))
    return split(table, [100, 7, 193])


def fates(rules: Sequence[Rule], shards: Sequence[MemoryShard], folder: Path) -> tuple[Decided, dict[int, str | None]]:
    """What `decide` says: the outcome, and the rule that drops each document, by address."""
    decided = decide(rules, shards, LocalEngine(2), str(folder), by=["source"])
    tables = [pq.read_table(path) for path in (folder / "decisions").iterdir()]
    return decided, {row["address"]: row["rule"] for table in tables for row in table.to_pylist()}


def compared(
    rules: Sequence[Sequence[Rule]], shards: Sequence[MemoryShard], folder: Path, engine: Engine, examples: int = N
) -> BothDecided:
    means = Means(engine, str(folder / "scratch"), str(folder / "run"))
    return compare(Variant(rules[0], shards), Variant(rules[1], shards), ["source"], examples, means)


@pytest.mark.parametrize("rules", LISTS, ids=lambda rules: " ".join(type(rule).__name__ for rule in rules[0]))
def test_it_says_what_two_decisions_say(
    rules: tuple[list[Rule], list[Rule]], shards: list[MemoryShard], tmp_path: Path
) -> None:
    told = compared(rules, shards, tmp_path, LocalEngine(2))
    before, after = (fates(each, shards, tmp_path / str(i)) for i, each in enumerate(rules))
    assert (told.before, told.after) == (before[0], after[0])
    tokens = {}
    for shard in shards:
        for row, n in zip(*(shard.table[name].to_pylist() for name in (columns.ROW, "tokens")), strict=True):
            tokens[columns.address(shard.ordinal, row)] = n
    moves, sizes = Counter(), Counter()
    for address, rule in before[1].items():
        move = rule, after[1][address]
        moves[move] += 1
        sizes[move] += tokens[address]
    assert {(m.before, m.after): (m.documents, m.tokens) for m in told.moves} == {
        move: (n, sizes[move]) for move, n in moves.items() if move[0] != move[1]
    }
    changed = {a: rule is not None for a, rule in before[1].items() if (rule is None) != (after[1][a] is None)}
    assert {change.address: change.came for change in told.changed} == changed
    for change in told.changed:
        assert change.rule == (before if change.came else after)[1][change.address]


@pytest.mark.parametrize("rules", LISTS[::2], ids=lambda rules: " ".join(type(rule).__name__ for rule in rules[0]))
def test_the_engine_and_the_order_of_shards_change_nothing(
    rules: tuple[list[Rule], list[Rule]], shards: list[MemoryShard], tmp_path: Path
) -> None:
    told = compared(rules, shards, tmp_path / "a", LocalEngine(2), examples=3)
    assert len(told.changed) >= 3
    for seed in range(2):
        assert compared(rules, shards, tmp_path / f"b{seed}", ShufflingEngine(seed), examples=3) == told
