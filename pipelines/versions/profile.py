"""Profile of what a version holds: documents and tokens by source, and the histogram of each measure."""

from __future__ import annotations

import contextlib
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from gristmill.operators import columns
from gristmill.operators.errors import StoreDamaged
from gristmill.operators.expressions.order import is_ordered
from gristmill.operators.rules.select import TOKENS
from gristmill.pipelines.decide.funnel import Funnel
from gristmill.pipelines.label.columns import ANSWER
from gristmill.pipelines.shard_tasks.reread import kept_rows
from gristmill.pipelines.stages.earlier_nights import kept_tokens
from gristmill.pipelines.stages.label import FOLDER as LABELS
from gristmill.pipelines.storage import files
from gristmill.pipelines.store.lock import check_held
from gristmill.pipelines.store.measures import FOLDER as MEASURES
from gristmill.pipelines.store.run_records import Standing
from gristmill.pipelines.store.runs import Run
from gristmill.pipelines.versions.histograms import Histogram, ks, psi, total

#: The profile of what a run kept, in its folder.
PROFILE = "profile.json"
_QUANTILES = (0.1, 0.5, 0.9)


@dataclass(frozen=True)
class Profile:
    """Kept documents of some runs."""

    documents: Mapping[str, int] = field(default_factory=dict)  #: by source
    tokens: Mapping[str, int] = field(default_factory=dict)  #: by source
    measures: Mapping[str, Histogram] = field(default_factory=dict)  #: by column
    labels: Mapping[str, Mapping[str, int]] = field(default_factory=dict)  #: documents with each answer, by column

    def __add__(self, other: Profile) -> Profile:
        names = dict.fromkeys([*self.measures, *other.measures])
        summed = {n: total([p.measures[n] for p in (self, other) if n in p.measures]) for n in names}
        answers = dict.fromkeys([*self.labels, *other.labels])
        labels = {name: _sum(self.labels.get(name, {}), other.labels.get(name, {})) for name in answers}
        return Profile(_sum(self.documents, other.documents), _sum(self.tokens, other.tokens), summed, labels)

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        measures = {name: histogram.to_json() for name, histogram in self.measures.items()}
        counts = {"documents": dict(self.documents), "tokens": dict(self.tokens)}
        return {**counts, "measures": measures, "labels": {name: dict(of) for name, of in self.labels.items()}}

    @classmethod
    def from_json(cls, held: Mapping[str, Any]) -> Profile:
        """Return the profile of plain values: the inverse of `to_json`."""
        measures = {name: Histogram.from_json(histogram) for name, histogram in held["measures"].items()}
        return cls(held["documents"], held["tokens"], measures, held["labels"])


@dataclass(frozen=True)
class Drift:
    """Distance of a measure's values among what two versions hold."""

    column: str
    documents: tuple[int, int]
    psi: float | None
    ks: float | None
    quantiles: Sequence[tuple[float | None, float | None]]  #: the 10 %, the median and the 90 % of each


def _sum(left: Mapping[str, int], right: Mapping[str, int]) -> dict[str, int]:
    return {name: left.get(name, 0) + right.get(name, 0) for name in dict.fromkeys([*left, *right])}


def profile(standing: Sequence[Standing]) -> Profile:
    """Return the profile of what runs kept. Raises StoreDamaged where a file is not what was written."""
    shards = [(stands.run, row) for stands in standing for row in stands.decided]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return sum(pool.map(lambda shard: _of_shard(*shard), shards), Profile())


def profile_of_run(run: Run) -> Profile:
    """Return the profile of what one run kept, and keep it beside the run: it never changes.

    Only the holder of the writer lock may call this.
    """
    url = files.join(run.url, PROFILE)
    with contextlib.suppress(FileNotFoundError, StoreDamaged):
        return Profile.from_json(files.read_record(url))
    made = profile([Standing(run, run.shards())])
    check_held(run.store)
    files.write_record(url, made.to_json())
    return made


def drifts(before: Profile, after: Profile) -> list[Drift]:
    """Return how far each measure that both have is from what it was, the largest PSI first."""
    found = []
    for column in before.measures:
        if (other := after.measures.get(column)) is not None:
            reference: Histogram = before.measures[column]
            quantiles = [(reference.quantile(share), other.quantile(share)) for share in _QUANTILES]
            documents = (reference.values + reference.missing, other.values + other.missing)
            found.append(Drift(column, documents, psi(reference, other), ks(reference, other), quantiles))
    return sorted(found, key=lambda drift: -(drift.psi or 0.0))


def kept_by_source(standing: Sequence[Standing]) -> tuple[Counter[str], Counter[str]]:
    """Return how many documents runs kept of each source, and how many tokens.

    Counted in their records; where later runs decided some of a run's shards, in the decisions on the others.
    """
    kept, tokens = Counter[str](), Counter[str]()
    for stands in standing:
        if stands.superseded:
            for row in stands.decided:
                kept[row["source"]] += int(pc.sum(kept_rows(stands.run.decisions(row["ordinal"])), min_count=0).as_py())
                tokens[row["source"]] += kept_tokens(stands.run, [row])
            continue
        funnel = Funnel.from_json(stands.run.record["result"]["funnel"])
        kept += funnel.kept_by(columns.SOURCE)
        tokens += funnel.kept_tokens_by(columns.SOURCE)
    return kept, tokens


def _of_shard(run: Run, row: Mapping[str, Any]) -> Profile:
    kept = kept_rows(run.decisions(row["ordinal"]))
    documents, tokens = int(pc.sum(kept, min_count=0).as_py()), 0
    measures: dict[str, Histogram] = {}
    labels: dict[str, Mapping[str, int]] = {}
    for url, names in row["parts"]:
        is_measured = url.startswith(files.join(run.store, MEASURES, ""))
        is_label = url.startswith(files.join(run.url, LABELS, ""))
        if not is_measured and not is_label:
            continue  # columns that rules gave: addresses of clusters and the like
        with files.open_table(url) as file:
            schema = pq.read_schema(file)
        if is_label:
            wanted = [name for name in names if name.endswith(f"_{ANSWER}")]
        else:
            wanted = [name for name in names if name != columns.ROW and is_ordered(schema.field(name).type)]
        table = files.read_table(url, wanted).filter(kept)
        for name in wanted:
            if is_measured:
                measures[name] = Histogram.of(table[name])
            else:
                labels[name] = _answers(table[name])
        if TOKENS in wanted:
            tokens = int(pc.sum(table[TOKENS].cast(pa.int64()), min_count=0).as_py())
    source = row["source"]
    return Profile({source: documents}, {source: tokens}, measures, labels)


def _answers(column: pa.ChunkedArray) -> dict[str, int]:
    """Return how often each answer is there; of several answers to a text each counts."""
    values = pc.list_flatten(column) if pa.types.is_list(column.type) else column
    counted = pc.value_counts(values.drop_null().cast(pa.string())).to_pylist()
    return {row["values"]: row["counts"] for row in counted}
