"""Dataset versions: folders of Parquet files, each visible once its manifest is complete and CURRENT names it.

    datasets/<name>/CURRENT                      the folder name of the version that readers take
    datasets/<name>/marks.json                   tags, versions that are held back, a night that is not told yet
    datasets/<name>/<number>-<content>/manifest.json
    datasets/<name>/<number>-<content>/data-00000-of-00004.parquet

A manifest lists all files of its version, each by its path from the dataset's folder: of a dataset with an index those
of earlier nights too, which lie in the folders of the versions that wrote them.

The folder's name carries a digest of everything that decides its content, so an interrupted version is completed, not
repeated, and a run whose result would be an existing version writes nothing.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from gristmill.operators.errors import RecipeError, StoreDamaged, StoreFileGone
from gristmill.pipelines.config.wording import did_you_mean, in_short
from gristmill.pipelines.storage import files
from gristmill.pipelines.storage.file_kinds import CURRENT, MANIFEST, MARKS, path_in_dataset, way_back
from gristmill.pipelines.storage.locations import absolute
from gristmill.pipelines.store.lock import check_held

#: The version of gristmill since which the same recipe, sources and history give the same dataset. Raise it when rules
#: decide or files are written differently: datasets are then written again. Measures have versions of their own.
RESULTS = "0.1.0"
FOLDER = "datasets"

_VERSION = re.compile(r"\d{6,}-[0-9a-f]{12}")
#: Size and modification time or etag of files, by their names.
States = Mapping[str, files.State]


@dataclass(frozen=True)
class Version:
    """Location of a version; `committed`: its manifest is there."""

    url: str
    name: str
    committed: bool
    held: str | None = None  #: why a run that came to it left readers where they were

    @property
    def manifest(self) -> dict[str, Any]:
        """Return the manifest of a committed version. Raises StoreDamaged where it is not what was written."""
        return files.read_record(files.join(self.url, MANIFEST))

    def written(self, manifest: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Return the files of a manifest that lie in the folder of this version, those of packed tokens last."""
        return [file for file in _listed(manifest) if self.path_of(file).startswith(f"{self.name}/")]

    def folders(self, manifest: Mapping[str, Any]) -> set[str]:
        """Return the folders of versions, by name, in which the files of its manifest lie."""
        return {self.path_of(file).split("/")[0] for file in _listed(manifest)}

    def added(self, manifest: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Return the files of its manifest with what it added to earlier nights."""
        return [file for file in manifest["files"] if "night" not in file]

    def path_of(self, file: Mapping[str, Any]) -> str:
        """Return the path of a file of its manifest from the dataset's folder."""
        return path_in_dataset(self.name, file)

    def urls(self, manifest: Mapping[str, Any], only_new: bool = False) -> list[str]:
        """Return the URLs of all files of its manifest, or of what it added to earlier nights."""
        folder = self.url.removesuffix(f"/{self.name}")
        listed = self.added(manifest) if only_new else manifest["files"]
        return [files.join(folder, self.path_of(file)) for file in listed]

    def states(self) -> dict[str, files.State]:
        """Return the present states of the files in its folder, the manifest apart, by name."""
        held = files.states(self.url).items()
        return {name: state for name, state in held if name.endswith((".parquet", ".bin", ".idx"))}

    def faults(self, manifest: Mapping[str, Any], known: States, now: States | None = None) -> list[str]:
        """Return a sentence for each file of a manifest in its folder that is gone or not what was written.

        A file whose state is that in `known` is taken for whole; any other is read and compared with its digest. `now`
        are the present states of its files, if they are known already.
        """
        now = self.states() if now is None else now
        faults = []
        for file in self.written(manifest):
            url = files.join(self.url, file["name"])
            state = now.get(file["name"])
            if state is None:
                faults.append(f"{url} is gone")
            elif state.size != file["bytes"]:
                faults.append(f"{url} has {state.size:,} bytes, not {file['bytes']:,}")
            elif state != known.get(file["name"]) and files.digest(url) != file["digest"]:
                faults.append(f"{url} is damaged: its content is not what was written")
        return faults


@dataclass(frozen=True)
class Marks:
    """Tags and held versions of a dataset, and the night that ended before it was told."""

    tags: Mapping[str, str] = field(default_factory=dict)  #: versions, by tag
    held: Mapping[str, str] = field(default_factory=dict)  #: why a version is held back, by version
    untold: Mapping[str, Any] | None = None  #: the outcome of a night, until its hooks have been told

    def tags_of(self, version: str) -> list[str]:
        """Return the tags of a version, in order."""
        return sorted(tag for tag, name in self.tags.items() if name == version)


def _listed(manifest: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return all files that a manifest lists, those of packed tokens last."""
    tokens = (file for shard in manifest.get("packed", {"shards": ()})["shards"] for file in shard["files"])
    return [*manifest["files"], *tokens]


class Dataset:
    """Versions of one dataset in a store, as they were when it was opened."""

    def __init__(self, store: str, name: str) -> None:
        self.store, self.name = store, name
        self.url = files.join(store, FOLDER, name)
        paths = [path.split("/") for path in files.paths(self.url) if files.UNFINISHED not in path]
        self._folders = sorted({folder for folder, *rest in paths if rest and _VERSION.fullmatch(folder)})
        self._committed = {folder for folder, *rest in paths if rest == [MANIFEST]}
        self._marked = [MARKS] in paths

    def version(self, content: str) -> Version:
        """Return the version with this content digest: the existing one, or the next one to write."""
        digest = content[:12]
        for folder in self._folders:
            if folder.endswith(f"-{digest}"):
                return self.named(folder)
        numbers = (int(folder.split("-")[0]) for folder in self._folders)
        return self.named(f"{max(numbers, default=0) + 1:06d}-{digest}")

    def named(self, name: str) -> Version:
        """Return the version of this name, committed or not."""
        return Version(files.join(self.url, name), name, name in self._committed)

    @classmethod
    def at(cls, url: str) -> Dataset:
        """Return the dataset whose folder this is. Raises RecipeError for a URL that can be no such folder."""
        url = absolute(url, ".").rstrip("/")
        store, _, name = url.rpartition(f"/{FOLDER}/")
        if not store or "/" in name:
            raise RecipeError(f"{url} is no folder of a dataset; name one, such as STORE/{FOLDER}/web")
        return cls(store, name)

    def versions(self) -> list[Version]:
        """Return the committed versions, oldest first."""
        return [self.named(folder) for folder in self._folders if folder in self._committed]

    @property
    def uncommitted(self) -> list[str]:
        """Return the folders of versions without a manifest: never committed, or the manifest is lost."""
        return [folder for folder in self._folders if folder not in self._committed]

    @property
    def current(self) -> str | None:
        """Return the name of the version that readers take; None before the first is published.

        Raises StoreDamaged where CURRENT is gone although versions were committed, or names none of them.
        """
        url = files.join(self.url, CURRENT)
        try:
            name = files.read_bytes(url).decode("utf-8", "replace").strip()
        except FileNotFoundError:
            if not self._committed:
                return None
            raise StoreFileGone(url, f"{url} is gone. {way_back(url)}") from None
        if not name:
            return None
        if name not in self._committed:
            raise StoreDamaged(url, f"{url} names {name!r}, and there is no such version. {way_back(url)}")
        return name

    def find(self, wanted: str | None = None) -> Version:
        """Return the version of this name, number or tag; by default the one that readers take.

        Raises RecipeError where there is none.
        """
        names = [version.name for version in self.versions()]
        if not names:
            datasets = files.names(files.join(self.store, FOLDER))
            if self.name in datasets:
                raise RecipeError(f"{self.name} in {self.store} has no version yet: no run of it came to its end")
            raise RecipeError(f"{self.store} has no dataset {self.name}{did_you_mean(self.name, datasets)}")
        if wanted is None:
            if (current := self.current) is None:
                raise RecipeError(f"readers of {self.name} take no version yet; there is {', '.join(in_short(names))}")
            return self.named(current)
        tags = self.marks.tags
        numbered = (name for name in names if wanted.isdecimal() and int(name.split("-")[0]) == int(wanted))
        name = tags.get(wanted) or next(numbered, wanted)
        if name not in names:
            known = ", ".join([*in_short(names), *tags])
            raise RecipeError(f"{self.name} has no version {wanted}; there is {known}")
        return self.named(name)

    @property
    def marks(self) -> Marks:
        """Return the tags and the held versions. Raises StoreDamaged where they are not what was written."""
        if not self._marked:
            return Marks()
        record = files.read_record(files.join(self.url, MARKS))
        return Marks(record["tags"], record["held"], record.get("untold"))

    def mark(self, marks: Marks) -> None:
        """Write the tags and the held versions anew."""
        check_held(self.store)
        files.write_record(files.join(self.url, MARKS), asdict(marks))
        self._marked = True

    def held_back(self, version: Version) -> str | None:
        """Return why a version is held back, or one that it completes; None where it is not."""
        held = self.marks.held
        return next((held[name] for name in self._completed(version) if name in held), None) if held else None

    def _completed(self, version: Version) -> Iterator[str]:
        """Yield the name of a version, and of those that it completes."""
        name: str | None = version.name
        while name is not None:
            yield name
            try:
                name = self.named(name).manifest.get("completes")
            except FileNotFoundError:
                return

    def commit(
        self, version: Version, manifest: dict[str, Any], replaced: str | None = None, publish: bool = True
    ) -> Version:
        """Complete the version and, with `publish`, point CURRENT at it: see `point_at`. Returns the version."""
        check_held(self.store)
        if not publish and not self._committed:  # else CURRENT would seem to be lost
            self._point("")
        files.write_record(files.join(version.url, MANIFEST), manifest)
        return self.point_at(version, replaced) if publish else version

    def point_at(self, version: Version, replaced: str | None = None) -> Version:
        """Make a committed version the one that readers take, unless it is held back. Returns it, with the reason.

        With `replaced`, only if readers take that one now.
        """
        with contextlib.suppress(StoreDamaged):
            current = self.current
            if current == version.name or (replaced is not None and current != replaced):
                return version
        if (why := self.held_back(version)) is not None:
            return replace(version, held=why)
        self._point(version.name)
        return version

    def publish(self, version: Version) -> None:
        """Make a committed version the one that readers take, held back or not; it is held back no more."""
        marks = self.marks
        if marks.held:
            released = {*self._completed(version)}
            self.mark(replace(marks, held={name: why for name, why in marks.held.items() if name not in released}))
        self._point(version.name)

    def hold(self, version: Version, why: str) -> None:
        """Hold a version back: runs that come to it leave readers where they are."""
        marks = self.marks
        if marks.held.get(version.name) != why:
            self.mark(replace(marks, held={**marks.held, version.name: why}))

    def _point(self, version: str) -> None:
        check_held(self.store)
        files.write_bytes(files.join(self.url, CURRENT), f"{version}\n".encode())

    def retract(self, version: Version) -> None:
        """Remove a committed version; readers take the one that it completed, else its parent, else none."""
        check_held(self.store)
        with contextlib.suppress(StoreDamaged):
            if self.current == version.name:
                manifest = version.manifest
                parent = manifest.get("completes") or manifest["parent"]
                files.remove(files.join(self.url, CURRENT)) if parent is None else self._point(parent)
        files.remove(files.join(version.url, MANIFEST))  # first: without it the folder is no version
        files.remove(version.url)

    def sweep(self, keep: Collection[str]) -> None:
        """Remove the folders of versions that were never committed, except those in `keep`.

        A version that a record of the store names was committed, even if its manifest is lost: `keep` must have it. One
        whose files another version lists stays as well; where a manifest is damaged that is unknown, and all stay.
        """
        going = {*self.uncommitted} - {*keep}
        with contextlib.suppress(StoreDamaged):
            listed = [version.folders(version.manifest) for version in self.versions()] if going else []
            for folder in sorted(going.difference(*listed)):
                files.remove(files.join(self.url, folder))
