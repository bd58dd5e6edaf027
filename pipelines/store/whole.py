"""Wholeness of versions of datasets: what runs announced of their files, beside what is there."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any

from gristmill.operators.errors import StoreDamaged
from gristmill.pipelines.storage import files
from gristmill.pipelines.storage.file_kinds import MANIFEST
from gristmill.pipelines.store.datasets import Dataset, States, Version
from gristmill.pipelines.store.lock import check_held
from gristmill.pipelines.store.run_records import RunRecords
from gristmill.pipelines.store.runs import VERSION, Run


def announce_version(
    run_url: str, dataset: str, version: Version, manifest: Mapping[str, Any], index: str | None
) -> None:
    """Write the version that a run is about to commit, its manifest and the states of its files.

    It serves three ends. A version that a run with an index committed before it was killed is taken back, because the
    next run decides the same shards again. A manifest that is lost is written again. And as long as the files of the
    version are in these states, they are whole.
    """
    record = {"dataset": dataset, "version": version.name, "index": index, "manifest": dict(manifest)}
    files.write_record(files.join(run_url, VERSION), {**record, "files": _states(version, manifest)})


def _sharing(version: Version, manifest: Mapping[str, Any]) -> list[Version]:
    """Return the versions in whose folders texts of a version lie, its earlier nights apart."""
    if "nights" in manifest:
        return []
    dataset = version.url.removesuffix(f"/{version.name}")
    folders = sorted(version.folders(manifest) - {version.name})
    return [Version(files.join(dataset, name), name, True) for name in folders]


def _states(version: Version, manifest: Mapping[str, Any]) -> dict[str, files.State]:
    """Return the present states of a version's files by name, of those in another's folder by path from the dataset."""
    states = version.states()
    for other in _sharing(version, manifest):
        now = other.states()
        listed = (file["name"] for file in other.written(manifest))
        states |= {f"{other.name}/{name}": now[name] for name in listed if name in now}
    return states


def faults_of(
    version: Version, manifest: Mapping[str, Any], known: States = MappingProxyType({}), now: States | None = None
) -> list[str]:
    """Return the faults of the files of a version, and of texts that it shares with another; see `Version.faults`.

    States are those of `announced`.
    """
    now = _states(version, manifest) if now is None else now
    faults = version.faults(manifest, known, now)
    for other in _sharing(version, manifest):
        own = f"{other.name}/"
        of_other = ({path.removeprefix(own): at[path] for path in at if path.startswith(own)} for at in (known, now))
        faults += other.faults(manifest, *of_other)
    return faults


def announced(run: Run) -> tuple[dict[str, Any] | None, States]:
    """Return the manifest of a run's version and the states of its files, as `announce_version` wrote them, if any."""
    try:
        record = files.read_record(files.join(run.url, VERSION))
    except FileNotFoundError:
        return None, {}
    # by name, and by path from the dataset's folder where they are those of texts in another's folder
    states = {name: files.State(*state) for name, state in record.get("files", {}).items()}
    return record.get("manifest"), states


def whole_version(run: Run, say: Callable[[str], None]) -> tuple[Version, list[str]]:
    """Return the version that a finished run committed, and its faults: none, if readers get what was written.

    A lost or damaged manifest is written again as the run announced it. Only the holder of the writer lock may call
    this.
    """
    version = Dataset(run.store, run.record["name"]).named(run.record["version"])
    url = files.join(version.url, MANIFEST)
    copy, states = announced(run)
    lost = None
    try:
        manifest = version.manifest
    except (FileNotFoundError, StoreDamaged) as error:
        lost = str(error) if isinstance(error, StoreDamaged) else f"{url} is gone"
        if copy is None:
            return version, [lost]
        manifest = copy
    now = _states(version, manifest)
    if faults := faults_of(version, manifest, states, now):
        return version, faults
    if lost is not None:
        say(f"! {lost.partition('. ')[0]}: written again, as the run {run.name} had it")
        check_held(run.store)
        files.write_record(url, manifest)
    if now != states:  # moved or copied since, but all of it has been read now
        announce_version(run.url, run.record["name"], version, manifest, run.index)
    return replace(version, committed=True), []


def check_version(dataset: Dataset, version: Version, records: RunRecords) -> None:
    """Raise StoreDamaged where a committed version of a dataset is not what was written."""
    manifest = version.manifest
    wrote = version.folders(manifest)
    by: dict[str, Run] = {}
    for run in records.finished(dataset.name):
        if run.record["version"] in wrote:
            by.setdefault(run.record["version"], run)
    again = f"The next run of {dataset.name} writes it again"
    if "nights" in manifest:
        again = "Restore it from a backup: with an index no run decides its documents again"
    for name in sorted(wrote):
        faults = dataset.named(name).faults(manifest, announced(by[name])[1] if name in by else {})
        if faults:
            raise StoreDamaged(version.url, f"{faults[0]}. {again}")
