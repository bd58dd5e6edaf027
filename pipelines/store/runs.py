"""Records of runs: recipe, funnel, decisions, rejects. Runs are numbered; their order depends on no clock.

    runs/<number>-<content>/run.json             the request and its results; without it the run never finished
    runs/<run>/version.json                      the version that the run was about to commit, with its manifest
    runs/<run>/shards.parquet                    ordinal, source, counts, and the places of the measures
    runs/<run>/decisions/<ordinal>.parquet       one row per document
    runs/<run>/rejects.parquet                   the quarantine: one row per record that is not a document

Runs of earlier versions of gristmill are named by the time they began, and are older than all numbered ones.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from gristmill.operators.columns import is_signature
from gristmill.operators.errors import RecipeError, StoreDamaged
from gristmill.pipelines.config.located_yaml import LocatedYaml
from gristmill.pipelines.storage import files
from gristmill.pipelines.store.datasets import Dataset
from gristmill.pipelines.store.fuzzy_index import Index, index_names
from gristmill.pipelines.store.lock import check_held
from gristmill.pipelines.store.measures import ShardCounts, ShardMeasures
from gristmill.pipelines.store.registry import Shard

FOLDER = "runs"
RECORD = "run.json"
VERSION = "version.json"
SHARDS = pa.schema(
    [
        ("ordinal", pa.uint32()),
        ("source", pa.string()),
        ("file", pa.string()),
        ("documents", pa.uint64()),
        ("records", pa.uint64()),
        ("rejects", pa.uint64()),
        ("parts", pa.string()),  # JSON: [[measure file below the store, [columns]]]
        ("files", pa.list_(pa.string())),  # of a shard of several, else null; `ends`: records up to the end of each
        ("ends", pa.list_(pa.uint64())),
        ("withdrawn", pa.string()),  # of a shard whose documents were withdrawn: why; else null
    ]
)
_NUMBERED = re.compile(r"(\d{8})-[0-9a-f]{8}")
_TIMED = re.compile(r"\d{8}T\d{6}\.\d+-[0-9a-f]{8}")


@dataclass(frozen=True)
class Run:
    """Finished run of a store, by its record."""

    store: str
    name: str
    record: dict[str, Any]

    @property
    def url(self) -> str:
        """Return the run's folder."""
        return folder_of(self.store, self.name)

    @property
    def index(self) -> str | None:
        """Return the name of the index that it was resolved against, if any."""
        name: str | None = (self.record.get("index") or {}).get("name")
        return name

    @property
    def completes(self) -> str | None:
        """Return the name of the run that it replaces, if any: one that left texts without a label."""
        name: str | None = self.record.get("completes")
        return name

    @property
    def unanswered(self) -> bool:
        """Return whether it left texts without an answer to one of its tasks."""
        return not all(labelled["complete"] for labelled in self.record["result"].get("labels", ()))

    def decisions(self, ordinal: int) -> str:
        """Return the decision file of a shard."""
        return decisions_file(self.url, ordinal)

    def shards(self) -> list[dict[str, Any]]:
        """Return the rows of shards.parquet, the places of the measures resolved against the store."""
        rows: list[dict[str, Any]] = files.read_table(files.join(self.url, "shards.parquet")).to_pylist()
        for row in rows:
            row["parts"] = [(files.join(self.store, place), tuple(names)) for place, names in json.loads(row["parts"])]
        return rows

    def write_record(self) -> None:
        """Write the record, which makes the run a finished one."""
        check_held(self.store)
        files.write_record(files.join(self.url, RECORD), self.record)


def decisions_file(folder: str, ordinal: int) -> str:
    """Return the decision file of a shard in a run's folder."""
    return files.join(folder, "decisions", f"{ordinal:08d}.parquet")


def run_names(store: str) -> list[str]:
    """Return the names of all runs, finished or not, oldest first."""
    names = files.names(files.join(store, FOLDER))
    return sorted((name for name in names if _NUMBERED.fullmatch(name) or _TIMED.fullmatch(name)), key=_age)


def _age(name: str) -> tuple[int, str]:
    numbered = _NUMBERED.fullmatch(name)
    return (int(numbered[1]), name) if numbered else (0, name)


def is_numbered(name: str) -> bool:
    """Return whether a run is of a version of gristmill that numbers its runs."""
    return _NUMBERED.fullmatch(name) is not None


def new_name(store: str, content: str) -> str:
    """Return a name for a new run, after all others; `content` is the digest of everything that decides the run."""
    last = max((_age(name)[0] for name in run_names(store)), default=0)
    return f"{last + 1:08d}-{content[:8]}"


def folder_of(store: str, name: str) -> str:
    """Return the URL of a run's folder."""
    return files.join(store, FOLDER, name)


def finished_runs(store: str) -> Iterator[Run]:
    """Yield the finished runs of a store, newest first. Raises StoreDamaged where a record is damaged."""
    for name in reversed(run_names(store)):
        try:
            record = files.read_record(files.join(store, FOLDER, name, RECORD))
        except FileNotFoundError:
            continue
        yield Run(store, name, record)


def latest_run(store: str, dataset: str | None = None) -> Run:
    """Return the newest finished run, of one dataset if named. Raises RecipeError where there is none."""
    for run in finished_runs(store):
        if dataset is None or run.record["name"] == dataset:
            return run
    which = f" of the dataset {dataset}" if dataset else ""
    begun = [f"{FOLDER}/{name}/{RECORD}" for name in run_names(store)]
    without = f" ({begun[-1]} is not there: that run was ended, or goes on)" if begun and not dataset else ""
    raise RecipeError(f"the store {store} holds no finished run{which}{without}; `gristmill run RECIPE` makes one")


def current_run(store: str, dataset: str) -> Run | None:
    """Return the run whose version readers of a dataset take: the newest, or the one that completes it, or None."""
    completed: dict[str, Run] = {}
    for run in finished_runs(store):
        if run.record["name"] == dataset:
            last = completed.get(run.name, run)
            if run.completes is None:
                return last
            completed[run.completes] = last
    return None


@dataclass(frozen=True)
class Standing:
    """Run with the shards (rows of shards.parquet) whose decisions stand: no later run of its dataset made others."""

    run: Run
    shards: Sequence[dict[str, Any]]
    superseded: Sequence[dict[str, Any]] = ()  #: its other shards, which later runs decided

    @property
    def dataset(self) -> str:
        """Return the dataset's name."""
        return str(self.run.record["name"])

    @property
    def decided(self) -> list[dict[str, Any]]:
        """Return the shards that the rules decided: all but those whose documents were withdrawn."""
        return [row for row in self.shards if row.get("withdrawn") is None]


def standing_runs(store: str, dataset: str | None = None, until: Run | None = None) -> list[Standing]:
    """Return the runs whose decisions stand, newest first: of each dataset, or of one, the newest run.

    Where it has an index, the earlier runs with the same one stand too: each decided shards that later ones left out.
    A run that a later one completes does not stand. With `until` those that stood when that one was the newest.
    """
    standing: list[Standing] = []
    indexes: dict[str, str | None] = {}
    decided: dict[str, set[int]] = defaultdict(set)
    completed: set[str | None] = set()
    for run in finished_runs(store):
        if until is not None and _age(run.name) > _age(until.name):
            continue
        name, index = run.record["name"], run.index
        stands = name not in indexes or (index is not None and index == indexes[name])
        if not stands or dataset not in (None, name) or run.name in completed:
            completed |= {run.completes} if run.name in completed else set()
            continue
        completed.add(run.completes)
        indexes.setdefault(name, index)
        rows = run.shards()
        shards = [row for row in rows if row["ordinal"] not in decided[name]]
        superseded = [row for row in rows if row["ordinal"] in decided[name]]
        decided[name].update(row["ordinal"] for row in shards)
        standing.append(Standing(run, shards, superseded))
    return standing


def nights_of(store: str, dataset: str, index: str, before: Run | None = None) -> list[Standing]:
    """Return the standing runs of a dataset with an index, oldest first, one that completes another in its place.

    With `before`, those that are older than that one.
    """
    completed = {run.name: run.completes for run in finished_runs(store) if run.record["name"] == dataset}

    def age(run: Run) -> tuple[int, str]:
        name = run.name
        while (earlier := completed[name]) is not None:
            name = earlier
        return _age(name)

    nights = sorted((s for s in standing_runs(store, dataset) if s.run.index == index), key=lambda s: age(s.run))
    return [night for night in nights if before is None or age(night.run) < age(before)]


def sweep_unfinished(store: str) -> None:
    """Remove the folders of runs that never finished, and unfinished files anywhere in the store.

    They are the newest ones, since each run does this when it begins. A version that such a run with an index announced
    and committed is taken back: no record has the decisions for it. Raises StoreDamaged where the record of a run
    that an index builds on is lost: that run did finish. Only the holder of the writer lock may call this.
    """
    check_held(store)
    files.sweep(store)
    for name in reversed(run_names(store)):
        url = files.join(store, FOLDER, name)
        if (lost := _lost(files.join(url, RECORD))) is None:
            return
        for index in index_names(store):
            if name in Index(store, index).runs:
                raise _lost_record(store, name, index, lost)
        _take_back(store, url)
        files.remove(url)


def remove_leftovers(store: str) -> None:
    """Remove folders of runs that have no record and that no index names: their removal was interrupted.

    Runs that never finished are among them, and must have been taken back before: `sweep_unfinished`. Only the holder
    of the writer lock may call this.
    """
    check_held(store)
    named = {run for index in index_names(store) for run in Index(store, index).runs}
    for name in run_names(store):
        if name not in named and _lost(files.join(store, FOLDER, name, RECORD)) == "gone":
            files.remove(files.join(store, FOLDER, name))


def check_records(store: str, index: Index) -> None:
    """Raise StoreDamaged where a run that an index builds on has lost its record; its whole folder may be missing."""
    for name in run_names(store):
        if name in index.runs and not files.exists(files.join(store, FOLDER, name, RECORD)):
            raise _lost_record(store, name, index.name, "gone")


def _lost_record(store: str, run: str, index: str, lost: str) -> StoreDamaged:
    url = files.join(store, FOLDER, run, RECORD)
    return StoreDamaged(
        url,
        f"{url} is {lost}, and the index {index} holds what that run kept, which no run decides again. Nothing was "
        "touched. Restore the file from a backup",
    )


def _lost(url: str) -> str | None:
    """Return `gone` or `damaged`, or None where a record is whole."""
    try:
        files.read_record(url)
    except FileNotFoundError:
        return "gone"
    except StoreDamaged:
        return "damaged"
    return None


def _take_back(store: str, run_url: str) -> None:
    """Retract the version that an unfinished run with an index announced, where it was committed."""
    try:
        record = files.read_record(files.join(run_url, VERSION))
    except (FileNotFoundError, StoreDamaged):
        return
    if (
        record.get("index", "") is None
    ):  # without an index the next run decides everything again, and may find this version
        return
    version = Dataset(store, record["dataset"]).named(record["version"])
    named = {run.record["version"] for run in finished_runs(store) if run.record["name"] == record["dataset"]}
    if version.committed and version.name not in named:
        Dataset(store, record["dataset"]).retract(version)


def write_shards(
    run_url: str,
    store: str,
    document: LocatedYaml,
    shards: Sequence[Shard],
    counts: Sequence[ShardCounts],
    measures: Sequence[ShardMeasures],
    withdrawn: Sequence[Mapping[str, Any]] = (),
) -> None:
    """Write shards.parquet; paths of measure files are relative to the store's folder, so that a store can move.

    `withdrawn` are rows of earlier runs (`Run.shards`) whose documents this one withdrew.
    """
    rows = []
    for shard, count, shard_measures in zip(shards, counts, measures, strict=True):
        parts = [(url, _for_people(names, shard_measures.schema)) for url, names in shard_measures.parts]
        row = {
            "ordinal": shard_measures.ordinal,
            "source": shard_measures.source,
            "file": document.redact(shard.spec.name),
            "parts": _below(store, parts),
        }
        if count.ends:
            row |= {"files": [document.redact(file.name) for file in shard.spec.files], "ends": list(count.ends)}
        rows.append({**row, "documents": count.documents, "records": count.records, "rejects": count.rejects})
    rows += [{**row, "parts": _below(store, row["parts"])} for row in withdrawn]
    files.write_table(files.join(run_url, "shards.parquet"), pa.Table.from_pylist(rows, schema=SHARDS))


def _below(store: str, parts: Iterable[tuple[str, Sequence[str]]]) -> str:
    """Return the places of measures below the store's folder, and their columns, as JSON."""
    return json.dumps([[url.removeprefix(store.rstrip("/") + "/"), list(names)] for url, names in parts])


def _for_people(names: Sequence[str], schema: pa.Schema) -> list[str]:
    """Return the columns that the store's views show: all but signatures."""
    return [name for name in names if name not in schema.names or not is_signature(schema.field(name).type)]
