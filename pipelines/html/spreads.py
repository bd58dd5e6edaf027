"""Spread of each measure among the documents of a run: of all of them, and of those that the rules kept.

One pass over narrow columns, on the run's engine; no text is read. Of a large run a part of the shards is looked at,
evenly spread over each source, so that a report costs little whatever the size of the run.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from gristmill.operators import columns
from gristmill.pipelines.decide.funnel import Funnel
from gristmill.pipelines.decide.last_pass import address_hashes
from gristmill.pipelines.engine.base import Engine, run_in_order
from gristmill.pipelines.shard_tasks.reread import kept_rows
from gristmill.pipelines.storage import files
from gristmill.pipelines.store.measures import FOLDER as MEASURES
from gristmill.pipelines.store.run_records import Standing
from gristmill.pipelines.versions.histograms import Histogram, bin_places, is_number, total

#: The most documents and shards that are looked at.
MOST_DOCUMENTS, MOST_SHARDS = 2_000_000, 256
#: The values of a column, those of the most documents, that have spreads of their own.
SHOWN_GROUPS = 6
#: About as many documents give the correlations; their ranks are compared, so they are held in memory.
SAMPLED = 4000
#: A value of a column that documents are counted by.
GroupName = tuple[str, str | None]


@dataclass(frozen=True)
class Spread:
    """Values of a measure among some documents, and among those of them that are kept."""

    before: Histogram
    after: Histogram


@dataclass(frozen=True)
class Spreads:
    """Spreads of the measures of a run, or of a part of its documents."""

    documents: int = 0  #: that were looked at
    of: int = 0  #: documents of the run
    measures: Mapping[str, Spread] = field(default_factory=dict)  #: by column
    groups: Mapping[GroupName, Mapping[str, Spread]] = field(default_factory=dict)  #: of the detailed columns
    sample: pa.Table | None = None  #: numbers (float64) of some documents, a column for each measure


def _in_all(parts: Sequence[Spreads], of: int) -> Spreads:
    """Return the sum of what was found in some shards of a run of `of` documents."""
    groups: dict[GroupName, list[Mapping[str, Spread]]] = {}
    for part in parts:
        for name, measures in part.groups.items():
            groups.setdefault(name, []).append(measures)
    samples = [part.sample for part in parts if part.sample is not None]
    return Spreads(
        sum(part.documents for part in parts),
        of,
        _summed([part.measures for part in parts]),
        {name: _summed(measures) for name, measures in groups.items()},
        pa.concat_tables(samples, promote_options="default") if samples else None,
    )


def _summed(parts: Sequence[Mapping[str, Spread]]) -> dict[str, Spread]:
    spreads: dict[str, list[Spread]] = {}
    for part in parts:
        for name, spread in part.items():
            spreads.setdefault(name, []).append(spread)
    return {
        name: Spread(total([s.before for s in those]), total([s.after for s in those]))
        for name, those in spreads.items()
    }


@dataclass(frozen=True)
class _Asked:
    """Questions to each shard."""

    stands: Standing
    detailed: frozenset[str]  #: columns whose spread in each group is told
    groups: Mapping[str, Sequence[str | None]]  #: the values that are told, by column
    sampled: int  #: documents whose hash is not greater are sampled


def spreads(stands: Standing, funnel: Funnel, detailed: Sequence[str], engine: Engine) -> Spreads:
    """Return the spreads of the measures of what a run decided; `detailed` columns have them for each group too.

    Raises StoreDamaged where a file is not what was written.
    """
    shards = list(_spread_out(stands.decided))
    documents = sum(row["documents"] for row in shards)
    threshold = min(2**64 - 1, (SAMPLED << 64) // max(1, documents))
    bare = Standing(stands.run, ())  # the shards themselves are the items
    asked = _Asked(bare, frozenset(detailed), _shown_groups(funnel), threshold)
    found = run_in_order(engine, partial(_of_shard, asked), shards)
    return _in_all(found, sum(row["documents"] for row in stands.decided))


def _spread_out(rows: Sequence[Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
    """Yield the shards to look at: all of them, or every so manyth of each source and the first."""
    documents = sum(row["documents"] for row in rows)
    every = max(1, -(-documents // MOST_DOCUMENTS), -(-len(rows) // MOST_SHARDS))
    sources: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        sources.setdefault(row["source"], []).append(row)
    for of_source in sources.values():
        yield from of_source[::every]


def _shown_groups(funnel: Funnel) -> dict[str, list[str | None]]:
    """Return the values of each column that losses are counted by whose spreads are told, the most frequent first."""
    shown: dict[str, list[str | None]] = {}
    for group in sorted(funnel.groups, key=lambda group: -group.documents):
        values = shown.setdefault(group.column, [])
        if len(values) < SHOWN_GROUPS:
            values.append(group.value)
    return shown


def _of_shard(asked: _Asked, row: Mapping[str, Any]) -> Spreads:
    run = asked.stands.run
    kept = np.asarray(kept_rows(run.decisions(row["ordinal"])).combine_chunks())
    measures: dict[str, Spread] = {}
    groups: dict[GroupName, dict[str, Spread]] = {}
    members = _members(asked, row, len(kept))
    addresses = (np.uint64(row["ordinal"]) << np.uint64(columns.ROW_BITS)) + np.arange(len(kept), dtype=np.uint64)
    sampled = pa.array(address_hashes(addresses) <= np.uint64(asked.sampled))
    sample: dict[str, pa.ChunkedArray] = {}
    for name, column in _measured(run.store, row):
        places = bin_places(column)
        measures[name] = _spread(places, kept)
        if name in asked.detailed:
            for group, mask in members.items():
                groups.setdefault(group, {})[name] = _spread(places[mask], kept[mask])
        sample[name] = column.filter(sampled).cast(pa.float64(), safe=False)
    return Spreads(len(kept), 0, measures, groups, pa.table(sample) if sample else None)


def _spread(places: NDArray[np.int64], kept: NDArray[np.bool_]) -> Spread:
    valid = places >= 0
    stays = valid & kept
    before = Histogram.at(places[valid], int((~valid).sum()))
    return Spread(before, Histogram.at(places[stays], int((~valid & kept).sum())))


def _measured(store: str, row: Mapping[str, Any]) -> Iterator[tuple[str, pa.ChunkedArray]]:
    """Yield the measures of a shard that are numbers, or true and false."""
    for url, names in row["parts"]:
        if url.startswith(files.join(store, MEASURES, "")):  # the others are columns that rules gave
            with files.open_table(url) as file:
                schema = pq.read_schema(file)
            wanted = [name for name in names if name != columns.ROW and is_number(schema.field(name).type)]
            yield from zip(wanted, files.read_table(url, wanted).columns, strict=True)


def _members(asked: _Asked, row: Mapping[str, Any], n: int) -> dict[GroupName, NDArray[np.bool_]]:
    """Return masks (n) of the documents of a shard that belong to each group that is told."""
    members = {}
    for column, values in asked.groups.items():
        if column == columns.SOURCE:
            if row["source"] in values:
                members[column, row["source"]] = np.ones(n, np.bool_)
            continue
        place = next((url for url, names in row["parts"] if column in names), None)
        if place is None:
            continue
        texts = files.read_table(place, [column])[column].cast(pa.string())
        for value in values:
            mask = pc.is_null(texts) if value is None else pc.fill_null(pc.equal(texts, value), False)
            if (found := np.asarray(mask.combine_chunks())).any():
                members[column, value] = found
    return members


def correlations(sample: pa.Table | None) -> tuple[list[str], NDArray[np.float64]]:
    """Return the measures that vary in a sample, and Spearman's rank correlation of each two of them (n, n).

    Values that are missing have the mean rank. Ties share theirs.
    """
    if sample is None:
        return [], np.zeros((0, 0))
    ranked = {}
    for name in sample.column_names:
        values = np.asarray(pc.fill_null(sample[name], np.nan).combine_chunks())
        ranks = _ranks(values[~np.isnan(values)])
        if len(ranks) > 1 and ranks.std() > 0:
            ranked[name] = np.full(len(values), ranks.mean())
            ranked[name][~np.isnan(values)] = ranks
    if not ranked:
        return [], np.zeros((0, 0))
    return [*ranked], np.corrcoef(np.stack([*ranked.values()])).reshape(len(ranked), len(ranked))


def _ranks(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the ranks of values (n) from 0, ties at the mean of theirs."""
    _, places, counts = np.unique(values, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    ranks: NDArray[np.float64] = (ends - (counts + 1) / 2)[places]
    return ranks
