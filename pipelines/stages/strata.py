"""The strata of a run that packs them apart: where percentiles lie, which strata there are, what packs each."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from gristmill.operators.base import Rewrite
from gristmill.operators.errors import FatalError, RecipeError
from gristmill.operators.expressions.order import order_keys, value_of
from gristmill.operators.pack import Pack
from gristmill.operators.rules.select import TOKENS
from gristmill.operators.strata import MOST_STRATA, Key, Stratification, in_order
from gristmill.pipelines.config.wording import plural
from gristmill.pipelines.decide.executors import named_rules
from gristmill.pipelines.decide.order_statistics import Weighted, find_crossings
from gristmill.pipelines.engine.base import Engine, run_all
from gristmill.pipelines.planning.plan import Plan
from gristmill.pipelines.shard_tasks.strata import CountStrata, KeptDocuments, PackedStrata, count_strata
from gristmill.pipelines.shard_tasks.write import ShardSurvivors
from gristmill.pipelines.sinks.tokens import TokenCounts, TokenShard


def columns_of_strata(plan: Plan) -> tuple[str, ...]:
    """Return the columns that decide strata."""
    settings: Pack | None = None if plan.pack is None else plan.pack.operator
    by = () if settings is None else settings.by
    counted = (TOKENS,) if any(entry.percent for entry in by) else ()
    return (*(entry.column for entry in by), *counted)


def strata_of(
    plan: Plan,
    survivors: Sequence[ShardSurvivors],
    rewrite: Rewrite | None,
    earlier: Collection[str],
    engine: Engine,
) -> PackedStrata | None:
    """Return the strata of what is kept; None where the recipe packs all of it together.

    `earlier` are the strata of earlier nights, as text (`EarlierNights.strata`). Raises RecipeError where there are too
    many.
    """
    settings: Pack | None = None if plan.pack is None else plan.pack.operator
    if settings is None or not settings.by:
        return None
    kept = [KeptDocuments(shard.measures, shard.decisions) for shard in survivors]
    documents = sum(shard.rows for shard in survivors)
    nulls = {column: n for name, rule in named_rules(plan.rules) for column, n in rule.counts_for(name).items()}
    fixed = Stratification(settings.by, {entry.column: entry.cuts for entry in settings.by if entry.cuts}, nulls)
    of = _with_percentiles(fixed, settings.eos, kept, documents, engine)
    counts: dict[Key, tuple[int, int]] = {}
    for counted in run_all(engine, count_strata, [CountStrata(shard, of, rewrite) for shard in kept]):
        for key, (rows, size) in counted.items():
            before = counts.get(key, (0, 0))
            counts[key] = (before[0] + rows, before[1] + size)
        there = {str(of.told(key)) for key in counts}.union(earlier)
        if len(there) > MOST_STRATA:
            raise RecipeError(f"{plan.loaded.where('write', 'pack', 'by')}: {_too_many(of, [*counts])}")
    keys = tuple(in_order([*counts]))
    shard_bytes = plan.loaded.recipe.write.shard_bytes
    return PackedStrata(
        of,
        keys,
        tuple(counts[key][0] for key in keys),
        tuple(max(1, round(counts[key][1] / shard_bytes)) for key in keys),
    )


def _too_many(of: Stratification, keys: Sequence[Key]) -> str:
    """Return why there are too many strata: how many values each column has in them."""
    values = {column: len({key[i] for key in keys}) for i, column in enumerate(of.columns)}
    told = " and ".join(f"{plural(n, 'value')} of {column}" for column, n in values.items())
    return (
        f"more than {MOST_STRATA:,} strata, of {told} at least. Each is packed into files of its own: name columns "
        "with fewer values, or cut numbers at fewer places"
    )


def check_strata_packed(strata: PackedStrata, shards: Sequence[TokenShard]) -> None:
    """Raise FatalError where shards, one of each partition, do not hold the documents of each stratum."""
    packed = np.zeros(len(strata.keys), np.int64)
    for partition, shard in enumerate(shards):
        packed[strata.number_of(partition)] += shard.counts.documents
    for key, rows, found in zip(strata.keys, strata.documents, packed.tolist(), strict=True):
        if rows != found:
            raise FatalError(
                f"{found:,} documents of {strata.of.told(key)} were packed, {rows:,} are kept; nothing is committed: "
                "please report it"
            )


def listed_strata(entries: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return each stratum of shards of tokens, as a manifest lists them, with its counts."""
    found: dict[str, dict[str, Any]] = {}
    for entry in entries:
        told = found.setdefault(str(entry["stratum"]), {"stratum": entry["stratum"]})
        for name in TokenCounts.__dataclass_fields__:
            told[name] = told.get(name, 0) + entry[name]
    return [*found.values()]


def _with_percentiles(
    of: Stratification, eos: bool, kept: Sequence[KeptDocuments], documents: int, engine: Engine
) -> Stratification:
    """Return it with the values at which percentiles lie, found over all documents.

    A percentile is the smallest value such that documents with it or less have that share of the tokens; infinite where
    no document has a value.
    """
    searched = [entry for entry in of.by if entry.percent]
    if not searched:
        return of
    names = tuple(entry.column for entry in searched)
    totals = sum(run_all(engine, partial(_weights, of, names, eos), kept), np.zeros(len(names), np.int64))
    sought = [
        (number, -(-total * Fraction(str(cut)) // 100))
        for number, (entry, total) in enumerate(zip(searched, totals.tolist(), strict=True))
        for cut in entry.cuts
    ]
    source = partial(_weighted, of, names, eos, tuple(number for number, _ in sought))
    budgets = [partial(_less_one, int(tokens)) for _, tokens in sought]
    located = find_crossings(engine, _Kept(kept, documents), source, budgets)
    limits = dict(of.limits)
    for number, name in enumerate(names):
        crossings = [found.crossing for found, (column, _) in zip(located, sought, strict=True) if column == number]
        limits[name] = tuple(
            float("inf") if crossing is None else float(value_of(crossing.key, pa.float64()).as_py())
            for crossing in crossings
        )
    return replace(of, limits=limits)


@dataclass(frozen=True)
class _Kept:
    """The documents that `find_crossings` searches."""

    shards: Sequence[KeptDocuments]
    documents: int


def _less_one(tokens: int, documents: int) -> int:
    """Return the tokens that a percentile's value is the first to exceed."""
    return tokens - 1


def _weighted(
    of: Stratification, names: tuple[str, ...], eos: bool, sought: tuple[int, ...], kept: KeptDocuments
) -> list[Weighted]:
    """Return the keys of a shard's documents by their values, and their tokens, for each search."""
    table = kept.read([*names, TOKENS])
    tokens = pc.fill_null(table[TOKENS], 0).to_numpy().astype(np.int64) + int(eos)
    columns = []
    for name in names:
        keys, valid = order_keys(pa.array(of.numbers(name, table[name])))
        columns.append(Weighted(keys[valid], tokens[valid]))
    return [columns[number] for number in sought]


def _weights(of: Stratification, names: tuple[str, ...], eos: bool, kept: KeptDocuments) -> NDArray[np.int64]:
    """Return the tokens of a shard's documents that have a value of each column."""
    each = _weighted(of, names, eos, tuple(range(len(names))), kept)
    return np.array([column.weights.sum() for column in each], np.int64)
