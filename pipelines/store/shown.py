"""The version of each dataset that commands speak of: the one that readers take, unless another is asked for.

This is the only place that says so. `query`, `explain` and `clusters` go by it, and so does what looks for the texts of
a dataset.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from gristmill.operators.errors import RecipeError
from gristmill.pipelines.config.wording import did_you_mean, in_short
from gristmill.pipelines.store.datasets import Dataset, Version
from gristmill.pipelines.store.run_records import RunRecords, Standing
from gristmill.pipelines.store.runs import age

#: Why it is the version that is spoken of, where nothing else is to be said.
TAKEN = "which readers take"
#: Datasets that are named in a line; of more a number is given.
_NAMED = 4
#: Versions that are asked for, by name, number or tag, by the dataset; by `""` of the only dataset that is spoken of.
Asked = Mapping[str, str]


@dataclass(frozen=True)
class Shown:
    """Version of a dataset that a command speaks of, and the runs that decided its documents, newest first."""

    dataset: str
    version: str
    why: str  #: it is this version, and which other there is, in words
    standing: Sequence[Standing]
    asked: bool = False  #: the version is not simply the one that readers take

    def __str__(self) -> str:
        return f"{self.dataset} {self.version}, {self.why}"


def shown_version(records: RunRecords, name: str, wanted: str | None = None) -> Shown:
    """Return the version of a dataset that is spoken of: `wanted`, or the one that readers take.

    Where readers have none yet, or the records of the runs that decided it are lost, it is that of the newest run, and
    `why` says so. Raises RecipeError where there is no such version, or no run decided it, StoreDamaged where CURRENT
    is lost.
    """
    dataset = Dataset(records.store, name)
    if wanted is not None:
        version = dataset.find(wanted)
        why = f"asked for{_taken(dataset, version)}"
        return Shown(name, version.name, why, _decided(records, dataset, version), asked=True)
    newest = records.newest(name)
    made: str = newest.record["version"]
    if (current := dataset.current) is None:
        why = f"of the newest run: readers take no version yet{_held(dataset, made)}"
        return Shown(name, made, why, records.standing(name))
    try:
        standing = _decided(records, dataset, dataset.named(current))
    except RecipeError:  # its runs are gone
        why = f"of the newest run: no record tells what decided {current}, which readers take"
        return Shown(name, made, why, records.standing(name))
    why = TAKEN
    if newest.name != standing[0].run.name:
        why += f"; the newest run came to {made}{_held(dataset, made)}"
    return Shown(name, current, why, standing)


def shown_versions(records: RunRecords, asked: Asked) -> list[Shown]:
    """Return what is spoken of each dataset of a store, that of the newest run first. Raises as `shown_version` does.

    Raises RecipeError where the store has no finished run, or a version is asked of a dataset that it has not.
    """
    records.newest()
    names = [*dict.fromkeys(run.record["name"] for run in records.finished())]
    if "" in asked and len(names) > 1:
        raise RecipeError(
            f"version {asked['']}: say of which dataset, as DATASET={asked['']}; there is {', '.join(in_short(names))}"
        )
    for name in asked:
        if name and name not in names:
            raise RecipeError(f"{records.store} has no dataset {name}{did_you_mean(name, names)}")
    return [shown_version(records, name, asked.get(name, asked.get(""))) for name in names]


def told(shown: Sequence[Shown]) -> str:
    """Return a line that says which versions are spoken of: those that readers take, then any other."""
    taken = [f"{of.dataset} {of.version}" for of in shown if of.why == TAKEN]
    if len(taken) > _NAMED:
        taken[_NAMED - 1 :] = [f"{len(taken) - _NAMED + 1} others"]
    others = [str(of) for of in shown if of.why != TAKEN]
    return "; ".join(([f"{', '.join(taken)}, {TAKEN}"] if taken else []) + others)


def in_order(shown: Sequence[Shown]) -> list[Standing]:
    """Return the runs that decided what is shown, newest first."""
    return sorted((stands for of in shown for stands in of.standing), key=lambda s: age(s.run.name), reverse=True)


def _decided(records: RunRecords, dataset: Dataset, version: Version) -> list[Standing]:
    """Return the runs that decided a version, those among them that answered later what an earlier night had asked."""
    maker = records.maker(dataset, version)
    return records.standing(dataset.name, until=maker, beyond=version.folders(version.manifest))


def _taken(dataset: Dataset, version: Version) -> str:
    """Return which version readers take, where it is another."""
    current = dataset.current
    if current == version.name:
        return f", {TAKEN}"
    return "; readers take no version yet" if current is None else f"; readers take {current}"


def _held(dataset: Dataset, version: str) -> str:
    """Return why a version is held back, in parentheses; nothing where it is not."""
    held = dataset.held_back(dataset.named(version))
    return "" if held is None else f" (held back: {held})"
