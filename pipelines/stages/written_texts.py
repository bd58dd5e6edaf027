"""Texts that an earlier version of a dataset holds: they are written once, whatever is packed of their tokens.

Versions whose texts are the same, byte for byte, share the files: they lie in the folder of the version that wrote
them, and the manifests of the others list them there. Of a dataset with an index nights share files in another way:
see `earlier_nights.py`.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gristmill.operators.base import Rewrite
from gristmill.operators.errors import StoreDamaged
from gristmill.pipelines.engine.base import Engine
from gristmill.pipelines.progress.reporter import Reporter
from gristmill.pipelines.shard_tasks.pack import Packing
from gristmill.pipelines.shard_tasks.pack_written import PackWritten, pack_written
from gristmill.pipelines.shard_tasks.write import RECEIPTS, WriteReceipt, WriteTask
from gristmill.pipelines.sinks.parquet import WrittenFile
from gristmill.pipelines.storage import files
from gristmill.pipelines.store import whole
from gristmill.pipelines.store.datasets import Dataset, Version
from gristmill.pipelines.store.runs import Run

#: Digits of the digest of a version's texts: as many as the name of a version has.
_DIGITS = 12


@dataclass(frozen=True)
class WrittenTexts:
    """Files of texts that a version wrote."""

    version: Version
    funnel: Mapping[str, Any]  #: of its manifest
    files: tuple[WrittenFile, ...]

    def sent(
        self,
        packing: Packing | None,
        tasks: Sequence[WriteTask],
        rewrite: Rewrite | None,
        version: Version,
        engine: Engine,
        reporter: Reporter,
    ) -> list[WriteReceipt]:
        """Return the receipts of the tasks that wrote the files; with `packing` their tokens are sent to be packed."""
        ends = itertools.accumulate(len(task.sizes) for task in tasks)
        of_tasks = [self.files[end - len(task.sizes) : end] for task, end in zip(tasks, ends, strict=True)]
        if packing is None:
            return [WriteReceipt(written, {}) for written in of_tasks]
        place = files.join(version.url, RECEIPTS)
        items = [
            PackWritten(packing, task, written, self.version.url, place, rewrite)
            for task, written in zip(tasks, of_tasks, strict=True)
        ]
        outcomes = []
        with reporter.stage("tokens", len(self.files), "file", sum(file.text_bytes for file in self.files)) as stage:
            for outcome in engine.map(pack_written, items):
                outcomes.append(outcome)
                written = of_tasks[outcome.index]
                stage.advance(len(written), sum(file.text_bytes for file in written))
        return [outcome.unwrap() for outcome in sorted(outcomes, key=lambda o: o.index)]


def short(texts: str) -> str:
    """Return the digest of a version's texts as manifests tell it."""
    return texts[:_DIGITS]


def written_texts(
    dataset: Dataset, texts: str, version: Version, rows: Sequence[int], runs: Sequence[Run]
) -> WrittenTexts | None:
    """Return the whole files of another version with just these texts, so many rows each; None where none has them.

    `texts` is the digest of all that decides them, `runs` are the finished runs of the dataset, newest first. A version
    that has written texts of its own, or had begun to, goes on with these.
    """
    holders: dict[str, Run] = {}
    for run in runs:
        if _texts_of(run) == short(texts) and run.record["version"] != version.name:
            holders.setdefault(run.record["version"], run)
    if not holders or any(name.startswith("data-") for name in version.states()):
        return None
    for name, run in holders.items():
        held = dataset.named(name)
        with contextlib.suppress(FileNotFoundError, StoreDamaged):
            manifest = held.manifest
            listed = {"files": manifest["files"]}
            fields = WrittenFile.__dataclass_fields__
            written = tuple(WrittenFile(**{field: file[field] for field in fields}) for file in manifest["files"])
            if (
                held.folders(listed) == {name}
                and [file.rows for file in written] == [*rows]
                and not held.faults(listed, whole.announced(run)[1])
            ):
                return WrittenTexts(held, manifest["funnel"], written)
    return None


def _texts_of(run: Run) -> str | None:
    """Return the digest of the texts of a run's version, None where it is not told: nights are told apart otherwise.

    A version without packed tokens is named by it.
    """
    if run.index is not None:
        return None
    packed = run.record["result"].get("packed")
    if packed is None:
        return str(run.record["version"]).rsplit("-", 1)[-1]
    told: str | None = packed.get("texts")
    return told


def shared_texts(version: Version) -> dict[str, Any] | None:
    """Return `version`, `files` and `bytes` of the texts of a version that lie in another's folder; None where none do.

    Texts of earlier nights are not among them.
    """
    manifest = version.manifest
    if "nights" in manifest:
        return None
    folders = version.folders({"files": manifest["files"]}) - {version.name}
    if not folders:
        return None
    (folder,) = folders
    return {
        "version": folder,
        "files": len(manifest["files"]),
        "bytes": sum(file["bytes"] for file in manifest["files"]),
    }
