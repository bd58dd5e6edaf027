"""Finished runs of a store: which is the newest, whose decisions stand, and which of them made a version."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from gristmill.operators.errors import RecipeError
from gristmill.pipelines.store.datasets import Dataset, Version
from gristmill.pipelines.store.runs import FOLDER, RECORD, Run, age, read_run, run_names


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

    def only(self, ordinals: Collection[int]) -> Standing:
        """Return the run with some of its shards."""
        return replace(self, shards=[row for row in self.shards if row["ordinal"] in ordinals])


class RunRecords:
    """Records of the finished runs of a store, each read once, when it is first asked for: they never change.

    The runs are those that are there when they are first asked for, and those that are added. Who takes the writer lock
    has to `look_again`, for nobody but its holder finishes runs or removes them.
    """

    def __init__(self, store: str) -> None:
        self.store = store
        self._names: list[str] | None = None  # oldest first
        self._read: dict[str, Run | None] = {}
        self._shards: dict[str, list[dict[str, Any]]] = {}

    @property
    def names(self) -> list[str]:
        """Return the names of all runs, finished or not, oldest first."""
        if self._names is None:
            self._names = run_names(self.store)
        return self._names

    def look_again(self) -> None:
        """Forget which runs there are, and keep what was read of those that are still there."""
        self._names = None
        self._read = {name: run for name, run in self._read.items() if run is not None and name in self.names}
        self._shards = {name: rows for name, rows in self._shards.items() if name in self._read}

    def renewed(self) -> RunRecords:
        """Return the records of the runs that there are now, with what these have read; these stay as they are."""
        records = RunRecords(self.store)
        records._read, records._shards = dict(self._read), dict(self._shards)
        records.look_again()
        return records

    def add(self, run: Run) -> None:
        """Take in a run that has just been finished: the newest."""
        self._names = [*(name for name in self.names if name != run.name), run.name]
        self._read[run.name] = run

    def run(self, name: str) -> Run | None:
        """Return a finished run, None where it never finished. Raises StoreDamaged where its record is damaged."""
        if name not in self._read:
            self._read[name] = read_run(self.store, name)
        return self._read[name]

    def finished(self, dataset: str | None = None) -> Iterator[Run]:
        """Yield the finished runs (of one dataset), newest first. Raises StoreDamaged where a record is damaged."""
        for name in reversed(self.names):
            run = self.run(name)
            if run is not None and dataset in (None, run.record["name"]):
                yield run

    def shards(self, run: Run) -> Sequence[dict[str, Any]]:
        """Return the rows of a run's shards.parquet (`Run.shards`)."""
        if run.name not in self._shards:
            self._shards[run.name] = run.shards()
        return self._shards[run.name]

    def newest(self, dataset: str | None = None) -> Run:
        """Return the newest finished run, of one dataset if named. Raises RecipeError where there is none."""
        for run in self.finished(dataset):
            return run
        which = f" of the dataset {dataset}" if dataset else ""
        begun = [f"{FOLDER}/{name}/{RECORD}" for name in self.names]
        without = f" ({begun[-1]} is not there: that run was ended, or goes on)" if begun and not dataset else ""
        raise RecipeError(
            f"the store {self.store} holds no finished run{which}{without}; `gristmill run RECIPE` makes one"
        )

    def newest_complete(self, dataset: str) -> Run | None:
        """Return the newest run of a dataset that completes no other, or the one that completes it; None if none."""
        completed: dict[str, Run] = {}
        for run in self.finished(dataset):
            last = completed.get(run.name, run)
            if run.completes is None:
                return last
            completed[run.completes] = last
        return None

    def standing(
        self, dataset: str | None = None, until: Run | None = None, beyond: Collection[str] = ()
    ) -> list[Standing]:
        """Return the runs whose decisions stand, newest first: of each dataset, or of one, the newest run.

        Where it has an index, the earlier runs with the same one stand too: each decided shards that later ones left
        out. A run that a later one completes does not stand. With `until` those that stood when that one was the
        newest, later ones that came to a version in `beyond` among them.
        """
        standing: list[Standing] = []
        indexes: dict[str, str | None] = {}
        decided: dict[str, set[int]] = defaultdict(set)
        completed: set[str | None] = set()
        for run in self.finished(dataset):
            if until is not None and age(run.name) > age(until.name) and run.record["version"] not in beyond:
                continue
            name, index = run.record["name"], run.index
            stands = name not in indexes or (index is not None and index == indexes[name])
            if not stands or run.name in completed:
                completed |= {run.completes} if run.name in completed else set()
                continue
            completed.add(run.completes)
            indexes.setdefault(name, index)
            rows = self.shards(run)
            shards = [row for row in rows if row["ordinal"] not in decided[name]]
            superseded = [row for row in rows if row["ordinal"] in decided[name]]
            decided[name].update(row["ordinal"] for row in shards)
            standing.append(Standing(run, shards, superseded))
        return standing

    def nights(self, dataset: str, index: str, before: Run | None = None) -> list[Standing]:
        """Return the standing runs of a dataset with an index, oldest first, one that completes another in its place.

        With `before`, those that are older than that one.
        """
        completed = {run.name: run.completes for run in self.finished(dataset)}

        def age_in_place(run: Run) -> tuple[int, str]:
            name = run.name
            while (earlier := completed[name]) is not None:
                name = earlier
            return age(name)

        nights = sorted((s for s in self.standing(dataset) if s.run.index == index), key=lambda s: age_in_place(s.run))
        return [night for night in nights if before is None or age_in_place(night.run) < age_in_place(before)]

    def maker(self, dataset: Dataset, version: Version) -> Run:
        """Return the newest run that came to a version. Raises RecipeError where no record of one is there."""
        by: dict[str, Run] = {}
        for run in self.finished(dataset.name):
            by.setdefault(run.record["version"], run)
        name: str | None = version.name
        while name is not None and name not in by:  # a version that holds a manifest alone completes that of a run
            name = dataset.named(name).manifest.get("completes")
        if name is None:
            raise RecipeError(
                f"the store has no record of a run that made {version.name}: what was decided is not known"
            )
        return by[name]

    def of_version(self, dataset: Dataset, version: Version) -> list[Standing]:
        """Return the runs that decided the documents of a version, newest first, each with the shards that it decided.

        Raises RecipeError where their records are gone.
        """
        return self.standing(dataset.name, until=self.maker(dataset, version))
