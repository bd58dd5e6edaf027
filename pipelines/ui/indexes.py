"""The indexes of a store behind its pages, each made beside them when a page first needs it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from gristmill.operators import columns
from gristmill.operators.base import digest_of
from gristmill.pipelines.store.datasets import Dataset
from gristmill.pipelines.store.shown import Shown, in_order
from gristmill.pipelines.ui.cache import Job, Jobs, cache_folder
from gristmill.pipelines.ui.cluster_index import ClusterIndex
from gristmill.pipelines.ui.sorted_index import SortedIndex
from gristmill.pipelines.ui.text_index import IndexedFile, TextIndex

Index = TypeVar("Index")


@dataclass(frozen=True)
class VersionTexts:
    """Index of the texts of a version, the files that it is of, and the job that takes some of them in."""

    index: TextIndex
    listed: Sequence[IndexedFile]
    job: Job | None


class Indexes:
    """Indexes of a store, opened once, brought up to date by jobs of which a page shows how far they are."""

    def __init__(self, store: str, cache: Path) -> None:
        self._store, self._cache = store, cache
        self._jobs = Jobs()
        self._open: dict[Path, object] = {}
        self._lock = threading.Lock()

    def _opened(self, folder: Path, make: Callable[[Path], Index]) -> Index:
        with self._lock:
            if folder not in self._open:
                self._open[folder] = make(folder)
            return self._open[folder]  # type: ignore[return-value]

    def keys(self, column: str, shown: Sequence[Shown]) -> tuple[SortedIndex, Job | None]:
        """Return the index of a column of all documents; beside it the job that completes it, where that goes on."""
        standing = in_order(shown)
        folder = cache_folder(self._cache, self._store) / column
        index = self._opened(folder, lambda at: SortedIndex(at, column))
        if not index.lacks(standing):
            return index, None
        job = self._jobs.begin(str(folder), index.lock, lambda advance: index.update(standing, advance))
        return index, None if job.done_well else job

    def texts(self, shown: Shown) -> VersionTexts | None:
        """Return the index of the texts of a version; None where the version has none."""
        version = Dataset(self._store, shown.dataset).named(shown.version)
        manifest = version.manifest
        if columns.TEXT not in {field["name"] for field in manifest["schema"]}:
            return None
        listed = [
            IndexedFile(version.path_of(file), url, file["digest"], file["rows"])
            for file, url in zip(manifest["files"], version.urls(manifest), strict=True)
        ]
        folder = cache_folder(self._cache, self._store) / f"texts-{digest_of(shown.dataset)[:16]}"
        index = self._opened(folder, TextIndex)
        if not index.lacks(listed):
            return VersionTexts(index, listed, None)
        job = self._jobs.begin(str(folder), index.lock, lambda advance: index.update(listed, advance))
        return VersionTexts(index, listed, None if job.done_well else job)

    def clusters(self, shown: Shown) -> tuple[ClusterIndex, Job | None]:
        """Return the clusters of a version; beside it the job that gathers them, where that goes on."""
        standing = shown.standing
        runs = digest_of([stands.run.name for stands in standing])[:16]
        folder = cache_folder(self._cache, self._store) / f"clusters-{runs}"
        index = self._opened(folder, ClusterIndex)
        if index.ready:
            return index, None
        job = self._jobs.begin(str(folder), index.lock, lambda advance: index.make(self._store, standing, advance))
        return index, None if job.done_well else job
