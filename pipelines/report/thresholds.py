"""`gristmill thresholds`: quantiles of measures, for each language or other group of documents."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import yaml

from gristmill.operators.errors import RecipeError
from gristmill.operators.expressions.condition import Quantile
from gristmill.operators.expressions.order import order_keys, value_of
from gristmill.pipelines.config.wording import did_you_mean, plural
from gristmill.pipelines.engine.local import LocalEngine
from gristmill.pipelines.planning.state import StoreState, plan_run
from gristmill.pipelines.recipe.recipe import LoadedRecipe
from gristmill.pipelines.report.stored_measures import stored_measures
from gristmill.pipelines.store.measures import ShardMeasures

#: Quantiles up to this one are limits below which documents go, greater ones limits above which they do.
MIDDLE = 0.5


@dataclass(frozen=True)
class GroupQuantile:
    """A quantile of a column among the documents of one group."""

    value: str  #: of the column that documents are grouped by
    column: str
    quantile: float
    threshold: int | float
    documents: int  #: those of the group that have a value


@dataclass(frozen=True)
class SmallGroup:
    """A group with too few documents; `value` is None for those that belong to none."""

    value: str | None
    column: str
    documents: int


@dataclass(frozen=True)
class GroupQuantiles:
    """The quantiles of all groups that are large enough, and the groups that are not."""

    by: str
    least: int
    quantiles: tuple[GroupQuantile, ...]  #: by column, value and quantile
    left_out: tuple[SmallGroup, ...]

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return asdict(self)

    def to_yaml(self) -> str:
        """Return it as a file for the rule `thresholds`. Raises RecipeError where it has two limits for one thing."""
        bounds: dict[str, dict[str, dict[str, int | float]]] = {"minimum": {}, "maximum": {}}
        documents: dict[str, dict[str, int]] = {}
        for row in self.quantiles:
            side = "minimum" if row.quantile <= MIDDLE else "maximum"
            limits = bounds[side].setdefault(row.column, {})
            if row.value in limits:
                raise RecipeError(f"a file has one {side} for a column; give one quantile on that side of {MIDDLE:g}")
            limits[row.value] = row.threshold
            documents.setdefault(row.column, {})[row.value] = row.documents
        content = {"by": self.by, **{side: limits for side, limits in bounds.items() if limits}, "documents": documents}
        return str(yaml.safe_dump(content, sort_keys=False, allow_unicode=True, default_flow_style=False))


def group_quantiles(
    loaded: LoadedRecipe, columns: Sequence[str], quantiles: Sequence[float], by: str, least: int
) -> GroupQuantiles:
    """Return quantiles of columns that a run of the recipe measured, among all documents with the same value of `by`.

    A quantile is that of `drop`: the smallest value v such that at least that share of the values that are neither null
    nor NaN are <= v. The columns of all documents are in memory together. Raises RecipeError where a column is not
    measured, is no number or, `by`, no text, or where files of the recipe are not measured yet.
    """
    if not columns or not quantiles or not all(0 <= quantile <= 1 for quantile in quantiles):
        raise RecipeError("name a column and a quantile from 0 to 1: --column gopher_words --quantile 0.05")
    columns, quantiles = tuple(dict.fromkeys(columns)), tuple(dict.fromkeys(quantiles))
    state = plan_run(loaded, asks=False)
    _check_columns(state.plan.schema, columns, by)
    tables = [shard.read([by, *columns]) for shard in _measured(state, (by, *columns))]
    documents = pa.concat_tables(tables).combine_chunks()
    groups = documents[by].combine_chunks().dictionary_encode()
    values = groups.dictionary.to_pylist()
    codes = np.asarray(groups.indices.fill_null(len(values))).astype(np.int64)
    rows: list[GroupQuantile] = []
    small: list[SmallGroup] = []
    for column in columns:
        keys, valid = order_keys(documents[column])
        in_order = np.lexsort((keys, codes, ~valid))[: int(valid.sum())]
        keys, bounds = keys[in_order], np.searchsorted(codes[in_order], np.arange(len(values) + 2))
        for code in sorted(range(len(values)), key=lambda i: str(values[i])):
            n = int(bounds[code + 1] - bounds[code])
            if n < max(least, 1):
                small.append(SmallGroup(values[code], column, n))
                continue
            for quantile in quantiles:
                key = keys[bounds[code] + Quantile(column, str(quantile)).rank(n) - 1]
                threshold = value_of(int(key), documents[column].type).as_py()
                rows.append(GroupQuantile(values[code], column, quantile, threshold, n))
        if without := int(bounds[-1] - bounds[-2]):
            small.append(SmallGroup(None, column, without))
    return GroupQuantiles(by, least, tuple(rows), tuple(small))


def _check_columns(schema: pa.Schema, columns: Sequence[str], by: str) -> None:
    for name in (by, *columns):
        if name not in schema.names:
            hint = did_you_mean(name, schema.names)
            raise RecipeError(f"the recipe has no column {name}{hint}; list the measure or the metadata that gives it")
    if not pa.types.is_string(schema.field(by).type):
        raise RecipeError(f"the column {by} is {schema.field(by).type}; groups are told apart by text")
    for name in columns:
        kind = schema.field(name).type
        if not (pa.types.is_integer(kind) or pa.types.is_floating(kind)):
            raise RecipeError(f"the column {name} is {kind}; thresholds are of numbers")


def _measured(state: StoreState, columns: Sequence[str]) -> Sequence[ShardMeasures]:
    """Return the columns of all shards of the sources. Raises RecipeError where some are not measured."""
    stored = stored_measures(state, columns, LocalEngine())
    if stored.missing or not stored.shards:
        raise RecipeError(
            f"{plural(stored.missing, 'shard')} of {len(state.specs):,} are not measured yet: `gristmill run` of the "
            "recipe measures them, and keeps what it measured"
        )
    return stored.measures
