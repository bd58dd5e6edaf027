"""Kinds of files that a store holds: the purpose of each, and the remedy where one is damaged or gone."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

#: The file in a dataset's folder that names the version that readers take.
CURRENT = "CURRENT"
#: The file of a version that tells what it holds.
MANIFEST = "manifest.json"
#: The file in a dataset's folder with the tags of its versions, and with those that are held back.
MARKS = "marks.json"


def path_in_dataset(version: str, file: Mapping[str, Any]) -> str:
    """Return the path from the dataset's folder of a file that the manifest of a version lists."""
    return str(file.get("path", f"{version}/{file['name']}"))  # before paths were told all files were its own


@dataclass(frozen=True)
class FileKind:
    """Files of a store that serve one purpose."""

    name: str
    pattern: re.Pattern[str]  #: of a path below the store's folder
    way_back: str  #: the remedy where such a file is damaged or gone
    derived: bool = False  #: a run makes it again by itself


def _kind(name: str, pattern: str, way_back: str, derived: bool = False) -> FileKind:
    return FileKind(name, re.compile(pattern), way_back, derived)


_BACKUP = "Restore it from a backup"
_AGAIN = "The next run of its recipe makes it again"
_DECIDE = "`gristmill verify --repair` puts the run aside; the next run of its recipe decides again"
_LABELS = (
    f"{_BACKUP}, or let go of it with `gristmill labels compact TASK --let-go`: its answers are then asked, and paid "
    "for, again"
)

KINDS = (
    _kind(
        "shard registry",
        r"shards/\d{8}\.parquet",
        f"{_BACKUP}: without it, addresses that documents have would be given to others. Else begin a new store",
    ),
    _kind("fit", r"fits/[^/]+/fit\.bin", _AGAIN, derived=True),
    _kind("record of a fit", r"fits/[^/]+/fit\.json", f"{_BACKUP}, or let `gristmill run RECIPE --refit` fit again"),
    _kind(
        "measures",
        r"measures/[^/]+/(pass\.json|\d{8}(\.rejects)?\.parquet)",
        f"{_AGAIN}; of a shard that an index holds no run does: there a backup is needed to query and explain it",
        derived=True,
    ),
    _kind("extracted texts", r"extracts/[^/]+/\d{8}(\.rejects)?\.parquet", _AGAIN, derived=True),
    _kind("report of a run", r"runs/[^/]+/report\.html", "`gristmill report RUN` makes it again", derived=True),
    _kind("account of a night", r"runs/[^/]+/night\.json", "Remove it: nothing but its report reads it", derived=True),
    _kind("record of a run", r"runs/[^/]+/run\.json", _DECIDE),
    _kind("decisions of a run", r"runs/[^/]+/((decisions|columns/\d+|labels/\d+)/)?[^/]+\.parquet", _DECIDE),
    _kind("state of a run", r"runs/[^/]+/[^/]+\.json", _DECIDE),
    _kind("manifest of a dataset", r"datasets/[^/]+/[^/]+/manifest\.json", f"{_AGAIN}, or restore it from a backup"),
    _kind("file of a dataset", r"datasets/[^/]+/[^/]+/data-[^/]+\.parquet", f"{_AGAIN}, or restore it from a backup"),
    _kind(
        "packed tokens of a dataset",
        r"datasets/[^/]+/[^/]+/tokens/tokens-[^/]+\.(bin|idx|parquet)",
        f"{_AGAIN}, or restore it from a backup",
    ),
    _kind(
        "state of a dataset",
        r"datasets/[^/]+/(CURRENT|[^/]+/_receipts/([^/]+\.json|exchange/([^/]+\.blocks|from-[^/]+/.+)))",
        _AGAIN,
        derived=True,
    ),
    _kind(
        "marks of versions",
        r"datasets/[^/]+/marks\.json",
        f"{_BACKUP}, or remove it: its tags are then gone, and no version is held back",
    ),
    _kind(
        "index",
        r"index/[^/]+/(index\.json|generations/.+\.(parquet|json))",
        f"{_BACKUP}: it holds what earlier runs kept, which no run decides again",
    ),
    _kind("report of a task", r"labels/[^/]+/report\.html", "`gristmill report TASK` makes it again", derived=True),
    _kind("labels", r"labels/[^/]+/[^/]+\.(parquet|jsonl|json)", _LABELS),
    _kind(
        "state of a loop",
        r"[^/]+\.loop/(loop|round-\d+)\.(json|parquet)",
        f"{_BACKUP}, or remove its folder: the loop then begins anew, and pays for no answer that the label store has",
    ),
    _kind("lock", r"LOCK(/[^/]+)?", "It is made by each run", derived=True),
)


def kind_of(path: str) -> FileKind | None:
    """Return the kind of a file, by its path below the store's folder; None where a store has no such files."""
    return next((kind for kind in KINDS if kind.pattern.fullmatch(path)), None)


def way_back(url: str) -> str:
    """Return the remedy for a damaged file, in a sentence, by its URL."""
    parts = url.split("/")
    paths = ("/".join(parts[start:]) for start in range(len(parts)))
    file_kind = next((kind for path in paths if (kind := kind_of(path)) is not None), None)
    return f"{file_kind.way_back}." if file_kind is not None else f"{_BACKUP}."
