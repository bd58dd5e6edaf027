"""Choice among the strata that tokens of a dataset are packed by."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from gristmill.operators.errors import RecipeError
from gristmill.operators.strata import StratumColumn, Value, cut_text
from gristmill.pipelines.config.wording import did_you_mean
from gristmill.pipelines.sinks.tokens import TokenCounts

#: Values of columns that a stratum has to have: one, or one of several, of each column that is named.
Where = Mapping[str, Value | Sequence[Value]]


def only_where(packed: Mapping[str, Any], where: Where, dataset: str) -> dict[str, Any]:
    """Return what a manifest tells of packed tokens, of some strata alone.

    Raises RecipeError where tokens are not packed by a column, none has a value of it, or no stratum is left.
    """
    wanted = {column: values_of(given) for column, given in where.items()}
    for column, values in wanted.items():
        known = values_in(packed, column, dataset)
        for value in values:
            if not any(value == other and type(value) is type(other) for other in known):
                hint = did_you_mean(str(value), map(value_text, known))
                raise RecipeError(f"{dataset} has no tokens with {column} {value_text(value)}{hint}")
    strata = [
        told for told in packed["strata"] if all(told["stratum"][column] in values for column, values in wanted.items())
    ]
    if not strata:
        raise RecipeError(f"{dataset} has no tokens with {where_text(where)}")
    keys = [told["stratum"] for told in strata]
    counts = {name: sum(told[name] for told in strata) for name in TokenCounts.__dataclass_fields__ if name in packed}
    shards = [shard for shard in packed["shards"] if shard["stratum"] in keys]
    return {**packed, **counts, "strata": strata, "shards": shards}


def values_in(packed: Mapping[str, Any], column: str, dataset: str) -> list[Value]:
    """Return the values of a column that strata have, in their order. Raises RecipeError where it parts none."""
    if "by" not in packed:
        raise RecipeError(
            f"{dataset} is packed without strata; `write: {{pack: {{by: [{column}]}}}}` in its recipe packs them apart"
        )
    names = [entry["column"] for entry in packed["by"]]
    if column not in names:
        raise RecipeError(f"{dataset} is not packed by {column}{did_you_mean(column, names)}")
    entry = next(entry for entry in packed["by"] if entry["column"] == column)
    there = list(dict.fromkeys(told["stratum"][column] for told in packed["strata"]))
    buckets = [value for value in buckets_of(entry) if value in there]
    return [*buckets, *(value for value in there if value not in buckets)]


def buckets_of(entry: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the names of the buckets of a column, as manifests describe it; none where it is not cut."""
    return StratumColumn(**{name: entry[name] for name in ("column", "cuts", "percent") if name in entry}).buckets


def values_of(given: Value | Sequence[Value]) -> list[Value]:
    """Return one value, or several, as a list."""
    return [*given] if isinstance(given, list | tuple) else [given]  # type: ignore[list-item]


def value_text(value: Value) -> str:
    """Return a value as YAML has it."""
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def where_text(where: Where) -> str:
    """Return a choice in words: `source web, quality above 90%`."""
    told = ((column, " or ".join(map(value_text, values_of(given)))) for column, given in where.items())
    return ", ".join(f"{column} {values}" for column, values in told)


def above(entry: Mapping[str, Any], bound: float, percent: bool) -> tuple[str, ...] | None:
    """Return the buckets of a column that lie above one of its cuts; None where it is not cut there."""
    cuts = entry.get("cuts", [])
    if bound not in cuts or entry["percent"] != percent:
        return None
    return buckets_of(entry)[cuts.index(bound) + 1 :]


def cuts_text(entry: Mapping[str, Any]) -> str:
    """Return where a column is cut: `5, 10`, or `50%, 90%`."""
    return ", ".join(cut_text(cut) + ("%" if entry["percent"] else "") for cut in entry.get("cuts", ()))
