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
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from gristmill.operators.columns import is_signature
from gristmill.pipelines.config.located_yaml import LocatedYaml
from gristmill.pipelines.storage import files
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
    return sorted((name for name in names if _NUMBERED.fullmatch(name) or _TIMED.fullmatch(name)), key=age)


def age(name: str) -> tuple[int, str]:
    """Return what runs are ordered by: the number of a run, then its name."""
    numbered = _NUMBERED.fullmatch(name)
    return (int(numbered[1]), name) if numbered else (0, name)


def is_numbered(name: str) -> bool:
    """Return whether a run is of a version of gristmill that numbers its runs."""
    return _NUMBERED.fullmatch(name) is not None


def new_name(store: str, content: str) -> str:
    """Return a name for a new run, after all others; `content` is the digest of everything that decides the run."""
    last = max((age(name)[0] for name in run_names(store)), default=0)
    return f"{last + 1:08d}-{content[:8]}"


def folder_of(store: str, name: str) -> str:
    """Return the URL of a run's folder."""
    return files.join(store, FOLDER, name)


def read_run(store: str, name: str) -> Run | None:
    """Return a finished run, None where it never finished. Raises StoreDamaged where its record is damaged."""
    try:
        return Run(store, name, files.read_record(files.join(store, FOLDER, name, RECORD)))
    except FileNotFoundError:
        return None


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
