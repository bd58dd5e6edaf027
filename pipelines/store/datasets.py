"""Dataset versions: folders of Parquet files, each visible once its manifest is complete and CURRENT names it.

    datasets/<name>/CURRENT                      the folder name of the version that readers take
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
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gristmill.operators.errors import RecipeError, StoreDamaged, StoreFileGone
from gristmill.pipelines.config.wording import did_you_mean, in_short
from gristmill.pipelines.storage import files
from gristmill.pipelines.storage.file_kinds import CURRENT, MANIFEST, path_in_dataset, way_back
from gristmill.pipelines.storage.locations import absolute
from gristmill.pipelines.store.lock import check_held

if TYPE_CHECKING:
    import pyarrow.dataset

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

    @property
    def manifest(self) -> dict[str, Any]:
        """Return the manifest of a committed version. Raises StoreDamaged where it is not what was written."""
        return files.read_record(files.join(self.url, MANIFEST))

    def written(self, manifest: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Return the files of a manifest that lie in the folder of this version, those of packed tokens last."""
        tokens = (file for shard in manifest.get("packed", {"shards": ()})["shards"] for file in shard["files"])
        listed = [*manifest["files"], *tokens]
        return [file for file in listed if self.path_of(file).startswith(f"{self.name}/")]

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


class Dataset:
    """Versions of one dataset in a store, as they were when it was opened."""

    def __init__(self, store: str, name: str) -> None:
        self.store, self.name = store, name
        self.url = files.join(store, FOLDER, name)
        paths = [path.split("/") for path in files.paths(self.url) if files.UNFINISHED not in path]
        self._folders = sorted({folder for folder, *rest in paths if rest and _VERSION.fullmatch(folder)})
        self._committed = {folder for folder, *rest in paths if rest == [MANIFEST]}

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
        """Return the dataset whose folder this is. Raises RecipeError where nothing was committed there."""
        url = absolute(url, ".").rstrip("/")
        store, _, name = url.rpartition(f"/{FOLDER}/")
        if not store or "/" in name:
            raise RecipeError(f"{url} is no folder of a dataset; name one, such as STORE/{FOLDER}/web")
        dataset = cls(store, name)
        if not dataset._committed:
            others = files.names(files.join(store, FOLDER))
            raise RecipeError(f"{store} has no dataset {name}{did_you_mean(name, {*others} - {name})}")
        return dataset

    def find(self, name: str | None = None) -> Version:
        """Return the committed version of a name, or the one that readers take.

        Raises RecipeError where there is none, StoreDamaged as `current` does.
        """
        name = self.current if name is None else name
        if name is None or name not in self._committed:
            known = [version.name for version in self.versions()]
            raise RecipeError(f"{self.name} has no version {name}; there is {', '.join(in_short(known))}")
        return self.named(name)

    def versions(self) -> list[Version]:
        """Return the committed versions, oldest first."""
        return [self.named(folder) for folder in self._folders if folder in self._committed]

    @property
    def uncommitted(self) -> list[str]:
        """Return the folders of versions without a manifest: never committed, or the manifest is lost."""
        return [folder for folder in self._folders if folder not in self._committed]

    @property
    def current(self) -> str | None:
        """Return the name of the version that readers take; None before the first commit.

        Raises StoreDamaged where CURRENT is gone although versions were committed, or names none of them.
        """
        url = files.join(self.url, CURRENT)
        try:
            name = files.read_bytes(url).decode("utf-8", "replace").strip()
        except FileNotFoundError:
            if not self._committed:
                return None
            raise StoreFileGone(url, f"{url} is gone. {way_back(url)}") from None
        if name not in self._committed:
            raise StoreDamaged(url, f"{url} names {name!r}, and there is no such version. {way_back(url)}")
        return name

    def commit(self, version: Version, manifest: dict[str, Any], replaced: str | None = None) -> None:
        """Complete the version and point CURRENT at it: see `point_at`."""
        check_held(self.store)
        files.write_record(files.join(version.url, MANIFEST), manifest)
        self.point_at(version, replaced)

    def point_at(self, version: Version, replaced: str | None = None) -> None:
        """Make a committed version the one that readers take; with `replaced`, only if readers take that one now."""
        with contextlib.suppress(StoreDamaged):
            if self.current == version.name or (replaced is not None and self.current != replaced):
                return
        check_held(self.store)
        files.write_bytes(files.join(self.url, CURRENT), (version.name + "\n").encode())

    def retract(self, version: Version) -> None:
        """Remove a committed version; readers take the one that it completed, else its parent, else none."""
        check_held(self.store)
        with contextlib.suppress(StoreDamaged):
            if self.current == version.name:
                manifest = version.manifest
                current, parent = files.join(self.url, CURRENT), manifest.get("completes") or manifest["parent"]
                files.remove(current) if parent is None else files.write_bytes(current, f"{parent}\n".encode())
        files.remove(files.join(version.url, MANIFEST))  # first: without it the folder is no version
        files.remove(version.url)

    def sweep(self, keep: Collection[str]) -> None:
        """Remove the folders of versions that were never committed, except those in `keep`.

        A version that a record of the store names was committed, even if its manifest is lost: `keep` must have it.
        """
        for folder in self.uncommitted:
            if folder not in keep:
                files.remove(files.join(self.url, folder))


def open_version(store: str, name: str, version: str | None = None, only_new: bool = False) -> pyarrow.dataset.Dataset:
    """Open a dataset for reading: its current version, or the one named; or only what that version added.

    Raises RecipeError where there is none.
    """
    import pyarrow as pa
    import pyarrow.dataset
    import pyarrow.parquet

    dataset = Dataset(absolute(store, "."), name)
    if not dataset.versions():
        datasets = files.names(files.join(dataset.store, FOLDER))
        raise RecipeError(f"{dataset.store} has no dataset {name}{did_you_mean(name, datasets)}")
    names = [entry.name for entry in dataset.versions()]
    version_name = dataset.current if version is None else version
    if version_name not in names:
        raise RecipeError(f"{name} has no version {version_name}; there is {', '.join(in_short(names))}")
    location = dataset.named(version_name)
    manifest, schema = location.manifest, None
    filesystem, _ = files.filesystem(location.url)
    paths = [files.filesystem(url)[1] for url in location.urls(manifest, only_new)]
    if manifest.get("columns_changed") and not only_new:
        of_night = {file.get("night"): path for file, path in zip(manifest["files"], paths, strict=True)}
        schemas = [pyarrow.parquet.read_schema(path, filesystem=filesystem) for path in of_night.values()]
        schema = pa.unify_schemas(schemas, promote_options="permissive")
    return pyarrow.dataset.dataset(paths, schema=schema, filesystem=filesystem, format="parquet")
