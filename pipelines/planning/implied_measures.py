"""Implied measures: those that a recipe does not list but its rules, its dataset and its funnel need."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from typing import NamedTuple

from pydantic import ValidationError

from gristmill.operators import columns
from gristmill.operators.base import Measure, Operator, Transform
from gristmill.operators.table import name_of, of_kind, operators
from gristmill.pipelines.config.located_yaml import Path
from gristmill.pipelines.config.mistakes import Mistakes
from gristmill.pipelines.config.wording import did_you_mean
from gristmill.pipelines.decide import given_columns, rule_names
from gristmill.pipelines.label.columns import label_columns
from gristmill.pipelines.label.task import LoadedTask
from gristmill.pipelines.recipe.recipe import Recipe, section_of

#: The funnel counts tokens whether the recipe asks for them or not: an estimate costs next to nothing.
TOKENS = "tokens"

_URL_REMEDY = "name the field that holds it in the source: `url: FIELD`"
LABEL, WRITE, REPORT, PACK = "label", "write", "report", "pack"


class Need(NamedTuple):
    """Column that a part of the recipe reads."""

    column: str
    by: str  #: name of its reader, for messages
    path: Path  #: place of its reader in the recipe
    signs: Sequence[Measure] = ()  #: measures that its reader brings, with its own options
    given: AbstractSet[str] = frozenset()  #: columns given by earlier rules


def implied_measures(
    recipe: Recipe,
    documents: Sequence[str],
    tasks: Sequence[LoadedTask],
    mistakes: Mistakes,
    of_source: Callable[[str], str],
) -> list[tuple[Measure, str, Path]]:
    """Return the measures to add to a recipe, each with the name and the place of its reader.

    Notes columns that nothing gives, and columns of sources that a measure looks at and that no source has.

    `documents` are the columns that documents have before they are measured, `tasks` the labelling tasks; `of_source`
    returns a hint for a column that has the name of a source's field.
    """
    have: dict[str, Measure | None] = dict.fromkeys(documents)
    for i, measure in enumerate(recipe.measure):
        _check_reads(measure, ("measure", i, name_of(measure)), documents, mistakes)
        have.update(dict.fromkeys(measure.gives().names, measure))
    defaults = _default_measures()
    added: list[tuple[Measure, str, Path]] = []
    for need in _needs(recipe, tasks, mistakes):
        own = _giver(need.column, need.signs)
        if need.column in have and own not in (None, have[need.column]):
            mistakes.add(
                need.path, f"there is another column {need.column} than {need.by} needs; rename it", need.column
            )
        if need.column in have or need.column in need.given:
            continue
        giver = own or _giver(need.column, defaults)
        if giver is not None and own is None and giver.yields_to_fields and (listed := of_source(need.column)):
            mistakes.add(need.path, f"there is no column {need.column}{listed}", need.column)
        elif giver is None:
            candidates = {*have, *need.given, *(name for m in defaults for name in m.gives().names)}
            hint = _remedy(need, candidates, recipe, of_source)
            mistakes.add(need.path, f"there is no column {need.column}{hint}", need.column)
        elif other := next((name for name in giver.gives().names if name in have), None):
            mistakes.add(
                need.path,
                f"{need.column} is a column of {name_of(giver)}, which gives {other} too, and there is another "
                f"{other}; rename that one, as in metadata: {{source_{other}: {{field: {other}}}}}",
                need.column,
            )
        else:
            _check_reads(giver, need.path, documents, mistakes)
            added.append((giver, need.by, need.path if own else ("decide",)))
            have.update(dict.fromkeys(giver.gives().names, giver))
    return added


def _needs(recipe: Recipe, tasks: Sequence[LoadedTask], mistakes: Mistakes) -> Iterator[Need]:
    given_names: set[str] = set()
    for i, (rule, columns_given) in enumerate(zip(recipe.decide, given_columns(recipe.decide), strict=True)):
        path: Path = ("decide", i, name_of(rule))
        with mistakes.noted(path):
            names = sorted(rule.reads())
            yield from [Need(column, name_of(rule), path, rule.needs(), frozenset(given_names)) for column in names]
        given_names.update(columns_given.names)
    for i, task in enumerate(tasks):
        if recipe.transform:
            yield Need(columns.TEXT_ID, LABEL, ("label", i))
        for column in sorted(task.task.sample.columns_needed() if task.task.sample else ()):
            yield Need(column, f"the sample of {task.name}", ("label", i), given=frozenset(given_names))
        given_names.update(label_columns(task.task).names)
    all_known = len(tasks) == len(recipe.label)  # else the columns of the missing tasks are not known
    for i, column in enumerate(recipe.write.columns or ()):
        if column != columns.TEXT and all_known:
            yield Need(column, WRITE, ("write", "columns", i), given=given_names)
    for i, entry in enumerate(recipe.write.pack.by if recipe.write.pack is not None and all_known else ()):
        yield Need(entry.column, PACK, ("write", "pack", "by", i), given=given_names)
    for i, column in enumerate(recipe.report.by or ()):
        yield Need(column, REPORT, ("report", "by", i))
    yield Need(TOKENS, "the funnel", ("measure",))


def _check_reads(measure: Measure, path: Path, documents: Sequence[str], mistakes: Mistakes) -> None:
    """Note the columns that a measure looks at and that no source has."""
    for column in sorted(measure.reads() - {*documents}):
        remedy = _URL_REMEDY if column == columns.URL else f"list it in the source as metadata: [{column}]"
        mistakes.add(path, f"there is no column {column}, which {name_of(measure)} looks at; {remedy}")


def _giver(column: str, measures: Sequence[Measure]) -> Measure | None:
    return next((measure for measure in measures if column in measure.gives().names), None)


def _default_measures() -> list[Measure]:
    """Return the measures that need no options, with their defaults."""
    measures: list[Measure] = []
    for cls in of_kind(Measure).values():
        with contextlib.suppress(ValidationError):
            measures.append(cls())  # type: ignore[arg-type]
    return measures


def _remedy(need: Need, known: set[str], recipe: Recipe, of_source: Callable[[str], str]) -> str:
    if need.column == columns.TEXT:
        return ": rules go by what was measured of a text, such as gopher_words"
    if need.column == columns.URL:
        return f"; {_URL_REMEDY}"
    for name, later in zip(rule_names(recipe.decide), given_columns(recipe.decide), strict=True):
        if need.column in later.names:
            return f": the rule {name} gives it to the rules after it"
    classes = [cls for cls in of_kind(Measure).values() if _required(cls)] + [*of_kind(Transform).values()]
    givers = {cls.model_fields["column"].default: cls for cls in classes if "column" in cls.model_fields}
    if need.column not in givers and (listed := of_source(need.column)):
        return listed
    known = {*known, *givers} | ({columns.TEXT} if need.by == WRITE else set())
    hint = did_you_mean(need.column, known)
    for column, cls in givers.items():
        if column == need.column or hint == f"; did you mean {column}?":
            name, section = next((n, section_of(c)) for n, c in operators().items() if c is cls)
            options = f" with its {' and '.join(_required(cls))}" if _required(cls) else ""
            listed = f"the {section} {name} gives it: list it under {section}{options}"
            return f"; {listed}" if column == need.column else f"{hint} ({listed})"
    return hint


def _required(cls: type[Operator]) -> list[str]:
    return [name for name, field in cls.model_fields.items() if field.is_required()]
