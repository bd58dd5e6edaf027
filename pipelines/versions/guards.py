"""Guards of a refresh: whether readers may have a version, and the figure beside the limit where not."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from statistics import median
from typing import Any

import pyarrow.compute as pc

from gristmill.operators import columns
from gristmill.pipelines.config.wording import in_short
from gristmill.pipelines.decide.funnel import Funnel
from gristmill.pipelines.readers.open_dataset import OpenDataset
from gristmill.pipelines.recipe.refresh import Bounds, Canaries, Guards
from gristmill.pipelines.store.datasets import Dataset, Version
from gristmill.pipelines.store.run_records import RunRecords
from gristmill.pipelines.store.runs import Run
from gristmill.pipelines.versions.histograms import ks_by_chance, psi_by_chance, psi_of_counts
from gristmill.pipelines.versions.profile import Profile, drifts, kept_by_source, profile_of_run
from gristmill.pipelines.versions.publishing import ancestors


@dataclass(frozen=True)
class Checked:
    """A guard, what it found, and whether that passes."""

    guard: str
    passes: bool
    told: str  #: the figure beside the limit, in words

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return asdict(self)


def unpublished_runs(records: RunRecords, dataset: Dataset, version: Version, published: Version | None) -> list[Run]:
    """Return the runs whose documents readers would get with a version, and have not yet, newest first.

    Nights all of whose documents were withdrawn since are not among them.
    """
    had = set() if published is None else {stands.run.name for stands in records.of_version(dataset, published)}
    newest, *others = records.of_version(dataset, version)
    runs = [newest.run, *(stands.run for stands in others if stands.decided)]
    return [run for run in runs if run.name not in had]


def check(
    guards: Guards, records: RunRecords, dataset: Dataset, version: Version, published: Version | None
) -> list[Checked]:
    """Return what each guard of a recipe finds of a version that is committed and not published.

    Of a dataset with an index each night that is not published yet is looked at. Guards that compare with what readers
    have hold where they have nothing. Only the holder of the writer lock may call this: profiles of runs are kept
    beside them.
    """
    return list(_Checks(guards, records, dataset, version, published).all())


class _Checks:
    """The guards of one recipe, and what they look at."""

    def __init__(
        self, guards: Guards, records: RunRecords, dataset: Dataset, version: Version, published: Version | None
    ) -> None:
        self.guards, self.records, self.dataset = guards, records, dataset
        self.version, self.published = version, published
        self.runs = unpublished_runs(records, dataset, version, published)

    def all(self) -> Iterator[Checked]:
        for run in self.runs:
            yield from self._of_night(run)
        if self.published is not None:
            yield from self._beside(self.published)
            yield from self._beside_last_nights(self.published)
        if self.guards.canaries is not None:
            yield from self._canaries(self.guards.canaries)

    def _of_night(self, run: Run) -> Iterator[Checked]:
        guards, funnel, night = self.guards, _funnel(run), self._named(run)
        if guards.kept is not None and funnel.documents:
            share = funnel.kept / funnel.documents
            yield _share("kept", guards.kept, share, f"of the documents{night} are kept")
        if guards.rejects is not None and funnel.records:
            share = funnel.quarantined / funnel.records
            yield _at_most("rejects", guards.rejects, share, f"of the records{night} are in quarantine")

    def _named(self, run: Run) -> str:
        """Return the night of a run where there are several: ` of 2026-11-03`."""
        return f" of {run.record.get('date', run.name)}" if len(self.runs) > 1 else ""

    def _beside(self, published: Version) -> Iterator[Checked]:
        """Yield the guards that compare a version with the one that readers have."""
        now, before = self.version.manifest, published.manifest
        for name, key in (("documents", "rows"), ("tokens", "tokens")):
            bounds: Bounds | None = getattr(self.guards, name)
            if bounds is not None and before[key]:
                told = f"times the {name} that readers have ({before[key]:,} to {now[key]:,})"
                yield _within(name, bounds, now[key] / before[key], told)
        if self.guards.source_loss is not None:
            runs = [self.records.of_version(self.dataset, version) for version in (published, self.version)]
            counts = [kept_by_source(standing)[0] for standing in runs]
            losses = {source: 1 - counts[1][source] / n for source, n in counts[0].items() if n}
            if losses:
                worst = max(losses, key=lambda source: (losses[source], source))
                told = f"of its documents are lost by source {worst} ({counts[0][worst]:,} to {counts[1][worst]:,})"
                yield _at_most("source_loss", self.guards.source_loss, max(0.0, losses[worst]), told)

    def _beside_last_nights(self, published: Version) -> Iterator[Checked]:
        """Yield the guards that compare nights with those before them."""
        guards, earlier = self.guards, self._last(published)
        if guards.new_tokens is not None and (usual := median(_funnel(run).kept_tokens for run in earlier)):
            for run in self.runs:
                now = _funnel(run).kept_tokens
                told = f"times the tokens of a usual night{self._named(run)} ({usual:,.0f} to {now:,})"
                yield _within("new_tokens", guards.new_tokens, now / usual, told)
        if guards.drift is None and guards.labels is None:
            return
        before = sum(map(profile_of_run, earlier), Profile())
        for run in self.runs:
            yield from self._moved(before, profile_of_run(run), self._named(run))

    def _moved(self, before: Profile, night: Profile, named: str) -> Iterator[Checked]:
        guards = self.guards
        if guards.drift is not None:
            names = guards.drift.measures
            found = [d for d in drifts(before, night) if all(d.documents) and (names is None or d.column in names)]
            if guards.drift.psi is not None:
                values = [(d.psi, psi_by_chance(*d.documents), d.column) for d in found]
                yield _worst("drift.psi", guards.drift.psi, values, named)
            if guards.drift.ks is not None:
                values = [(d.ks, ks_by_chance(*d.documents), d.column) for d in found]
                yield _worst("drift.ks", guards.drift.ks, values, named)
        if guards.labels is not None:
            values = []
            for name, counts in night.labels.items():
                earlier = before.labels.get(name, {})
                sizes = sum(earlier.values()), sum(counts.values())
                if all(sizes):
                    chance = psi_by_chance(*sizes, groups=len({*earlier, *counts}))
                    values.append((psi_of_counts(earlier, counts), chance, name))
            yield _worst("labels", guards.labels, values, named)

    def _last(self, published: Version) -> list[Run]:
        """Return the runs of the last published nights, newest first."""
        if "nights" in published.manifest:
            return [stands.run for stands in self.records.of_version(self.dataset, published)[: self.guards.nights]]
        versions = islice(ancestors(self.dataset, published), self.guards.nights)
        return [self.records.of_version(self.dataset, version)[0].run for version in versions]

    def _canaries(self, canaries: Canaries) -> Iterator[Checked]:
        wanted = [*canaries.stay, *canaries.go]
        rows = OpenDataset(self.dataset.url, self.version.name).arrow()
        here = set(rows.to_table([columns.ID], filter=pc.field(columns.ID).isin(wanted))[columns.ID].to_pylist())
        sides: Sequence[tuple[str, Sequence[str], Callable[[str], bool]]] = (
            ("canaries.stay", canaries.stay, lambda id: id not in here),
            ("canaries.go", canaries.go, lambda id: id in here),
        )
        for guard, ids, fails in sides:
            if ids:
                failing, what = [id for id in ids if fails(id)], "not there" if guard == "canaries.stay" else "there"
                rest = f"none of {len(ids):,} is {what}"
                if failing:
                    rest = f"{len(failing):,} of {len(ids):,} {what}: {', '.join(in_short(failing))}"
                yield Checked(guard, not failing, rest)


def _funnel(run: Run) -> Funnel:
    return Funnel.from_json(run.record["result"]["funnel"])


def _within(guard: str, bounds: Bounds, value: float, what: str, shown: str = "{:.4g}", times: int = 1) -> Checked:
    """Return the verdict on a value; `shown` is how it is printed, multiplied by `times`."""
    low, high = bounds.min, bounds.max
    words = (("at least", low), ("at most", high))
    limits = [f"{word} {shown.format(times * limit)}" for word, limit in words if limit is not None]
    passes = (low is None or value >= low) and (high is None or value <= high)
    return Checked(guard, passes, f"{shown.format(times * value)} {what}; {' and '.join(limits)}")


def _share(guard: str, bounds: Bounds, value: float, what: str) -> Checked:
    """Return the verdict on a share, told in percent."""
    return _within(guard, bounds, value, what, "{:.4g}%", 100)


def _at_most(guard: str, limit: float, value: float, what: str) -> Checked:
    return _share(guard, Bounds(max=limit), value, what)


def _worst(guard: str, limit: float, found: Sequence[tuple[float | None, float, str]], named: str) -> Checked:
    """Return the verdict on the column that moved most beyond the limit, or beyond chance where that is more.

    `found` are the distance of each column, that which chance alone gives so few documents, and its name.
    """
    distances = [
        (value - max(limit, chance), value, chance, name) for value, chance, name in found if value is not None
    ]
    if not distances:
        return Checked(guard, True, f"nothing to compare{named}")
    beyond, value, chance, name = max(distances)
    told = f"{value:.4g} for {name}, the column that moved most{named}; at most {limit:g}"
    return Checked(guard, beyond <= 0, told + (f", or {chance:.4g}, which is chance" if chance > limit else ""))
