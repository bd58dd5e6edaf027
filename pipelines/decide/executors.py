"""Which kind a rule is of."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa

from gristmill.operators.base import Rule
from gristmill.operators.errors import RecipeError
from gristmill.operators.rules.exact_dedup import ExactDedup
from gristmill.operators.rules.fuzzy_dedup import FuzzyDedup
from gristmill.operators.rules.paragraph_dedup import ParagraphDedup
from gristmill.operators.rules.select import Select
from gristmill.operators.table import name_of
from gristmill.pipelines.decide.contract import Kind
from gristmill.pipelines.decide.rule_columns import with_given
from gristmill.pipelines.decide.rules.condition import CONDITION, has_condition
from gristmill.pipelines.decide.rules.exact_dedup import EXACT_DEDUP
from gristmill.pipelines.decide.rules.fuzzy_dedup import FUZZY_DEDUP
from gristmill.pipelines.decide.rules.paragraph_dedup import PARAGRAPH_DEDUP
from gristmill.pipelines.decide.rules.select import SELECT
from gristmill.pipelines.shard_tasks.paragraph_removal import Removal

KINDS: dict[type[Rule], Kind] = {
    ExactDedup: EXACT_DEDUP,
    FuzzyDedup: FUZZY_DEDUP,
    ParagraphDedup: PARAGRAPH_DEDUP,
    Select: SELECT,
}


def kind_of(rule: Rule) -> Kind:
    """Return how a rule is handled: by its class, or as a condition where it has `when`."""
    kind = KINDS.get(type(rule))
    if kind is None and has_condition(rule):
        return CONDITION
    if kind is None:
        raise TypeError(f"nothing decides by {type(rule).__name__}: add it to KINDS in {__name__}")
    return kind


def rule_names(rules: Sequence[Rule]) -> list[str]:
    """Return what the funnel calls each rule: its name, or its operator's, numbered from the second on (drop, drop_2).

    Raises RecipeError where two rules are given the same name.
    """
    given = [rule.name for rule in rules if rule.name is not None]
    if repeated := sorted({name for name in given if given.count(name) > 1}):
        raise RecipeError(f"two rules are called {repeated[0]}: give each a name of its own")
    names: list[str] = []
    for rule in rules:
        name, n = rule.name or name_of(rule), 1
        while rule.name is None and (name in names or name in given):
            n += 1
            name = f"{name_of(rule)}_{n}"
        names.append(name)
    return names


def removal_by(rules: Sequence[Rule]) -> Removal | None:
    """Return what one of the rules has removed; None where there is no such rule."""
    named = zip(rules, rule_names(rules), strict=True)
    return next((Removal(rule, name) for rule, name in named if isinstance(rule, ParagraphDedup)), None)


def given_columns(rules: Sequence[Rule]) -> list[pa.Schema]:
    """The columns that each rule gives, under its name in the funnel."""
    return [rule.gives(name) for rule, name in zip(rules, rule_names(rules), strict=True)]


def check_rules(rules: Sequence[Rule], schema: pa.Schema) -> None:
    """Raise RecipeError for the first rule that cannot work on these columns, before anything runs.

    Columns must be there, measured or given by an earlier rule, and of a type that fits; an expression must parse, bind
    against the columns and say nothing that one row does not decide. The message says what is wrong and where in the
    expression, not where in the recipe.
    """
    for rule, seen in zip(rules, with_given(schema, given_columns(rules)), strict=False):
        kind_of(rule).check(rule, seen)
