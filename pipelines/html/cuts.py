"""Limits of a run's rules on its measures: where a histogram is cut."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gristmill.operators.base import Rule
from gristmill.operators.errors import GristmillError
from gristmill.pipelines.decide.executors import named_rules
from gristmill.pipelines.decide.funnel import Funnel
from gristmill.pipelines.recipe.recipe import recorded_operators

_QUANTILE = re.compile(r"quantile\((.*)\)")


@dataclass(frozen=True)
class MeasureCut:
    """A number that a rule compares a measure with."""

    rule: str
    column: str
    sign: str  #: documents go whose value is on this side: <, <=, > or >=
    limit: float
    written: str  #: the limit as the recipe has it
    group: tuple[str, str] | None = None  #: the column and the value whose documents have this limit; None: all have it

    @property
    def drops_below(self) -> bool:
        """Return whether lower values go."""
        return self.sign.startswith("<")


def cuts_of(recipe: Mapping[str, Any], funnel: Funnel) -> list[MeasureCut]:
    """Return the limits of the rules of a recipe as a run recorded it, each once, in the order of the rules.

    A quantile is the number that it came to, a cut the one that was looked up; limits of each language are as the run
    had them. Rules of packages that are not installed are left out.
    """
    try:
        rules: Sequence[Rule] = recorded_operators(recipe, "decide", "the record of the run")
    except GristmillError:
        return []
    cuts = []
    details = {rule.name: rule.details for rule in funnel.rules}
    for name, rule in named_rules(rules):
        quantiles = details.get(name, {}).get("quantiles", {})
        for limit in dict.fromkeys(rule.limits()):
            if (number := _number(limit.value, limit.column, quantiles)) is not None:
                cuts.append(MeasureCut(name, limit.column, limit.sign, number, limit.value))
        cuts += _told(name, {**rule.told(), **details.get(name, {})})
    return cuts


def _told(rule: str, told: Mapping[str, Any]) -> Iterator[MeasureCut]:
    """Yield the limits that a rule tells of by itself (`Rule.told`)."""
    if cut := told.get("cut"):
        yield MeasureCut(rule, cut["column"], "<", float(cut["at"]), f"the cut for {cut['wish']}")
    limits = told.get("limits", {})
    for sign, side in (("<", "minimum"), (">", "maximum")):
        for column, by_value in limits.get(side, {}).items():
            for value, limit in by_value.items():
                yield MeasureCut(rule, column, sign, float(limit), f"{side} of {value}", (limits["by"], value))


def _number(written: str, column: str, quantiles: Mapping[str, Any]) -> float | None:
    if match := _QUANTILE.fullmatch(written):
        written = str(quantiles.get(f"quantile({column}, {match[1]})"))
    try:
        return float(written)
    except ValueError:
        return None
