"""Answers to what-if in a process that lives on: documents of a recipe are held, a moved limit is told at once."""

from __future__ import annotations

import json
import re
import shlex
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa

from gristmill.operators.base import Limit, Rule
from gristmill.operators.errors import RecipeError
from gristmill.pipelines.config.located_yaml import parse_value
from gristmill.pipelines.decide.driver import Means
from gristmill.pipelines.decide.executors import executor_for, named_rules
from gristmill.pipelines.decide.held_rules import HeldRules
from gristmill.pipelines.decide.last_pass import BothDecided
from gristmill.pipelines.engine.base import Engine
from gristmill.pipelines.engine.warm_up import compile_missing
from gristmill.pipelines.planning.state import plan_run
from gristmill.pipelines.progress.reporter import Reporter
from gristmill.pipelines.recipe.recipe import LoadedRecipe
from gristmill.pipelines.report.stored_measures import stored_measures
from gristmill.pipelines.report.what_if import StoredTexts, WhatIf, check_measured, read_columns, store_remarks, told

#: A number as a slider gives it: no expression, whatever a rule would make of one.
_NUMBER = re.compile(r"-?[0-9]{1,17}(\.[0-9]{1,17})?([eE][+-]?[0-9]{1,2})?")
_QUANTILE = re.compile(r"quantile\(([^(),]+, )?([0-9.]+)\)")
#: Numbers that no limit has, which stand for limits until all of a rule are set.
_STAND_IN = 9_007_199_254_700_000


@dataclass(frozen=True)
class MovableLimit:
    """A limit of a recipe that can be set to another number."""

    position: int  #: of its rule
    rule: str  #: name of the rule
    limit: Limit
    number: str  #: as the recipe has it; of a quantile the share
    kind: pa.DataType  #: of the column

    @property
    def is_quantile(self) -> bool:
        """Return whether the number is the share of a quantile."""
        return self.number != self.limit.value

    @property
    def is_whole(self) -> bool:
        """Return whether only whole numbers make a difference."""
        return not self.is_quantile and pa.types.is_integer(self.kind)

    def written(self, number: str) -> str:
        """Return the value of the limit with a number, as it stands in the recipe. Raises RecipeError for none."""
        if not _NUMBER.fullmatch(number):
            asked = f"{self.limit.column} {self.limit.sign} {number[:40]!r}"
            raise RecipeError(f"{asked}: a limit is a number, such as 0.25")
        if not self.is_quantile:
            return number
        if not 0 <= float(number) <= 1 or "e" in number.lower():
            raise RecipeError(f"quantile({number}): the share is a number from 0 to 1, such as 0.25")
        return _QUANTILE.sub(lambda match: f"quantile({match[1] or ''}{number})", self.limit.value)


@dataclass(frozen=True)
class LiveAnswer:
    """Counts of what a recipe keeps with some limits at other numbers."""

    told: WhatIf  #: where it is not complete, of the first `rules` alone: `kept` is what these leave
    rules: int
    complete: bool


class LiveWhatIf:
    """The documents that are measured by a recipe, held to be decided with other limits.

    `what_if` says the same, from the files. Thread-safe; answers are computed one after the other.
    """

    def __init__(self, loaded: LoadedRecipe, engine: Engine) -> None:
        """Read what there is of a recipe. Raises RecipeError as `what_if` does, and where no limit can be moved."""
        state = plan_run(loaded, asks=False)
        self.loaded, self.plan, self._engine = loaded, state.plan, engine
        self._stored = stored_measures(state, read_columns(self.plan, self.plan.by), engine)
        check_measured(self.plan, self._stored)
        self._remarks = store_remarks(state, len(state.specs) - len(self._stored.shards))
        self._shards = {shard.ordinal: shard for shard in self._stored.shards}
        self._measures = {measured.ordinal: measured for measured in self._stored.measures}
        self._keys: dict[int, str] = {}
        self.limits = list(_movable(self.plan.rules, self.plan.decided))
        if not self.limits:
            raise RecipeError("no rule of the recipe compares a column with a number or a quantile: there is no limit")
        self._held: HeldRules | None = None
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._one, self._whole = threading.Lock(), threading.Lock()

    @property
    def documents(self) -> int:
        """Return the number of documents that are held."""
        return sum(count.documents for count in self._stored.counts)

    def prepare(self, reporter: Reporter, on_progress: Callable[[float], object] = lambda share: None) -> LiveAnswer:
        """Decide all documents and hold them; return the answer with no limit moved. Raises the errors of `decide`.

        `on_progress` is told the share that is done, from 0 to 1.
        """
        compile_missing({name for rule in self.plan.rules for name in rule.kernels()}, reporter)
        self._folder = tempfile.TemporaryDirectory(prefix="gristmill-")
        means = self._means(self._folder.name)
        self._held = HeldRules(self.plan.rules, self._stored.measures, self.plan.by, means, on_progress)
        return self.answer({})

    def close(self) -> None:
        """Remove the files of the held rules."""
        if self._folder is not None:
            self._folder.cleanup()

    def changes(self, numbers: Mapping[int, str]) -> tuple[list[Rule], list[str]]:
        """Return the rules with limits, by their place in `limits`, at other numbers, and `--set` values for it.

        Raises RecipeError for what is no number, and where a rule does not take it.
        """
        rules = list(self.plan.rules)
        changes: list[str] = []
        values: dict[int, dict[Limit, str]] = {}
        for moved, written in ((self.limits[i], self.limits[i].written(number)) for i, number in numbers.items()):
            if written != moved.limit.value:
                values.setdefault(moved.position, {})[moved.limit] = written
        for position, of_rule in sorted(values.items()):
            rules[position] = _with_limits(self.plan.rules[position], of_rule)
            executor_for(rules[position]).check(rules[position], self.plan.decided)
            changes += self._settings(position, rules[position])
        return rules, changes

    def command(self, numbers: Mapping[int, str]) -> str:
        """Return the command line that says the same as `answer`, quoted for a shell."""
        options = (f" --set {shlex.quote(change)}" for change in self.changes(numbers)[1])
        return f"gristmill what-if {shlex.quote(self.loaded.document.file)}{''.join(options)}"

    def first_answer(self, numbers: Mapping[int, str]) -> LiveAnswer | None:
        """Return what the rules up to the moved ones come to, or all where only conditions follow: without examples.

        None where the first rule that moved looks at all documents: `answer` then takes as long as in a run.
        """
        rules, changes = self.changes(numbers)
        with self._one:
            last, compared = self._prepared.moved(rules)
        if compared is None:
            return None
        return self._told(changes, compared, last)

    def answer(self, numbers: Mapping[int, str], examples: int = 0, stop: threading.Event | None = None) -> LiveAnswer:
        """Return what `what_if` says of these numbers. Raises Superseded once `stop` is set."""
        rules, changes = self.changes(numbers)
        with self._whole, tempfile.TemporaryDirectory(prefix="gristmill-") as folder:
            compared = self._prepared.compared(rules, examples, folder, stop or threading.Event())
        return self._told(changes, compared, len(rules))

    def sampled(self, column: str, most: int) -> Iterator[tuple[pa.ChunkedArray, pa.BooleanArray]]:
        """Yield values (n) of a column, and a mask (n) of the documents that the recipe keeps, of some shards.

        The shards are evenly spread over the sources and have about `most` documents.
        """
        for i in self._some(most):
            shard, kept = self._prepared.kept(i)
            yield shard.read([column])[column], pa.array(kept)

    @property
    def _prepared(self) -> HeldRules:
        if self._held is None:
            raise RecipeError("the documents of the recipe are not held yet")
        return self._held

    def _some(self, most: int) -> list[int]:
        every = max(1, -(-self.documents // most))
        places: dict[str, list[int]] = {}
        for i, shard in enumerate(self._stored.shards):
            places.setdefault(shard.source.name, []).append(i)
        return sorted(i for of_source in places.values() for i in of_source[::every])

    def _means(self, folder: str) -> Means:
        return Means(self._engine, folder, folder, StoredTexts(self._shards, self.plan.transforms))

    def _told(self, changes: Sequence[str], compared: BothDecided, last: int) -> LiveAnswer:
        complete = last == len(self.plan.rules)
        remarks = self._remarks if complete else []
        plans = (self.plan, self.plan)
        answer = told(plans, changes, compared, self._stored.counts, self._shards, self._measures, remarks)
        return LiveAnswer(answer, last, complete)

    def _settings(self, position: int, changed: Rule) -> Iterator[str]:
        """Yield `key=value` for each option in which a rule differs from that of the recipe."""
        before, after = self.plan.rules[position].model_dump(mode="json"), changed.model_dump(mode="json")
        for option, value in after.items():
            if before[option] != value:
                yield f"decide.{self._key(position, option)}.{option}={_as_yaml(value)}"

    def _key(self, position: int, option: str) -> str:
        """Return the name by which `--set` finds a rule; where it has none of its own, its position."""
        if position not in self._keys:
            name, rule = named_rules(self.plan.rules)[position]
            change = f"decide.{name}.{option}={_as_yaml(rule.model_dump(mode='json')[option])}"
            try:
                found = self.loaded.with_changes([change]).recipe.decide == self.loaded.recipe.decide
            except RecipeError:
                found = False
            self._keys[position] = name if found else str(position)
        return self._keys[position]


def _movable(rules: Sequence[Rule], schema: pa.Schema) -> Iterator[MovableLimit]:
    for position, (name, rule) in enumerate(named_rules(rules)):
        for limit in dict.fromkeys(rule.limits()):
            match = _QUANTILE.fullmatch(limit.value)
            number = match[2] if match else limit.value
            if _NUMBER.fullmatch(number):
                yield MovableLimit(position, name, limit, number, schema.field(limit.column).type)


def _with_limits(rule: Rule, values: Mapping[Limit, str]) -> Rule:
    """Return a rule with other values of some limits: all are set at once, as one may come to what another was."""
    sides = [(limit.column, limit.sign) for limit in rule.limits()]
    placed = dict(values)
    for i, (limit, value) in enumerate(values.items()):
        if sides.count((limit.column, limit.sign)) > 1:
            stand_in = str(_STAND_IN + i)
            rule = rule.with_limit(limit, stand_in)
            del placed[limit]
            placed[Limit(limit.column, limit.sign, stand_in)] = value
    for limit, value in placed.items():
        rule = rule.with_limit(limit, value)
    return rule


def _as_yaml(value: object) -> str:
    """Return a value as `--set` reads it."""
    if isinstance(value, str) and not value.startswith(("[", "{")):
        try:
            if parse_value(value, "") == value:
                return value
        except RecipeError:
            pass
    return json.dumps(value, ensure_ascii=False)
