"""`gristmill verify`: all files of a store are read, and each one that is not as it was written is explained."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from gristmill.operators.errors import RecipeError, StoreDamaged
from gristmill.pipelines.config.wording import did_you_mean
from gristmill.pipelines.label.store.folder import list_folder
from gristmill.pipelines.label.store.journal import replay
from gristmill.pipelines.progress.reporter import Reporter
from gristmill.pipelines.storage import files
from gristmill.pipelines.storage.file_kinds import CURRENT, MANIFEST, kind_of
from gristmill.pipelines.store import runs, whole
from gristmill.pipelines.store.datasets import FOLDER as DATASETS
from gristmill.pipelines.store.datasets import Dataset
from gristmill.pipelines.store.fuzzy_index import FOLDER as INDEX
from gristmill.pipelines.store.fuzzy_index import Index, index_names
from gristmill.pipelines.store.lock import writer_lock
from gristmill.pipelines.store.measures import FOLDER as MEASURES
from gristmill.pipelines.store.measures import rejects_file
from gristmill.pipelines.store.registry import Registry
from gristmill.pipelines.store.run_records import RunRecords

LABELS = "labels"
DAMAGED, GONE, LEFT_OVER, FOREIGN = "damaged", "gone", "left over", "foreign"
_AT_ONCE = min(8, (os.cpu_count() or 1) + 1)  # files that are read at the same time


@dataclass(frozen=True)
class Finding:
    """A file that is not as it should be."""

    path: str  #: below the store's folder
    problem: str  #: damaged, gone, left over or foreign
    meaning: str  #: the kind of file, and the remedy
    repaired: str | None = None  #: the action of `--repair`


@dataclass(frozen=True)
class Verified:
    """The files that were read, and the findings."""

    store: str
    files: int
    bytes: int
    unsealed: int  #: files of earlier versions of gristmill, which carry no seal
    findings: Sequence[Finding] = field(default_factory=tuple)

    @property
    def wrong(self) -> int:
        """Return the number of files that are damaged or gone and were not repaired."""
        return sum(f.problem in (DAMAGED, GONE) and f.repaired is None for f in self.findings)

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return asdict(self)


def verify(store: str, dataset: str | None, repair: bool, reporter: Reporter) -> Verified:
    """Read all files of a store, or of one dataset of it, and compare them with what was written.

    With `repair`, what a run can make again is removed or written again, and leftovers are removed; the store is locked
    for it. Raises RecipeError where there is no such store or dataset, StoreLocked where a run holds the store.
    """
    if not repair:
        return _verify(store, dataset, reporter)
    with writer_lock(store, reporter.say):
        result = _verify(store, dataset, reporter)
        return replace(result, findings=[_repaired(store, finding, reporter) for finding in result.findings])


def _verify(store: str, dataset: str | None, reporter: Reporter) -> Verified:
    states = files.states(store)
    if not any(kind_of(path) for path in states):
        raise RecipeError(f"{store} is no store of gristmill: it holds none of its files")
    if dataset is not None:
        names = sorted({path.split("/")[1] for path in states if path.startswith(f"{DATASETS}/")})
        if dataset not in names:
            raise RecipeError(f"the store {store} has no dataset {dataset}{did_you_mean(dataset, names)}")
        states = {path: state for path, state in states.items() if path.startswith(f"{DATASETS}/{dataset}/")}
    broken, unsealed = _read_all(store, states, reporter)
    findings = {path: Finding(path, DAMAGED, _meaning(path)) for path in broken}
    for path, problem in _expected(store, states, broken, dataset):
        findings.setdefault(path, Finding(path, problem, _meaning(path, problem)))
    size = sum(state.size for state in states.values())
    return Verified(store, len(states), size, unsealed, sorted(findings.values(), key=lambda f: (f.problem, f.path)))


def _read_all(store: str, there: Mapping[str, files.State], reporter: Reporter) -> tuple[set[str], int]:
    """Read the files; return the damaged ones, and how many have no seal."""
    broken: set[str] = set()
    unsealed = 0
    with reporter.stage("verify", len(there), "file") as stage, ThreadPoolExecutor(_AT_ONCE) as pool:
        for path, sealed in zip(there, pool.map(lambda path: _check(store, path), there), strict=True):
            if sealed is None:
                broken.add(path)
            unsealed += sealed is False
            stage.advance(text_bytes=there[path].size)
    return broken, unsealed


def _check(store: str, path: str) -> bool | None:
    """Return whether a file has a seal; None where it is damaged. Files without a seal by nature count as sealed."""
    url = files.join(store, path)
    kind = kind_of(path)
    if kind is None or files.UNFINISHED in path:
        return True
    try:
        if path.startswith(f"{DATASETS}/") and path.endswith(".parquet"):
            return True  # the manifest has its digest: `_dataset`
        if path.endswith(".parquet"):
            return files.check_table(url)
        if path.endswith(".json"):
            files.read_record(url)
        if path.endswith(".jsonl"):
            replay(files.read_bytes(url), url)
    except FileNotFoundError:  # a run replaced it meanwhile
        return True
    except StoreDamaged:
        return None
    return True


def _expected(
    store: str, there: Mapping[str, files.State], broken: set[str], dataset: str | None
) -> Iterator[tuple[str, str]]:
    """Yield (path, problem) of what the records of a store say of its files, and the files do not say of themselves."""
    for path in there:
        if files.UNFINISHED in path:
            yield path, LEFT_OVER
        elif kind_of(path) is None:
            yield path, LEFT_OVER if path.startswith(f"{runs.FOLDER}/") else FOREIGN
    finished = _finished(store, there, broken)
    names = [dataset] if dataset is not None else files.names(files.join(store, DATASETS))
    for name in names:
        yield from _dataset(store, name, there, broken, finished)
    if dataset is None:
        yield from _runs(store, there, broken, finished)
        yield from _measures(store, there)
        yield from _fits(store, there, broken)
        yield from _indexes(store, there, broken)
        yield from _labels(store, there, broken)


def _finished(store: str, there: Mapping[str, files.State], broken: set[str]) -> list[runs.Run]:
    """Return the finished runs whose records are whole, newest first."""
    whole_runs = []
    for name in reversed(runs.run_names(store)):
        path = f"{runs.FOLDER}/{name}/{runs.RECORD}"
        if path not in broken:
            with contextlib.suppress(FileNotFoundError, StoreDamaged):
                whole_runs.append(runs.Run(store, name, files.read_record(files.join(store, path))))
    return whole_runs


def _dataset(
    store: str, name: str, there: Mapping[str, files.State], broken: set[str], finished: Sequence[runs.Run]
) -> Iterator[tuple[str, str]]:
    dataset = Dataset(store, name)
    folder = f"{DATASETS}/{name}"
    try:
        _ = dataset.current
    except StoreDamaged:
        yield f"{folder}/{CURRENT}", DAMAGED if f"{folder}/{CURRENT}" in there else GONE
    named = {run.record["version"]: run for run in finished if run.record["name"] == name}
    for version in map(dataset.named, sorted({*named, *dataset.uncommitted, *(v.name for v in dataset.versions())})):
        place = f"{folder}/{version.name}"
        if not version.committed:
            if version.name in named:
                yield f"{place}/{MANIFEST}", GONE
            else:
                yield from ((path, LEFT_OVER) for path in there if path.startswith(f"{place}/"))
            continue
        if f"{place}/{MANIFEST}" in broken:
            continue
        for file in version.written(version.manifest):
            path = f"{place}/{file['name']}"
            if path not in there:
                yield path, GONE
            elif there[path].size != file["bytes"] or files.digest(files.join(store, path)) != file["digest"]:
                yield path, DAMAGED


def _runs(
    store: str, there: Mapping[str, files.State], broken: set[str], finished: Sequence[runs.Run]
) -> Iterator[tuple[str, str]]:
    whole = {run.name for run in finished}
    indexed = {run for index in _opened(store) for run in index.runs}
    for name in runs.run_names(store):
        folder = f"{runs.FOLDER}/{name}"
        if name not in whole and f"{folder}/{runs.RECORD}" not in broken:
            if name in indexed:
                yield f"{folder}/{runs.RECORD}", GONE
            else:
                yield from ((path, LEFT_OVER) for path in there if path.startswith(f"{folder}/"))
    for run in finished:
        folder = f"{runs.FOLDER}/{run.name}"
        parts = [f"{folder}/shards.parquet", f"{folder}/rejects.parquet"]
        parts += [f"{folder}/{runs.VERSION}"] if runs.is_numbered(run.name) else []  # earlier versions wrote none
        if parts[0] in there and parts[0] not in broken:
            for row in run.shards():
                parts.append(run.decisions(row["ordinal"]).removeprefix(f"{store.rstrip('/')}/"))
                parts += [url.removeprefix(f"{store.rstrip('/')}/") for url, _ in row["parts"]]
        yield from ((path, GONE) for path in parts if path not in there)


def _measures(store: str, there: Mapping[str, files.State]) -> Iterator[tuple[str, str]]:
    passes = {path.split("/")[1] for path in there if path.startswith(f"{MEASURES}/") and path.count("/") == 2}
    for name in sorted(passes):
        if (path := f"{MEASURES}/{name}/pass.json") not in there:
            yield path, GONE
    ordinals = [int(path[-16:-8]) for path in there if _is_measured(path)]
    try:
        Registry(store).check_knows(ordinals)
    except StoreDamaged as error:
        path = error.url.removeprefix(f"{store.rstrip('/')}/")
        yield path, DAMAGED if path in there else GONE


def _is_measured(path: str) -> bool:
    return path.startswith(f"{MEASURES}/") and path.endswith(".parquet") and not path.endswith(".rejects.parquet")


def _fits(store: str, there: Mapping[str, files.State], broken: set[str]) -> Iterator[tuple[str, str]]:
    for name in sorted({path.split("/")[1] for path in there if path.startswith("fits/") and path.count("/") == 2}):
        record, artefact = f"fits/{name}/fit.json", f"fits/{name}/fit.bin"
        if record not in there:
            yield record, GONE
        elif artefact not in there:
            yield artefact, GONE
        elif record not in broken:
            content = files.read_record(files.join(store, record))
            if content.get("digest", "") not in ("", files.digest(files.join(store, artefact))):
                yield artefact, DAMAGED


def _opened(store: str) -> Iterator[Index]:
    for name in index_names(store):
        with contextlib.suppress(StoreDamaged):
            yield Index(store, name)


def _indexes(store: str, there: Mapping[str, files.State], broken: set[str]) -> Iterator[tuple[str, str]]:
    below = f"{store.rstrip('/')}/"
    for name in index_names(store):
        try:
            index = Index(store, name)
        except StoreDamaged as error:
            if (path := error.url.removeprefix(below)) not in there:
                yield path, GONE
            continue
        named = {generation.name for generation in index.generations}
        for path in there:
            parts = path.split("/")
            if parts[:3] == [INDEX, name, "generations"] and parts[3] not in named:
                yield path, LEFT_OVER
        for generation in index.generations:
            at = index.files_of(generation)
            urls = [at.shards, *(at.keys(part) for part in range(at.key_files))]
            if at.shards.removeprefix(below) in there and at.shards.removeprefix(below) not in broken:
                urls += [at.documents(shard.ordinal) for shard in index.shards_of(generation)]
            yield from ((path, GONE) for url in urls if (path := url.removeprefix(below)) not in there)


def _labels(store: str, there: Mapping[str, files.State], broken: set[str]) -> Iterator[tuple[str, str]]:
    for task in sorted({path.split("/")[1] for path in there if path.startswith(f"{LABELS}/") and path.count("/") > 1}):
        folder = f"{LABELS}/{task}"
        if any(path.startswith(f"{folder}/") for path in broken):
            continue  # it is unknown what else is missing
        try:
            listing = list_folder(files.join(store, folder))
        except StoreDamaged as error:
            yield error.url.removeprefix(f"{store.rstrip('/')}/"), GONE
            continue
        yield from ((f"{folder}/{name}", FOREIGN) for name in listing.foreign)


def _meaning(path: str, problem: str = DAMAGED) -> str:
    if problem == FOREIGN and path.startswith(f"{LABELS}/"):
        return "of a name that answers bear, and no run made it: it does not count, and is left alone"
    if problem == LEFT_OVER:
        return "of a run that was ended before it was finished, or goes on; the next run removes it"
    kind = kind_of(path)
    if kind is None:
        return "nothing of gristmill's; it is left alone"
    return f"{kind.name}. {kind.way_back}"


def _repaired(store: str, finding: Finding, reporter: Reporter) -> Finding:
    """Repair a finding where that is safe; return it with what was done."""
    done = _repair(store, finding, reporter)
    return finding if done is None else replace(finding, repaired=done)


def _repair(store: str, finding: Finding, reporter: Reporter) -> str | None:
    path, url, kind = finding.path, files.join(store, finding.path), kind_of(finding.path)
    folder = path.split("/")[1] if "/" in path else ""
    if finding.problem == LEFT_OVER:
        files.remove(url)
        return "removed"
    if kind is None or finding.problem == FOREIGN:
        return None
    if kind.name == "measures":
        if path.endswith("pass.json"):
            files.remove(url)
        elif any(int(path.split("/")[2][:8]) in index.held for index in _opened(store)):
            return None
        else:
            measured = url.replace(".rejects.parquet", ".parquet")
            files.remove(measured)
            files.remove(rejects_file(measured))
        return "removed: the next run measures it again"
    if kind.name == "fit":
        files.remove(url)
        return "removed: the next run makes it again of the same documents"
    if kind.name in ("record of a run", "decisions of a run", "state of a run"):
        return _put_aside(store, folder)
    if kind.name in ("manifest of a dataset", "state of a dataset"):
        return _restore(store, folder, path, reporter)
    return None


def _put_aside(store: str, run: str) -> str | None:
    """Remove a run that can be done again, as no index builds on it; return what was done, None if nothing."""
    if any(run in index.runs for index in _opened(store)):
        return None
    files.remove(files.join(store, runs.FOLDER, run))
    return f"the run {run} is removed: the next run of its recipe decides again, without reading what is measured"


def _restore(store: str, dataset: str, path: str, reporter: Reporter) -> str | None:
    """Write a manifest again from the run that wrote it, or point CURRENT at what the newest run committed."""
    by = [*RunRecords(store).finished(dataset)]
    if path.endswith(MANIFEST):
        by = [run for run in by if run.record["version"] == path.split("/")[2]]
    for run in by:
        version, faults = whole.whole_version(run, reporter.say)
        if faults or (path.endswith(CURRENT) and not version.committed):
            return None
        if path.endswith(CURRENT) and Dataset(store, dataset).point_at(version).held is not None:
            continue
        return f"written again, as the run {run.name} had it"
    return None
