"""Publication of versions: which one readers take, and the names of versions, changed by people under the lock."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from typing import Any

from gristmill.operators.errors import RecipeError
from gristmill.pipelines.config.wording import did_you_mean
from gristmill.pipelines.index.recovery import recovered
from gristmill.pipelines.store import whole
from gristmill.pipelines.store.datasets import Dataset, Version
from gristmill.pipelines.store.fuzzy_index import index_names
from gristmill.pipelines.store.lock import writer_lock
from gristmill.pipelines.store.run_records import RunRecords
from gristmill.pipelines.store.unfinished import sweep_unfinished

_TAG = re.compile(r"(?!\d+(-[0-9a-f]{12})?$)[A-Za-z0-9][A-Za-z0-9._-]*")
Say = Callable[[str], None]


@dataclass(frozen=True)
class Moved:
    """Readers of a dataset, moved from a version to another."""

    dataset: str
    version: str
    before: str | None
    documents: int  #: of the version that they take now
    held: tuple[str, ...] = ()  #: versions that no run publishes again
    index: str | None = None  #: the next run with this index lists their documents all the same

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return asdict(self)


def ready(records: RunRecords, name: str) -> Dataset:
    """Return a dataset after what a killed run left is put in order. Only the writer lock's holder may call this."""
    sweep_unfinished(records)
    for index in index_names(records.store):
        recovered(records, index)
    return Dataset(records.store, name)


@contextmanager
def _locked(store: str, name: str, say: Say) -> Iterator[tuple[Dataset, RunRecords]]:
    """Hold the store's lock, and yield a dataset that is `ready`, with the store's runs."""
    with writer_lock(store, say):
        records = RunRecords(store)
        yield ready(records, name), records


def publish(store: str, name: str, wanted: str, say: Say = lambda _: None) -> Moved:
    """Make a version, by its name or tag, the one that readers take, held back or not.

    Raises RecipeError where there is none, StoreDamaged where a file of it is gone or damaged, StoreLocked where a run
    holds the store.
    """
    with _locked(store, name, say) as (dataset, records):
        version = dataset.find(wanted)
        whole.check_version(dataset, version, records)
        before = dataset.current
        dataset.publish(version)
        return Moved(name, version.name, before, version.manifest["rows"])


def roll_back(store: str, name: str, to: str | None = None, say: Say = lambda _: None) -> Moved:
    """Move readers back: to a version, by its name or tag, or to the one that they took before.

    The versions that they leave are held back: a run that comes to one of them again does not publish it. Raises as
    `publish` does, and RecipeError where no version comes before.
    """
    with _locked(store, name, say) as (dataset, records):
        current = dataset.find()
        left = list(ancestors(dataset, current))
        if to is None and len(left) < 2:
            raise RecipeError(f"{current.name} is the first version of {name} that is there: nothing comes before it")
        version = left[1] if to is None else dataset.find(to)
        names = [entry.name for entry in left]
        if version.name == current.name:
            raise RecipeError(f"readers of {name} take {version.name} now; name another version to go back to")
        if version.name not in names:
            raise RecipeError(
                f"readers of {name} never came from {version.name} to {current.name}: that is no way back; "
                f"`gristmill datasets publish {name} {version.name}` makes it theirs"
            )
        whole.check_version(dataset, version, records)
        leaving = names[: names.index(version.name)]
        why = f"rolled back to {version.name} on {datetime.now(UTC).date()}"
        for entry in leaving:  # before readers move: a run that comes between finds them held back
            dataset.hold(dataset.named(entry), why)
        dataset.publish(version)
        index = next((run.index for run in records.finished(name) if run.record["version"] in leaving), None)
        return Moved(name, version.name, current.name, version.manifest["rows"], tuple(leaving), index)


def ancestors(dataset: Dataset, version: Version) -> Iterator[Version]:
    """Yield a version and those that readers took before it, newest first, as far as they are there."""
    there = {entry.name for entry in dataset.versions()}
    name: str | None = version.name
    while name is not None and name in there:
        yield (entry := dataset.named(name))
        there.discard(name)
        name = entry.manifest["parent"]


def tag(store: str, name: str, tag: str, wanted: str | None = None, say: Say = lambda _: None) -> Version:
    """Give a version, by default the one that readers take, a name that keeps it.

    Raises RecipeError where the tag cannot be one, or another version has it.
    """
    if not _TAG.fullmatch(tag):
        raise RecipeError(
            f"{tag!r} is no tag: a tag is of letters, digits, . _ -, and neither a number nor the name of a version"
        )
    with _locked(store, name, say) as (dataset, _):
        version, marks = dataset.find(wanted), dataset.marks
        if marks.tags.get(tag, version.name) != version.name:
            raise RecipeError(
                f"the tag {tag} is {marks.tags[tag]}'s; `gristmill datasets untag {name} {tag}` takes it from it"
            )
        dataset.mark(replace(marks, tags={**marks.tags, tag: version.name}))
        return version


def untag(store: str, name: str, tag: str, say: Say = lambda _: None) -> Version:
    """Take a tag from its version; return the version. Raises RecipeError where no version has it."""
    with _locked(store, name, say) as (dataset, _):
        dataset.find()
        marks = dataset.marks
        if tag not in marks.tags:
            raise RecipeError(f"no version of {name} has the tag {tag}{did_you_mean(tag, marks.tags)}")
        dataset.mark(replace(marks, tags={other: of for other, of in marks.tags.items() if other != tag}))
        return dataset.named(marks.tags[tag])
