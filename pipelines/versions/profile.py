"""Profile of what a version holds: documents and tokens by source, and the histogram of each measure."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from gristmill.operators import columns
from gristmill.operators.errors import RecipeError
from gristmill.operators.expressions.order import is_ordered
from gristmill.operators.rules.select import TOKENS
from gristmill.pipelines.shard_tasks.write import kept_rows
from gristmill.pipelines.storage import files
from gristmill.pipelines.store.datasets import Dataset, Version
from gristmill.pipelines.store.measures import FOLDER as MEASURES
from gristmill.pipelines.store.runs import Run, Standing, finished_runs, standing_runs
from gristmill.pipelines.versions.histograms import Histogram, total


@dataclass(frozen=True)
class Profile:
    """Kept documents of some runs."""

    documents: Mapping[str, int] = field(default_factory=dict)  #: by source
    tokens: Mapping[str, int] = field(default_factory=dict)  #: by source
    measures: Mapping[str, Histogram] = field(default_factory=dict)  #: by column

    def __add__(self, other: Profile) -> Profile:
        names = dict.fromkeys([*self.measures, *other.measures])
        summed = {n: total([p.measures[n] for p in (self, other) if n in p.measures]) for n in names}
        return Profile(_sum(self.documents, other.documents), _sum(self.tokens, other.tokens), summed)

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        measures = {name: histogram.to_json() for name, histogram in self.measures.items()}
        return {"documents": dict(self.documents), "tokens": dict(self.tokens), "measures": measures}

    @classmethod
    def from_json(cls, held: Mapping[str, Any]) -> Profile:
        """Return the profile of plain values: the inverse of `to_json`."""
        measures = {name: Histogram.from_json(histogram) for name, histogram in held["measures"].items()}
        return cls(held["documents"], held["tokens"], measures)


def _sum(left: Mapping[str, int], right: Mapping[str, int]) -> dict[str, int]:
    return {name: left.get(name, 0) + right.get(name, 0) for name in dict.fromkeys([*left, *right])}


def runs_of(dataset: Dataset, version: Version) -> list[Standing]:
    """Return the runs that decided the documents of a version, newest first, each with the shards that it decided.

    Raises RecipeError where their records are gone.
    """
    by: dict[str, Run] = {}
    for run in finished_runs(dataset.store):
        if run.record["name"] == dataset.name:
            by.setdefault(run.record["version"], run)
    name: str | None = version.name
    while name is not None and name not in by:  # a version that holds a manifest alone completes that of a run
        name = dataset.named(name).manifest.get("completes")
    if name is None:
        raise RecipeError(f"the store has no record of a run that made {version.name}: what was decided is not known")
    return standing_runs(dataset.store, dataset.name, until=by[name])


def profile(standing: Sequence[Standing]) -> Profile:
    """Return the profile of what runs kept. Raises StoreDamaged where a file is not what was written."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return sum(pool.map(lambda shard: _of_shard(*shard), _shards(standing)), Profile())


def _shards(standing: Sequence[Standing]) -> Iterator[tuple[Run, dict[str, Any]]]:
    return ((stands.run, row) for stands in standing for row in stands.shards)


def _of_shard(run: Run, row: Mapping[str, Any]) -> Profile:
    kept = kept_rows(run.decisions(row["ordinal"]))
    documents, tokens = int(pc.sum(kept, min_count=0).as_py()), 0
    measures = {}
    for url, names in row["parts"]:
        if f"/{MEASURES}/" not in url:
            continue  # columns that rules gave: addresses of clusters and the like
        with files.open_table(url) as file:
            schema = pq.read_schema(file)
        wanted = [n for n in names if n != columns.ROW and is_ordered(schema.field(n).type)]
        table = files.read_table(url, wanted).filter(kept)
        for name in wanted:
            measures[name] = Histogram.of(table[name])
        if TOKENS in wanted:
            tokens = int(pc.sum(table[TOKENS].cast(pa.int64()), min_count=0).as_py())
    source = row["source"]
    return Profile({source: documents}, {source: tokens}, measures)
