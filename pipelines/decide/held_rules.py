"""A list of rules, decided once and held at every rule that looks at all documents, to be compared with others.

What stands before a limit that moves is not decided again. Conditions that follow each other are a `HeldChain`, which
says in a fraction of a second what they come to; rules behind them that look at all documents are resolved anew.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from gristmill.operators.base import Rule
from gristmill.operators.errors import GristmillError, ShardError
from gristmill.pipelines.decide.comparison import Variant, common_rules
from gristmill.pipelines.decide.driver import Applied, Means, apply_rules
from gristmill.pipelines.decide.executors import executor_for, given_columns
from gristmill.pipelines.decide.held_block import blocks_of
from gristmill.pipelines.decide.held_chain import HeldChain
from gristmill.pipelines.decide.last_pass import BothDecided, ComparedSide, compare_sides
from gristmill.pipelines.decide.rule_columns import with_given
from gristmill.pipelines.decide.rules.chain import PASSED, Chain, first_clauses
from gristmill.pipelines.decide.rules.condition import CONDITION, local_condition
from gristmill.pipelines.decide.shards import ShardColumns
from gristmill.pipelines.engine.base import Engine, Result
from gristmill.pipelines.storage import files


class Superseded(GristmillError):
    """Nobody waits for an answer any more."""


@dataclass(frozen=True)
class StoppableEngine:
    """An engine whose work ends with Superseded, before the next item, once an event is set."""

    engine: Engine
    stop: threading.Event

    @property
    def name(self) -> str:
        """Return the name of the engine."""
        return self.engine.name

    @property
    def workers(self) -> int:
        """Return the number of items that run at the same time."""
        return self.engine.workers

    def map(self, function: Callable[[Any], Result], items: Sequence[Any]) -> Any:
        """Yield the outcomes of `Engine.map`."""

        def unless_stopped(item: Any) -> Result:
            if self.stop.is_set():
                raise Superseded("a newer question was asked")
            return function(item)

        return self.engine.map(unless_stopped, items)

    def close(self) -> None:
        """Do nothing: the engine is somebody else's."""


class HeldRules:
    """A list of rules, decided on the documents of all shards."""

    def __init__(
        self,
        rules: Sequence[Rule],
        shards: Sequence[ShardColumns],
        by: Sequence[str],
        means: Means,
        on_progress: Callable[[float], object] = lambda share: None,
    ) -> None:
        """Decide all documents; `on_progress` is told the share that is done, from 0 to 1.

        The files of `means` must stay while this is used. Raises the errors of `decide`.
        """
        self.rules, self.by, self._shards, self._means = rules, by, shards, means
        self._schemas = with_given(shards[0].schema, given_columns(rules))
        self._conditions = [_is_condition(rule, schema) for rule, schema in zip(rules, self._schemas, strict=False)]
        self._end = len(rules) - len(Variant(rules, shards).chain.rules)
        self._stages = {0: Applied.none(shards)}
        self._chains: dict[int, HeldChain | None] = {}  #: by the position of the first of their rules
        applied = self._stages[0]
        for first, last in self._runs():
            applied = apply_rules(rules, applied, first, self._below(f"stage-{first}"))
            self._stages[first] = applied
            on_progress(first / max(1, len(rules)))
            self._chains[first] = self._held(first, last, on_progress)
        self._stages[self._end] = apply_rules(rules, applied, self._end, self._below("end"))
        on_progress(1.0)

    def kept(self, i: int) -> tuple[ShardColumns, NDArray[np.bool_]]:
        """Return the columns of a shard, those that the rules gave among them, and which of its documents are kept."""
        shard = self._stages[self._end].survivors.shards[i]
        kept, chain = shard.kept(), Variant(self.rules, self._shards).chain
        kept[kept] = first_clauses([chain], shard.read(sorted(chain.reads)))[0] == PASSED
        return shard.shard, kept

    def moved(self, rules: Sequence[Rule]) -> tuple[int, BothDecided | None]:
        """Return the outcomes of both lists up to the last condition that follows the first rule that differs.

        The other is the number of rules that they tell of: all of them where only conditions follow. None where the
        first rule that differs looks at all documents itself, or more than limits differ. No example is given.
        """
        at = common_rules(self.rules, rules)
        for first, last in self._runs():
            if first <= at < last:
                return last, self._told(first, rules[:last], 0)
        return at, None

    def _told(self, first: int, rules: Sequence[Rule], examples: int) -> BothDecided | None:
        """Return what a chain says of other rules; None where it cannot."""
        chain = self._chains.get(first)
        try:
            return None if chain is None else chain.compared(rules, examples)
        except ShardError:  # of a clause on a document that another one drops before
            return None

    def compared(
        self,
        rules: Sequence[Rule],
        examples: int,
        folder: str,
        stop: threading.Event,
        on_progress: Callable[[], object] = lambda: None,
    ) -> BothDecided:
        """Return what `compare` does of these rules and others; what both begin with is not decided again.

        `folder` is for files that are needed meanwhile. Raises Superseded once `stop` is set, and the errors of
        `decide`.
        """
        at = common_rules(self.rules, rules)
        outcome = self._told(self._end, rules, examples) if self._end <= at else None
        if outcome is not None:
            return outcome
        begun = self._stages[max(stage for stage in self._stages if stage <= at)]
        engine = StoppableEngine(self._means.engine, stop)
        means = replace(self._means, engine=engine, scratch=files.join(folder, "scratch"), run=folder)
        before, after = (Variant(each, self._shards) for each in (self.rules, rules))
        end = len(rules) - len(after.chain.rules)
        done = apply_rules(rules, begun, max(end, len(begun.funnel)), means, on_progress)
        sides = [
            ComparedSide(self.rules, self._stages[self._end], before.chain),
            ComparedSide(rules, done, Chain(after.chain.rules[len(done.funnel) - end :])),
        ]
        return compare_sides(sides, self.by, examples, engine, on_progress)

    def _runs(self) -> list[tuple[int, int]]:
        """Return where conditions that follow each other begin and end."""
        runs: list[tuple[int, int]] = []
        for i, held in enumerate(self._conditions):
            if held and runs and runs[-1][1] == i:
                runs[-1] = (runs[-1][0], i + 1)
            elif held:
                runs.append((i, i + 1))
        return runs

    def _held(self, first: int, last: int, on_progress: Callable[[float], object]) -> HeldChain | None:
        """Return the chain of some rules; None where one of its clauses cannot be computed on all documents."""
        rules = self.rules[:last]
        side = ComparedSide(rules, self._stages[first], Variant(rules, self._shards).chain)
        blocks, done = len(blocks_of(side)), 0

        def advance() -> None:
            nonlocal done
            done += 1
            on_progress((first + (last - first) * done / blocks) / max(1, len(self.rules)))

        try:
            return HeldChain(side, self._schemas[last], self.by, self._means.engine, advance)
        except ShardError:
            return None

    def _below(self, name: str) -> Means:
        means = self._means
        return replace(means, scratch=files.join(means.scratch, name), run=files.join(means.run, name))


def _is_condition(rule: Rule, schema: pa.Schema) -> bool:
    return executor_for(rule) is CONDITION and local_condition(rule, schema) is not None
