"""Executors of rules, their names in the funnel, the columns that they give and the texts that they rewrite."""

from __future__ import annotations

import importlib
from collections.abc import Sequence

import pyarrow as pa

from gristmill.operators.base import Rewrite, Rule
from gristmill.operators.errors import RecipeError
from gristmill.operators.table import executor_of, name_of
from gristmill.pipelines.decide.contract import Executor
from gristmill.pipelines.decide.rules.condition import CONDITION, has_condition


def executor_for(rule: Rule) -> Executor:
    """Return the executor of a rule: the one in its row of the table, or that of conditions where it has `when`.

    Raises RecipeError where there is neither.
    """
    place = executor_of(rule)
    if place is not None:
        module, _, name = place.partition(":")
        executor: Executor = getattr(importlib.import_module(module), name)
        return executor
    if has_condition(rule):
        return CONDITION
    name = type(rule).__name__
    raise RecipeError(
        f"nothing applies {name}: give it `when`, or its row in the table an executor: Row({name}, 'module:NAME')"
    )


def rule_names(rules: Sequence[Rule]) -> list[str]:
    """Return each rule's name in the funnel: its own, or its operator's, numbered from the second on (drop, drop_2).

    Raises RecipeError where two rules are given the same name.
    """
    own_names = [rule.name for rule in rules if rule.name is not None]
    if repeated := sorted({name for name in own_names if own_names.count(name) > 1}):
        raise RecipeError(f"two rules are called {repeated[0]}: give each a name of its own")
    names: list[str] = []
    for rule in rules:
        name, n = rule.name or name_of(rule), 1
        while rule.name is None and (name in names or name in own_names):
            n += 1
            name = f"{name_of(rule)}_{n}"
        names.append(name)
    return names


def named_rules(rules: Sequence[Rule]) -> list[tuple[str, Rule]]:
    """Return the rules, each with its name in the funnel."""
    return list(zip(rule_names(rules), rules, strict=True))


def rewrite_by(rules: Sequence[Rule]) -> Rewrite | None:
    """Return the change that one of the rules makes to the written texts; None where none does."""
    rewrites = (rule.rewrites(name) for name, rule in named_rules(rules))
    return next((rewrite for rewrite in rewrites if rewrite is not None), None)


def given_columns(rules: Sequence[Rule]) -> list[pa.Schema]:
    """Return the columns that each rule gives, under its name in the funnel."""
    return [rule.gives(name) for name, rule in named_rules(rules)]
