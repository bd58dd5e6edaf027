"""Shards in memory, and an engine that does everything in the wrong order."""

from __future__ import annotations

import hashlib
import pickle
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from gristmill.operators import columns
from gristmill.operators.base import Rule
from gristmill.pipelines.decide.executors import executor_for, given_columns
from gristmill.pipelines.decide.rule_columns import with_given
from gristmill.pipelines.engine.base import Outcome


@dataclass(frozen=True)
class MemoryShard:
    """The columns of one shard, as a table."""

    ordinal: int
    table: pa.Table

    @property
    def rows(self) -> int:
        return self.table.num_rows

    @property
    def schema(self) -> pa.Schema:
        return self.table.schema

    def read(self, names: Sequence[str], /) -> pa.Table:
        return self.table.select(list(names))


class ShufflingEngine:
    """Runs items in a random order, some of them twice, each with a pickled copy of function and item."""

    name, workers = "shuffling", 1

    def __init__(self, seed: int = 0) -> None:
        self.random = random.Random(seed)

    def map(self, function: Callable[[Any], Any], items: Sequence[Any]) -> Iterator[Outcome[Any]]:
        order = list(range(len(items)))
        self.random.shuffle(order)
        for index in order:
            for _ in range(self.random.choice([1, 2])):
                copied, item = pickle.loads(pickle.dumps((function, items[index])))
                value = copied(item)
            yield Outcome(index, value=pickle.loads(pickle.dumps(value)))

    def close(self) -> None:
        pass


def documents(n: int) -> pa.Table:
    """n documents with the columns that each has, but for `row`: their content ids and sizes all differ."""
    ids = [hashlib.md5(str(i).encode()).digest() for i in range(n)]
    return pa.table(
        {
            columns.ID: [f"doc-{i}" for i in range(n)],
            columns.CONTENT_ID: pa.array(ids, pa.binary(16)),
            columns.BYTES: pa.array([1000 + i for i in range(n)], pa.uint64()),
            "tokens": pa.array([100 + i for i in range(n)], pa.uint32()),
        }
    )


def split(table: pa.Table, sizes: Sequence[int]) -> list[MemoryShard]:
    """Cut a table of documents into shards of these sizes, in which one row in three was rejected."""
    shards, start = [], 0
    for i, size in enumerate(sizes):
        part = table.slice(start, size)
        rows = pa.array([row * 3 // 2 for row in range(part.num_rows)], pa.uint32())
        shards.append(MemoryShard(5 + 3 * i, part.append_column(columns.ROW, rows)))
        start += size
    assert start == table.num_rows
    return shards


def check_rules(rules: Sequence[Rule], schema: pa.Schema) -> None:
    """Raise RecipeError for the first rule that cannot work on these columns, as a plan does."""
    for rule, seen in zip(rules, with_given(schema, given_columns(rules)), strict=False):
        executor_for(rule).check(rule, seen)
