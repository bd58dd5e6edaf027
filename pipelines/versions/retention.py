"""Versions that a store need hold no longer, and their removal with the runs that made them.

A version goes when nothing keeps it: no reader, no tag, no plan of a mixture, no hold, no run that the next one builds
on, no index, no other version whose files lie in its folder, and not the wish to keep the newest of so many nights,
weeks and months. Each is removed so that what a kill leaves is removed by the next collection: first the records of its
runs, then its manifest, then its files.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import date
from typing import Any

from pydantic import ValidationError

from gristmill.operators.errors import RecipeError
from gristmill.pipelines.recipe.refresh import Retention
from gristmill.pipelines.storage import files
from gristmill.pipelines.storage.file_kinds import MANIFEST
from gristmill.pipelines.store import runs
from gristmill.pipelines.store.datasets import Dataset
from gristmill.pipelines.store.fuzzy_index import Index, index_names
from gristmill.pipelines.store.lock import writer_lock
from gristmill.pipelines.store.run_records import RunRecords
from gristmill.pipelines.store.runs import Run
from gristmill.pipelines.store.unfinished import remove_leftovers
from gristmill.pipelines.versions.plans import mixture_of
from gristmill.pipelines.versions.publishing import ready


@dataclass(frozen=True)
class Judged:
    """A version, and what keeps it."""

    version: str
    date: str  #: of its night, ISO 8601
    bytes: int  #: of the files in its folder
    kept_by: Sequence[str]  #: what keeps it; nothing: it goes
    runs: Sequence[str]  #: that came to it


@dataclass(frozen=True)
class Collection:
    """The versions of a dataset, oldest first, those that go among them."""

    dataset: str
    versions: Sequence[Judged]

    @property
    def going(self) -> list[Judged]:
        """Return the versions that nothing keeps."""
        return [version for version in self.versions if not version.kept_by]

    @property
    def bytes(self) -> int:
        """Return the bytes of the files that go."""
        return sum(version.bytes for version in self.going)

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return {**asdict(self), "going": [version.version for version in self.going], "bytes": self.bytes}


def retention(nightly: int = 7, weekly: int = 0, monthly: int = 0) -> Retention:
    """Return how many nights, weeks and months are kept. Raises RecipeError for numbers below zero, or all zero."""
    try:
        return Retention(nightly=nightly, weekly=weekly, monthly=monthly)
    except ValidationError as error:
        raise RecipeError(f"keep: {error.errors()[0]['msg'].removeprefix('Value error, ')}") from None


def collect(
    records: RunRecords,
    name: str,
    keep: Retention,
    confirm: Callable[[Collection], bool],
    say: Callable[[str], None] = lambda _: None,
) -> Collection:
    """Remove the versions of a dataset that nothing keeps, if `confirm` agrees; return what was judged.

    Takes the store's lock. Raises RecipeError where there is no such dataset, StoreLocked where a run holds the store.
    """
    with writer_lock(records.store, say):
        dataset = ready(records, name)
        dataset.find()
        judged = judge(records, dataset, keep)
        if confirm(judged):
            _remove_all(records, dataset, judged.going)
        return judged


def judge(records: RunRecords, dataset: Dataset, keep: Retention) -> Collection:
    """Return the versions of a dataset and what keeps each. Raises StoreDamaged where that cannot be known."""
    versions = dataset.versions()
    manifests = {version.name: version.manifest for version in versions}
    by = _runs_by_version(records, dataset)
    dates = dates_of(records, dataset)
    reasons: dict[str, list[str]] = {version.name: [] for version in versions}

    def because(version: str | None, reason: str) -> None:
        if version in reasons:
            reasons[version].append(reason)

    because(dataset.current, "readers take it")
    marks = dataset.marks
    for tag, version in sorted(marks.tags.items()):
        mixture = mixture_of(tag)
        because(version, f"tag {tag}" if mixture is None else f"mixture {mixture}, until it is released")
    for version, why in marks.held.items():
        because(version, f"held back: {why}")
    because(versions[-1].name if versions else None, "it is the newest")
    for stands in records.standing(dataset.name):
        because(stands.run.record["version"], "the next run builds on it")
    for index in index_names(records.store):
        named = Index(records.store, index).runs
        for version, made_by in by.items():
            if any(run.name in named for run in made_by):
                because(version, f"the index {index} names its run")
    for period, number in keep.model_dump().items():
        for version in newest_of_each(period, number, dates, without=marks.held):
            because(version, f"the newest of its {_PERIODS[period][0]}")
    pending = [version for version in reasons if reasons[version]]
    while pending:  # what a version keeps stays whole, with all that its own manifest lists
        version = pending.pop()
        for folder in dataset.named(version).folders(manifests[version]) - {version}:
            pending += [] if reasons.get(folder, [""]) else [folder]
            because(folder, f"files of {version} lie in it")
    judged = [
        Judged(
            version.name,
            dates[version.name].isoformat(),
            sum(file["bytes"] for file in version.written(manifests[version.name])),
            tuple(dict.fromkeys(reasons[version.name])),
            tuple(run.name for run in by[version.name]),
        )
        for version in versions
    ]
    return Collection(dataset.name, judged)


#: What a period is called, and what tells it from others.
_PERIODS: Mapping[str, tuple[str, Callable[[date], Any]]] = {
    "nightly": ("night", lambda day: day),
    "weekly": ("week", lambda day: day.isocalendar()[:2]),
    "monthly": ("month", lambda day: (day.year, day.month)),
}


def newest_of_each(period: str, number: int, dates: Mapping[str, date], without: Iterable[str]) -> list[str]:
    """Return the newest version of each of the last so many periods that have one."""
    newest = {
        _PERIODS[period][1](day): version for version, day in sorted(dates.items()) if version not in set(without)
    }
    return [newest[which] for which in sorted(newest)[-number:]] if number else []


def _runs_by_version(records: RunRecords, dataset: Dataset) -> dict[str, list[Run]]:
    """Return the runs that came to each committed version of a dataset."""
    by: dict[str, list[Run]] = {version.name: [] for version in dataset.versions()}
    for run in records.finished(dataset.name):
        if run.record["version"] in by:
            by[run.record["version"]].append(run)
    return by


def dates_of(records: RunRecords, dataset: Dataset) -> dict[str, date]:
    """Return the night of each version: that of the first run that came to it, else when its manifest was written."""
    found = {}
    for name, made_by in _runs_by_version(records, dataset).items():
        told = [run.record["date"] for run in made_by if "date" in run.record]
        found[name] = (
            date.fromisoformat(min(told)) if told else files.changed_on(files.join(dataset.named(name).url, MANIFEST))
        )
    return found


def _remove_all(records: RunRecords, dataset: Dataset, going: Sequence[Judged]) -> None:
    store = dataset.store
    for version in going:
        for run in version.runs:
            files.remove(files.join(runs.folder_of(store, run), runs.RECORD))
            files.remove(runs.folder_of(store, run))
        url = dataset.named(version.version).url
        files.remove(files.join(url, MANIFEST))
        files.remove(url)
    records.look_again()
    remove_leftovers(records)
    left = Dataset(store, dataset.name)
    left.sweep({run.record["version"] for run in records.finished(dataset.name)})
