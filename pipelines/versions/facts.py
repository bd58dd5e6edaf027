"""The datasets of a store and their versions, as people ask for them: which there are, and what one holds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from gristmill.operators.errors import RecipeError
from gristmill.pipelines.stages.pack import packed_summary
from gristmill.pipelines.storage import files
from gristmill.pipelines.store.datasets import FOLDER, Dataset
from gristmill.pipelines.store.run_records import RunRecords
from gristmill.pipelines.versions.retention import dates_of


@dataclass(frozen=True)
class VersionFacts:
    """A committed version of a dataset."""

    dataset: str
    version: str
    date: str  #: of its night, ISO 8601
    current: bool  #: readers take it
    tags: Sequence[str]
    held: str | None  #: why it is held back
    parent: str | None  #: the version that readers took before
    documents: int
    new: int  #: documents that it added to those of earlier nights
    tokens: int
    text_bytes: int
    bytes: int  #: of all its files, those of earlier nights among them
    own_bytes: int  #: of the files in its folder
    files: int

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return asdict(self)


def datasets(store: str) -> list[VersionFacts]:
    """Return the version that readers take of each dataset of a store; of one that has none, its newest.

    Raises RecipeError where the store has no dataset.
    """
    found, records = [], RunRecords(store)
    for name in files.names(files.join(store, FOLDER)):
        if Dataset(store, name).versions():
            versions = versions_of(records, name)
            found.append(next((version for version in versions if version.current), versions[-1]))
    if not found:
        raise RecipeError(f"{store} holds no dataset; `gristmill run RECIPE` makes one")
    return found


def versions_of(records: RunRecords, name: str) -> list[VersionFacts]:
    """Return the committed versions of a dataset, oldest first. Raises RecipeError where there are none."""
    dataset = Dataset(records.store, name)
    dataset.find()
    current, marks = dataset.current, dataset.marks
    dates = dates_of(records, dataset)
    found = []
    for version in dataset.versions():
        manifest = version.manifest
        facts = VersionFacts(
            name,
            version.name,
            dates[version.name].isoformat(),
            version.name == current,
            marks.tags_of(version.name),
            dataset.held_back(version),
            manifest["parent"],
            manifest["rows"],
            manifest.get("new", manifest)["rows"],
            manifest["tokens"],
            manifest["text_bytes"],
            manifest["bytes"],
            sum(file["bytes"] for file in version.written(manifest)),
            len(manifest["files"]),
        )
        found.append(facts)
    return found


def show(store: str, name: str, wanted: str | None = None) -> dict[str, Any]:
    """Return what a version holds: its facts, funnel, sources, nights, columns, packed tokens, files and recipe.

    `wanted` is a version or a tag, by default the version that readers take. Raises RecipeError where there is none.
    """
    dataset = Dataset(store, name)
    version = dataset.find(wanted)
    facts = next(facts for facts in versions_of(RunRecords(store), name) if facts.version == version.name)
    manifest = version.manifest
    kept = ("code_version", "sources", "schema", "labels", "recipe", "funnel")
    return {
        **facts.to_json(),
        "url": version.url,
        **{what: manifest[what] for what in kept},
        "packed": packed_summary(manifest),
        "nights": manifest.get("nights", []),
        "paths": version.urls(manifest),
    }
