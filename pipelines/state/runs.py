"""Records of finished runs: recipe, funnel, decisions, rejects. A run folder without run.json never finished.

runs/<run id>/run.json                       what was asked, what came of it
runs/<run id>/shards.parquet                 ordinal, source, counts, and where the measures lie
runs/<run id>/decisions/<ordinal>.parquet    one row per document
runs/<run id>/rejects.parquet                the quarantine: one row per record that is not a document
runs/<run id>/version.json                   where an index is kept: the version that the run was about to commit
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from operators.columns import is_signature
from operators.errors import RecipeError
from pipelines.decide import decisions_file
from pipelines.located_yaml import LocatedYaml
from pipelines.state import files
from pipelines.state.datasets import Dataset
from pipelines.state.measures import ShardCounts, ShardMeasures
from pipelines.state.registry import Shard

FOLDER = "runs"
RECORD = "run.json"
ANNOUNCED = "version.json"
SHARDS = pa.schema(
    [
        ("ordinal", pa.uint32()),
        ("source", pa.string()),
        ("file", pa.string()),
        ("documents", pa.uint64()),
        ("records", pa.uint64()),
        ("rejects", pa.uint64()),
        ("parts", pa.string()),  # JSON: [[measure file below the store, [columns]]]
    ]
)


@dataclass(frozen=True)
class Run:
    """A finished run."""

    store: str
    name: str
    record: dict[str, Any]

    @property
    def url(self) -> str:
        """The run's folder."""
        return files.join(self.store, FOLDER, self.name)

    def decisions(self, ordinal: int) -> str:
        """The decision file of a shard."""
        return decisions_file(self.url, ordinal)

    def shards(self) -> list[dict[str, Any]]:
        """Rows of shards.parquet, the places of the measures resolved against the store."""
        rows: list[dict[str, Any]] = files.read_table(files.join(self.url, "shards.parquet")).to_pylist()
        for row in rows:
            row["parts"] = [(files.join(self.store, place), tuple(names)) for place, names in json.loads(row["parts"])]
        return rows


def finished_runs(store: str) -> Iterator[Run]:
    """The finished runs of a store, newest first."""
    for name in reversed(files.names(files.join(store, FOLDER))):
        try:
            record = files.read_record(files.join(store, FOLDER, name, RECORD))
        except FileNotFoundError:
            continue
        yield Run(store, name, record)


def latest_run(store: str, dataset: str | None = None) -> Run:
    """The newest finished run, of one dataset if named; raises RecipeError where there is none."""
    for run in finished_runs(store):
        if dataset is None or run.record["name"] == dataset:
            return run
    which = f" of the dataset {dataset}" if dataset else ""
    raise RecipeError(f"the store {store} holds no finished run{which}; `gristmill run RECIPE` makes one")


@dataclass(frozen=True)
class Standing:
    """A run with the shards (rows of shards.parquet) whose decisions stand: no later run of its dataset made others."""

    run: Run
    shards: Sequence[dict[str, Any]]

    @property
    def dataset(self) -> str:
        """The dataset's name."""
        return str(self.run.record["name"])


def standing_runs(store: str, dataset: str | None = None) -> list[Standing]:
    """The runs whose decisions stand, newest first: of each dataset, or of one, the newest run.

    Where that has an index, the earlier runs with the same one stand too: each decided shards that later ones left out.
    """
    standing: list[Standing] = []
    indexes: dict[str, str | None] = {}
    decided: dict[str, set[int]] = defaultdict(set)
    for run in finished_runs(store):
        name, index = run.record["name"], (run.record.get("index") or {}).get("name")
        stands = name not in indexes or (index is not None and index == indexes[name])
        if not stands or dataset not in (None, name):
            continue
        indexes.setdefault(name, index)
        shards = [row for row in run.shards() if row["ordinal"] not in decided[name]]
        decided[name].update(row["ordinal"] for row in shards)
        standing.append(Standing(run, shards))
    return standing


def sweep_unfinished(store: str) -> None:
    """Remove the folders of runs that never finished, and unfinished files anywhere in the store.

    A version that such a run announced and committed is taken back: no record says what was decided for it. Only the
    holder of the writer lock may call this.
    """
    files.sweep(store)
    folder = files.join(store, FOLDER)
    for name in files.names(folder):
        if not files.exists(files.join(folder, name, RECORD)):
            _take_back(store, files.join(folder, name))
            files.remove(files.join(folder, name))


def announce_version(run_url: str, dataset: str, version: str) -> None:
    """Write down which version a run is about to commit.

    For runs that decide each shard once: what such a run committed without its record, the next one decides again, and
    the documents would be in two versions.
    """
    files.write_record(files.join(run_url, ANNOUNCED), {"dataset": dataset, "version": version})


def _take_back(store: str, run_url: str) -> None:
    """Retract the version that an unfinished run announced, where it was committed."""
    try:
        announced = files.read_record(files.join(run_url, ANNOUNCED))
    except FileNotFoundError:
        return
    dataset = Dataset(store, announced["dataset"])
    for version in dataset.versions():
        if version.name == announced["version"]:
            dataset.retract(version)


def write_shards(
    run_url: str,
    store: str,
    document: LocatedYaml,
    shards: Sequence[Shard],
    counts: Sequence[ShardCounts],
    measures: Sequence[ShardMeasures],
) -> None:
    """Write shards.parquet; measure files are named from the store's folder on, so that a store can move."""
    rows = []
    for shard, count, held in zip(shards, counts, measures, strict=True):
        parts = [
            [url.removeprefix(store.rstrip("/") + "/"), _for_people(names, held.schema)] for url, names in held.parts
        ]
        row = {
            "ordinal": held.ordinal,
            "source": held.source,
            "file": document.redact(shard.spec.name),
            "parts": json.dumps(parts),
        }
        rows.append({**row, "documents": count.documents, "records": count.records, "rejects": count.rejects})
    files.write_table(files.join(run_url, "shards.parquet"), pa.Table.from_pylist(rows, schema=SHARDS))


def _for_people(names: Sequence[str], schema: pa.Schema) -> list[str]:
    """The columns that the store's views show: signatures are not among them."""
    return [name for name in names if name not in schema.names or not is_signature(schema.field(name).type)]
