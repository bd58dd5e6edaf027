"""`gristmill sweep`: how many documents and tokens a recipe keeps as one of its limits moves, from stored measures."""

from __future__ import annotations

import csv
import io
import math
import re
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from fractions import Fraction
from typing import Any

import pyarrow as pa
import pyarrow.types

from gristmill.operators.base import Limit, Rule
from gristmill.operators.errors import RecipeError
from gristmill.operators.rules.drop import Drop
from gristmill.operators.rules.select import exact
from gristmill.pipelines.config.wording import did_you_mean
from gristmill.pipelines.decide.driver import Means
from gristmill.pipelines.decide.executors import executor_for, named_rules
from gristmill.pipelines.decide.funnel import ShardKept
from gristmill.pipelines.decide.sweep import count_all, kept_by_each
from gristmill.pipelines.engine.base import Engine
from gristmill.pipelines.engine.warm_up import compile_missing
from gristmill.pipelines.planning.plan import Plan
from gristmill.pipelines.planning.state import plan_run
from gristmill.pipelines.progress.reporter import Reporter
from gristmill.pipelines.recipe.recipe import LoadedRecipe
from gristmill.pipelines.report.stored_measures import stored_measures
from gristmill.pipelines.report.what_if import StoredTexts, check_measured, read_columns, store_remarks

#: The place of the number in a condition that is given for the sweep.
PLACE = "{}"
_ASKED = re.compile(r"(.+?)\s*(<=|>=|<|>)?\s*")


@dataclass(frozen=True)
class SweepPoint:
    """Counts of what is kept with one limit: in all, and (documents, tokens) of each source."""

    limit: float
    documents: int
    tokens: int
    sources: dict[str, tuple[int, int]]


@dataclass(frozen=True)
class Sweep:
    """Counts of what a recipe keeps as a limit moves."""

    recipe: str
    column: str
    rule: str  #: the one whose limit moves
    condition: str  #: what drops, with PLACE for the limit
    now: str | None  #: the limit of the recipe; None for a rule that it does not have
    documents: int  #: before the first rule
    tokens: int
    estimated: bool  #: whether tokens are
    points: tuple[SweepPoint, ...]
    remarks: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        points = [
            {**asdict(point), "sources": {s: {"documents": n, "tokens": t} for s, (n, t) in point.sources.items()}}
            for point in self.points
        ]
        return {**asdict(self), "points": points}

    def to_csv(self) -> str:
        """Return a row for each limit and source, that of all sources first, with an empty name."""
        written = io.StringIO()
        table = csv.writer(written, lineterminator="\n")
        table.writerow(["limit", "source", "documents", "tokens"])
        for point in self.points:
            for source, counts in {"": (point.documents, point.tokens), **point.sources}.items():
                table.writerow([f"{point.limit:g}", source, *counts])
        return written.getvalue()


def sweep(
    loaded: LoadedRecipe,
    column: str,
    ends: tuple[float, float],
    steps: int,
    rule: str | None,
    engine: Engine,
    reporter: Reporter,
) -> Sweep:
    """Return what a recipe keeps with `steps` limits on a column, evenly spread between two ends.

    The limit is that of the one rule that compares the column with a number or a quantile; `rule` names one where
    several do, and `column` may end in the sign (`gopher_words <`) where one has several limits. A `rule` with PLACE in
    it is a condition that stands after all rules of the recipe. Raises RecipeError where no such limit is found, or
    nothing is measured.
    """
    if steps < 2 or not -math.inf < ends[0] < ends[1] < math.inf:
        raise RecipeError(
            "a sweep goes from a lower to a higher limit in 2 steps or more, not from "
            f"{ends[0]:g} to {ends[1]:g} in {steps}"
        )
    state = plan_run(loaded, asks=False)
    plan = state.plan
    moving = _moving(plan, column, rule)
    limits = _limits(ends, steps, plan.schema.field(moving.column).type)
    lists = [[*plan.rules[: moving.position], moving.at(limit), *plan.rules[moving.position + 1 :]] for limit in limits]
    executor_for(lists[0][moving.position]).check(lists[0][moving.position], plan.decided)
    compile_missing({name for each in plan.rules for name in each.kernels()}, reporter)
    names = read_columns(plan, ()) | lists[0][moving.position].reads()
    stored = stored_measures(state, names, engine)
    check_measured(plan, stored)
    shards = {shard.ordinal: shard for shard in stored.shards}
    with tempfile.TemporaryDirectory(prefix="gristmill-") as folder:
        means = Means(engine, folder, folder, StoredTexts(shards, plan.transforms))
        with reporter.stage("decide", len(lists), "limit") as stage:
            kept = kept_by_each(lists, moving.position, stored.measures, means, stage.advance)
    everything = count_all(stored.measures, engine)
    sources = {shard.ordinal: shard.source.name for shard in stored.shards}
    return Sweep(
        recipe=plan.loaded.recipe.name,
        column=moving.column,
        rule=moving.name,
        condition=moving.condition,
        now=None if moving.limit is None else moving.limit.value,
        documents=sum(count.rows for count in everything),
        tokens=sum(count.tokens for count in everything),
        estimated=plan.tokens_are_estimated,
        points=tuple(_point(float(limit), of_list, sources) for limit, of_list in zip(limits, kept, strict=True)),
        remarks=tuple(store_remarks(state, stored.missing)),
    )


@dataclass(frozen=True)
class _Moving:
    """The limit that moves."""

    position: int  #: of its rule
    name: str
    column: str
    condition: str
    rule: Rule | None  #: None for the one that is added
    limit: Limit | None

    def at(self, value: str) -> Rule:
        """Return the rule with this number as its limit."""
        if self.rule is None or self.limit is None:
            return Drop(when=self.condition.replace(PLACE, value))
        return self.rule.with_limit(self.limit, value)


def _moving(plan: Plan, asked: str, rule: str | None) -> _Moving:
    """Return the limit that is asked for. Raises RecipeError where there is none, or several."""
    match = _ASKED.fullmatch(asked)
    column, sign = (match[1], match[2]) if match else (asked, None)
    if column not in plan.decided.names:
        raise RecipeError(f"the recipe has no column {column}{did_you_mean(column, plan.decided.names)}")
    if rule is not None and PLACE in rule:
        return _Moving(len(plan.rules), "added", column, rule, None, None)
    if rule is not None and rule not in (known := [name for name, _ in named_rules(plan.rules)]):
        raise RecipeError(f"the recipe has no rule {rule}{did_you_mean(rule, known)}")
    matches = [
        _Moving(i, name, column, f"{limit.column} {limit.sign} {PLACE}", each, limit)
        for i, (name, each) in enumerate(named_rules(plan.rules))
        for limit in dict.fromkeys(each.limits())
        if limit.column == column and sign in (None, limit.sign) and rule in (None, name)
    ]
    if not matches:
        who = "no rule of the recipe compares" if rule is None else f"the rule {rule} does not compare"
        raise RecipeError(
            f"{who} {asked} with a number; give a condition that stands after all of its rules: "
            f'--rule "{column} < {PLACE}"'
        )
    if len(matches) > 1:
        named = ", ".join(f"{m.name} ({m.limit.column} {m.limit.sign} {m.limit.value})" for m in matches if m.limit)
        raise RecipeError(
            f"{len(matches)} limits are on {asked}: {named}; say which: --rule NAME, or the sign with the column, as "
            f'in "{column} <"'
        )
    return matches[0]


def _limits(ends: tuple[float, float], steps: int, type: pa.DataType) -> list[str]:
    """Return the limits, evenly spread, as they stand in conditions: whole numbers for a column of whole numbers."""
    low, high = map(exact, ends)
    step = (high - low) / (steps - 1)
    # three digits of a step; a run with the limit that is shown keeps what is shown
    digits = 0 if pyarrow.types.is_integer(type) else max(0, 2 - math.floor(math.log10(step)))
    return list(dict.fromkeys(_decimal(low + i * step, digits) for i in range(steps)))


def _decimal(value: Fraction, digits: int) -> str:
    whole = round(value * 10**digits)
    text = f"{'-' if whole < 0 else ''}{abs(whole) // 10**digits}"
    fraction = f"{abs(whole) % 10**digits:0{digits}d}".rstrip("0") if digits else ""
    return f"{text}.{fraction}" if fraction else text


def _point(limit: float, kept: Sequence[ShardKept], sources: dict[int, str]) -> SweepPoint:
    documents: Counter[str] = Counter(dict.fromkeys(sources.values(), 0))
    tokens: Counter[str] = Counter()
    for shard in kept:
        documents[sources[shard.ordinal]] += shard.rows
        tokens[sources[shard.ordinal]] += shard.tokens
    by_source = {name: (n, tokens[name]) for name, n in documents.items()}
    return SweepPoint(limit, documents.total(), tokens.total(), by_source)
