"""Operators of a package that is not gristmill: a measure, and a rule that looks at all shards."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field

from gristmill import Measure, Rule
from gristmill.operators.base import Documents, Files, MeasureFunction, field
from gristmill.operators.table import Row
from gristmill.pipelines.decide.contract import Corpus, Executor, Tally, Verdict
from gristmill.pipelines.decide.rules.checks import check_known
from gristmill.pipelines.decide.shards import SurvivingShard, losses
from gristmill.pipelines.engine.base import run_in_order


class SymbolShare(Measure):
    """The share of a text's characters that are # or *."""

    def gives(self) -> pa.Schema:
        return pa.schema([field("symbol_share", pa.float64(), "share of characters that are # or *")])

    def open(self, files: Files) -> MeasureFunction:
        def measure(documents: Documents) -> pa.RecordBatch:
            symbols = pc.count_substring_regex(documents["text"], "[#*]").cast(pa.float64())
            characters = pc.max_element_wise(pc.utf8_length(documents["text"]), 1, skip_nulls=False)
            return pa.record_batch([pc.divide(symbols, characters)], schema=self.gives())

        return measure


class AtMost(Rule):
    """Keeps the first documents of each value of a column: `at_most: {documents: 1000, by: source}`."""

    shorthand: ClassVar[str | None] = "documents"

    documents: int = Field(ge=1, description="documents to keep of each value")
    by: str = Field(default="source", description="the column")

    def reads(self) -> set[str]:
        return {self.by}


@dataclass(frozen=True)
class Allowances:
    """How many documents of each value every shard may keep."""

    rule: AtMost
    left: Mapping[int, Mapping[Any, int]]

    @property
    def reads(self) -> list[str]:
        return [self.rule.by]

    def judge(self, ordinal: int, documents: pa.Table) -> Verdict:
        seen: Counter[Any] = Counter()
        lost = []
        for row, value in enumerate(documents[self.rule.by].to_pylist()):
            seen[value] += 1
            if seen[value] > self.left[ordinal][value]:
                lost.append(row)
        return Verdict(losses(np.array(lost, np.int64)), tally=Counter(dropped=len(lost)))

    def details(self, tally: Tally) -> dict[str, Any]:
        return {"beyond": tally["dropped"]}


def _count(by: str, shard: SurvivingShard) -> Counter[Any]:
    return Counter(shard.read([by])[by].to_pylist())


def _resolve(rule: AtMost, corpus: Corpus) -> Allowances:
    """Count the values of each shard; shards in order of their ordinals take what those before them leave."""
    shards = sorted(corpus.survivors.shards, key=lambda shard: shard.ordinal)
    taken: Counter[Any] = Counter()
    left = {}
    for shard, counts in zip(shards, run_in_order(corpus.engine, partial(_count, rule.by), shards), strict=True):
        left[shard.ordinal] = {value: max(0, rule.documents - taken[value]) for value in counts}
        taken.update(counts)
    return Allowances(rule, left)


def _check(rule: AtMost, schema: pa.Schema) -> None:
    check_known([rule.by], schema, " in at_most")


EXECUTOR = Executor(_check, _resolve)
AT_MOST = Row(AtMost, "example_operators:EXECUTOR")
