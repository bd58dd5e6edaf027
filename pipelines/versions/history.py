"""A dataset over its versions: what each night read and kept, of which source, how it moved, what its guards said.

It is told by the records of the runs that made the versions. Of a dataset with an index a run tells of the documents
that it decided, those of one night; of any other of all that its version holds.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gristmill.operators.columns import SOURCE
from gristmill.operators.errors import RecipeError, StoreDamaged
from gristmill.pipelines.decide.funnel import Funnel
from gristmill.pipelines.storage import files
from gristmill.pipelines.store.datasets import Dataset
from gristmill.pipelines.store.run_records import RunRecords, Standing
from gristmill.pipelines.store.runs import Run
from gristmill.pipelines.versions.account import night_of
from gristmill.pipelines.versions.facts import VersionFacts, versions_of
from gristmill.pipelines.versions.profile import PROFILE, Drift, Profile, drifts, profile

#: Nights before a night that its measures are compared with, as many as guards compare by default.
_BEFORE = 7
#: Versions, the newest ones, whose measures are compared; each takes its own measures to be read, once.
_MOST_COMPARED = 30


@dataclass(frozen=True)
class VersionHistory:
    """A version, and what is known of the run that made it; of lost records nothing is."""

    facts: VersionFacts
    run: str | None
    completes: bool = False  #: the run only answered what an earlier one had left unanswered
    read: int = 0  #: documents that the run decided
    kept: int = 0
    kept_tokens: int = 0
    sources: Mapping[str, tuple[int, int]] | None = None  #: documents of each that were read, and kept
    guards: Sequence[Mapping[str, Any]] = ()  #: what those of `gristmill refresh` found: guard, passes, told
    drift: Sequence[Drift] = ()  #: of what was kept from what the versions before kept; the largest PSI first


def history(records: RunRecords, name: str, until: str, most: int) -> list[VersionHistory]:
    """Return the versions of a dataset up to one of them, oldest first, at most so many of the newest.

    Raises RecipeError where the dataset has none.
    """
    dataset = Dataset(records.store, name)
    facts = [version for version in versions_of(records, name) if version.version <= until][-most:]
    runs = [_maker(records, dataset, version.version) for version in facts]
    earlier: list[tuple[Run, Profile]] = []
    found = []
    for i, (version, run) in enumerate(zip(facts, runs, strict=True)):
        if run is None:
            found.append(VersionHistory(version, None))
            continue
        drift: Sequence[Drift] = ()
        if run.completes is None and i >= len(facts) - _MOST_COMPARED:
            own = _profile(run, reads=run.index is not None)
            before = [profile for other, profile in earlier if other.index == run.index]
            before = before[-_BEFORE:] if run.index is not None else before[-1:]
            if own is not None and before:
                drift = drifts(sum(before, Profile()), own)
            if own is not None:
                earlier.append((run, own))
        found.append(_of_run(version, run, drift))
    return found


def _maker(records: RunRecords, dataset: Dataset, version: str) -> Run | None:
    with contextlib.suppress(RecipeError):
        return records.maker(dataset, dataset.named(version))
    return None


def _profile(run: Run, reads: bool) -> Profile | None:
    """Return the profile of what a run kept: the one beside it or, if it may be read, of its measures."""
    with contextlib.suppress(FileNotFoundError, StoreDamaged):
        return Profile.from_json(files.read_record(files.join(run.url, PROFILE)))
    if reads:
        with contextlib.suppress(FileNotFoundError, StoreDamaged):
            return profile([Standing(run, run.shards())])
    return None


def _of_run(version: VersionFacts, run: Run, drift: Sequence[Drift]) -> VersionHistory:
    funnel = Funnel.from_json(run.record["result"]["funnel"])
    kept = funnel.kept_by(SOURCE)
    read = {str(g.value): g.documents for g in funnel.groups if g.column == SOURCE and g.value is not None}
    night = night_of(run) or {}
    return VersionHistory(
        version,
        run.name,
        run.completes is not None,
        funnel.documents,
        funnel.kept,
        funnel.kept_tokens,
        {source: (n, kept[source]) for source, n in read.items()},
        night.get("guards", ()),
        drift,
    )
