"""Dataset versions: a folder of Parquet files that becomes visible when its manifest is complete and CURRENT names it.

    datasets/<name>/CURRENT                      the folder name of the version that readers take
    datasets/<name>/<number>-<content>/manifest.json
    datasets/<name>/<number>-<content>/data-00000-of-00004.parquet

The folder's name carries a digest of all that decides its content, so an interrupted version is completed, not
repeated, and a run that would give an existing version again writes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pipelines.state import files

FOLDER = "datasets"
MANIFEST = "manifest.json"
CURRENT = "CURRENT"  #: the file that names the version that readers take


@dataclass(frozen=True)
class Version:
    """A version's place; `committed` says whether its manifest is there."""

    url: str
    name: str
    committed: bool

    @property
    def manifest(self) -> dict[str, Any]:
        """The manifest of a committed version."""
        held: dict[str, Any] = files.read_record(files.join(self.url, MANIFEST))
        return held


class Dataset:
    """The versions of one dataset in a store."""

    def __init__(self, store: str, name: str) -> None:
        self.url = files.join(store, FOLDER, name)
        self._folders = [folder for folder in files.names(self.url) if folder != CURRENT]

    def version(self, content: str) -> Version:
        """The version with this content digest: the one there is, or the next one to write."""
        digest = content[:12]
        for folder in self._folders:
            if folder.endswith(f"-{digest}"):
                url = files.join(self.url, folder)
                return Version(url, folder, files.exists(files.join(url, MANIFEST)))
        number = max((int(v.name.split("-")[0]) for v in self.versions()), default=0) + 1
        name = f"{number:06d}-{digest}"
        return Version(files.join(self.url, name), name, committed=False)

    def versions(self) -> list[Version]:
        """The committed versions, oldest first."""
        found = [Version(files.join(self.url, folder), folder, committed=True) for folder in self._folders]
        return [v for v in found if files.exists(files.join(v.url, MANIFEST))]

    @property
    def current(self) -> str | None:
        """The name of the version that readers take; None before the first commit."""
        try:
            return files.read_bytes(files.join(self.url, CURRENT)).decode().strip()
        except FileNotFoundError:
            return None

    def commit(self, version: Version, manifest: dict[str, Any]) -> None:
        """Complete the version and point CURRENT at it."""
        files.write_record(files.join(version.url, MANIFEST), manifest)
        self.point_at(version)

    def point_at(self, version: Version) -> None:
        """Make a committed version the one that readers take."""
        if self.current != version.name:
            files.write_bytes(files.join(self.url, CURRENT), (version.name + "\n").encode())

    def retract(self, version: Version) -> None:
        """Remove a committed version; readers take the one before it again, or none."""
        if self.current == version.name:
            current, parent = files.join(self.url, CURRENT), version.manifest["parent"]
            files.remove(current) if parent is None else files.write_bytes(current, f"{parent}\n".encode())
        files.remove(files.join(version.url, MANIFEST))  # first: what is left is no version
        files.remove(version.url)

    def sweep(self, keep: Version) -> None:
        """Remove folders of versions that were never committed, but for one."""
        for folder in self._folders:
            url = files.join(self.url, folder)
            if folder != keep.name and not files.exists(files.join(url, MANIFEST)):
                files.remove(url)
