"""The files that a path of a recipe stands for, on any store, in an order that is the same on all stores.

Files and folders whose names begin with `.` or `_` (markers and temporary files of other tools) are passed over unless
the path names them. The folder of a dataset (`store/datasets/web`) stands for the version that its CURRENT names.
Links of a local disk are followed (`local_files.py`); one that leads nowhere is an error.
"""

from __future__ import annotations

import difflib
import fnmatch
import os
import threading
from collections.abc import Callable, Container, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import takewhile
from pathlib import Path
from typing import Any, NamedTuple

from gristmill.operators.errors import RecipeError
from gristmill.pipelines.config.quoting import from_glob, in_glob
from gristmill.pipelines.config.wording import did_you_mean, plural
from gristmill.pipelines.sources.local_files import HIDDEN, Entry, LocalFiles
from gristmill.pipelines.sources.storage import FileRef, hides_trouble, size_and_version, store_failures
from gristmill.pipelines.storage.file_kinds import CURRENT, MANIFEST, path_in_dataset
from gristmill.pipelines.storage.files import filesystem, is_local, read_record
from gristmill.pipelines.storage.locations import absolute
from gristmill.pipelines.storage.remote import tried

#: Number of concurrent requests for properties of remote files.
CONNECTIONS = 16
#: Number of names of a folder that an error shows.
_SHOWN = 8

#: From the path of a file to its name for display.
_Namer = Callable[[str], str]


class NothingMatches(RecipeError):
    """A path stands for no file."""


class Listed(NamedTuple):
    """A file that paths stand for."""

    file: FileRef
    real: str  #: the path without links: files of the same real path are one file
    dangling: bool  #: a link that leads nowhere
    folder: str | None = None  #: the folder, or glob for all in it (`data/*`), by which it was named, if so


class FoundFiles(NamedTuple):
    """The result for paths: files in path order, and the names of files and folders that are passed over."""

    files: list[Listed]
    passed: list[str]  #: names of files, and of folders with a slash at their end
    lacking: list[str]  #: paths that match nothing, and may


def discover_files(path: str | Sequence[str], base: str = ".") -> list[FileRef]:
    """Return the files that paths, folders and globs match, in path order, each once.

    Relative paths start from `base`, a folder or URL. Raises RecipeError where a path matches nothing or may not be
    listed, RetryableError where the store does not answer.
    """
    matches = Listing(base).find([path] if isinstance(path, str) else path)
    return [listed.file for listed in distinct(matches.files)]


def distinct(listed: Iterable[Listed]) -> list[Listed]:
    """Return the files in path order, each once: under its real path or else under the first link that leads to it.

    Raises RecipeError for links that lead nowhere.
    """
    files: dict[str, Listed] = {}
    dangling: list[str] = []
    for entry in listed:
        if entry.dangling:
            dangling.append(f"{entry.file.name} -> {entry.real}")
        elif entry.real not in files or entry.file.url == entry.real:
            files[entry.real] = entry
    if dangling:
        lead = "there is a link that leads" if len(dangling) == 1 else f"there are {len(dangling):,} links that lead"
        raise RecipeError(
            f"{lead} nowhere: {dangling[0]}; fetch what it stands for (`dvc pull`, `git annex get`, another "
            "download), or make `path` match the other files alone"
        )
    return sorted(files.values(), key=lambda found: found.file.url)


class Listing:
    """Lister of the files that paths of recipes stand for; a local folder that several paths name is read once."""

    def __init__(self, base: str = ".") -> None:
        self._base = base
        self._local = LocalFiles()
        self._lock = threading.Lock()
        self._fresh: set[Any] = set()  # stores whose listings are no older than this

    def find(self, patterns: Iterable[str], may_lack: Container[str] = ()) -> FoundFiles:
        """Return the files that the paths stand for, each path of a file once. Raises as `discover_files`.

        Of the paths in `may_lack` only the last needs to match something, and that only where no other path does.
        """
        files: dict[str, Listed] = {}
        passed: set[str] = set()
        lacking: list[str] = []
        failure: RecipeError | None = None
        for pattern in patterns:
            with store_failures(pattern):
                try:
                    entries = self._matches(pattern, passed)
                except NothingMatches as error:
                    if pattern not in may_lack:
                        raise
                    failure = error
                    lacking.append(pattern)
                    continue
                for entry in entries:
                    if files.setdefault(entry.file.url, entry).folder is not None:
                        files[entry.file.url] = entry
        if failure is not None and not files:
            raise failure
        return FoundFiles([files[url] for url in sorted(files)], sorted(passed), lacking)

    def _matches(self, pattern: str, passed: set[str]) -> list[Listed]:
        url, glob = absolute(pattern, self._base), _as_glob(pattern, self._base)
        try:
            fs, path = filesystem(url)
            glob = filesystem(glob)[1]
        except (ImportError, ValueError) as error:
            raise RecipeError(
                f"{pattern} cannot be opened: {error}; see the extras of gristmill: s3, gcs, hf"
            ) from None
        name, skipped = _namer(pattern, self._base), list[str]()
        if is_local(url):
            listed = self._on_disk(path, glob, name, skipped)
        else:
            with self._lock:  # sources are listed concurrently
                if fs not in self._fresh:
                    fs.invalidate_cache()
                    self._fresh.add(fs)
            listed = _on_store(pattern, fs, path, glob, name, skipped)
        if not listed:
            raise NothingMatches(f"nothing matches {url}{_brackets_meant(fs, glob)}{_what_there_is(fs, path)}")
        passed.update(map(name, skipped))
        return listed

    def _on_disk(self, path: str, glob: str, name: _Namer, passed: list[str]) -> list[Listed]:
        match = self._local.one(path)
        if match is None:
            return [_listed(entry, name, _everything(glob)) for entry in self._local.matching(glob, passed)]
        if not match.is_folder:
            return [_listed(match, name, None)]
        return [_listed(entry, name, path) for entry in self._in_folder(path, passed)]

    def _in_folder(self, folder: str, passed: list[str]) -> Iterable[Entry]:
        """Return the files of a folder; of a dataset of gristmill, those of the version that CURRENT names."""
        if not os.path.isfile(f"{folder}/{CURRENT}"):
            return self._local.below(folder, passed)
        paths = _paths_of_dataset(folder, Path(folder, CURRENT).read_bytes())
        entries = {path: self._local.one(f"{folder}/{path}") for path in paths}
        if gone := [path for path, entry in entries.items() if entry is None]:
            raise _gone(folder, gone)
        return [entry for entry in entries.values() if entry is not None]


def _everything(glob: str) -> str | None:
    """Return the glob if it matches all files of a folder, else None."""
    return glob if glob.rsplit("/", 1)[-1] in ("*", "**", "*.*") else None


def _listed(entry: Entry, name: _Namer, folder: str | None) -> Listed:
    try:
        entry.path.encode()
    except UnicodeEncodeError:
        raise RecipeError(f"the name of {entry.path} is not UTF-8; rename it, or make `path` match others") from None
    size, version = (0, "") if entry.status is None else (entry.status.st_size, str(entry.status.st_mtime_ns))
    file = FileRef(url=entry.path, name=name(entry.path), size=size, version=version)
    return Listed(file, entry.real, entry.status is None, folder)


def _on_store(pattern: str, fs: Any, path: str, glob: str, name: _Namer, passed: list[str]) -> list[Listed]:
    """Return the files of a remote store, and append the URLs of those that are passed over to `passed`."""
    # A name with a star matches itself as a glob, so the store need not be asked for it first.
    details = None if "*" in path else tried(pattern, lambda: _details(fs, path))
    root, last, folder = path, "", None
    if details is None:
        root, last, folder = _literal_root(glob), glob.rsplit("/", 1)[-1], _everything(glob)
        listed = tried(pattern, lambda: _globbed(fs, glob))
    elif details["type"] == "directory":
        folder, listed = path, tried(pattern, lambda: _listed_below(fs, path))
    else:
        listed = {path: details}
    files: list[tuple[str, Any]] = []
    for at, info in listed.items():
        if info.get("type", "file") == "file":
            hidden = _hidden_part(at, root, last)
            if hidden is None:
                files.append((at, info))
            elif (url := fs.unstrip_protocol(hidden)) not in passed:
                passed.append(url)

    def as_listed(found: tuple[str, Any]) -> Listed:
        at, details = found
        size, version = tried(pattern, lambda: size_and_version(fs, at, details))
        url = fs.unstrip_protocol(at)
        return Listed(FileRef(url=url, name=name(url), size=size, version=version), url, False, folder)

    with ThreadPoolExecutor(CONNECTIONS) as pool:
        return list(pool.map(as_listed, files))


def _listed_below(fs: Any, folder: str) -> dict[str, Any]:
    """Return the files of a folder; of a dataset of gristmill, those of the version that CURRENT names."""
    folder = folder.rstrip("/")
    if not fs.exists(f"{folder}/{CURRENT}"):
        return fs.find(folder, detail=True)  # type: ignore[no-any-return]
    paths = _paths_of_dataset(fs.unstrip_protocol(folder), fs.cat_file(f"{folder}/{CURRENT}"))
    there: dict[str, Any] = {}
    for version in sorted({path.split("/")[0] for path in paths}):
        there |= fs.find(f"{folder}/{version}", detail=True)
    if gone := [path for path in paths if f"{folder}/{path}" not in there]:
        raise _gone(folder, gone)
    return {f"{folder}/{path}": there[f"{folder}/{path}"] for path in paths}


def _paths_of_dataset(url: str, current: bytes) -> list[str]:
    """Return the files of the version that CURRENT names, by their paths from the dataset's folder."""
    version = current.decode(errors="replace").strip()
    if not version:
        raise RecipeError(f"no version of the dataset {url} is published yet; `gristmill datasets show` lists them")
    try:
        manifest = read_record(f"{url}/{version}/{MANIFEST}")
    except FileNotFoundError:
        raise _gone(url, [f"{version}/{MANIFEST}"]) from None
    return [path_in_dataset(version, file) for file in manifest["files"]]


def _gone(folder: str, paths: Sequence[str]) -> RecipeError:
    return RecipeError(f"the dataset {folder} is damaged: {paths[0]} is gone; `gristmill verify` says what to do")


def _details(fs: Any, path: str) -> Any:
    """Return a store's details of the file or folder at a path; None where there is none."""
    try:
        return fs.info(path)
    except FileNotFoundError as error:
        if hides_trouble(error):
            raise
        return None


def _globbed(fs: Any, glob: str) -> dict[str, Any]:
    """Return the files that a glob matches; none where the path is no glob or its bucket does not exist."""
    # In a web address a question mark begins the query.
    if not any(sign in glob for sign in ("*[" if "http" in fs.protocol else "*[?")):
        return {}
    try:
        return fs.glob(glob, detail=True)  # type: ignore[no-any-return]
    except FileNotFoundError as error:
        if hides_trouble(error):
            raise
        return {}


def _literal_root(glob: str) -> str:
    """Return the folder that a glob starts from."""
    names = takewhile(lambda name: name is not None, map(from_glob, glob.split("/")[:-1]))
    return "/".join(map(str, names))


def _hidden_part(path: str, root: str, last: str) -> str | None:
    """Return the hidden folder (with a slash at its end) or hidden file in a path below `root`; None if there is none.

    `last` is the last part of a glob: a hidden file that begins with the same character is meant, so it is not hidden.
    """
    *folders, name = path.removeprefix(root).strip("/").split("/")
    for i, folder in enumerate(folders):
        if folder.startswith(HIDDEN):
            return "/".join([root, *folders[: i + 1], ""])
    return path if name.startswith(HIDDEN) and not last.startswith(name[0]) else None


def _as_glob(pattern: str, base: str) -> str:
    """Return the path as a glob in which only the recipe's own part has special characters, not the base folder."""
    return absolute(pattern, in_glob(os.path.abspath(base.removeprefix("file://")) if is_local(base) else base))


def _namer(pattern: str, base: str) -> _Namer:
    """Return a function from URLs to names for display: relative to the recipe's folder or in full, as it says."""
    if "://" in pattern or os.path.isabs(os.path.expanduser(pattern)):
        return str
    fs, folder = filesystem(base.removeprefix("file://"))
    if is_local(base):
        return lambda path: path[len(folder) + 1 :] if path.startswith(f"{folder}/") else os.path.relpath(path, folder)
    return lambda url: url.removeprefix(f"{fs.unstrip_protocol(folder).rstrip('/')}/")


def _brackets_meant(fs: Any, glob: str) -> str:
    """Return a hint where brackets of a name were taken for a choice of characters in a glob, else an empty text."""
    folder = ""
    for part in glob.split("/"):
        name = from_glob(part)
        if name is None and "[" in part:
            literal = part.replace("[", "[[]")
            if fnmatch.filter(_names_in(fs, folder) or (), literal):
                return f"; [ ] stand for one of the characters between them: write {literal} for the name {part}"
        folder = f"{folder}{part if name is None else name}/"
    return ""


def _names_in(fs: Any, folder: str) -> list[str] | None:
    """Return the names in a folder; None where it cannot be listed."""
    try:
        return sorted(str(entry).rstrip("/").rsplit("/", 1)[-1] for entry in fs.ls(folder or "/", detail=False))
    except (OSError, ValueError):
        return None


def _what_there_is(fs: Any, path: str) -> str:
    """Return `; the folder /data holds 12 entries: a.jsonl, b.jsonl, ...` for the nearest folder that exists."""
    if "http" in fs.protocol:
        return ""
    folder = path.rstrip("/").rpartition("/")[0]
    while folder.strip("/") and not fs.isdir(folder):
        folder = folder.rpartition("/")[0]
    names = _names_in(fs, folder)
    if names is None:
        return ""
    if not folder and not path.startswith("/"):
        bucket = path.partition("/")[0]
        return f"; there is no bucket {bucket}{did_you_mean(bucket, names)}"
    if not names:
        return f"; the folder {folder} is empty"
    near = difflib.get_close_matches(path.removeprefix(folder).strip("/").partition("/")[0], names, n=1)
    more = ", ..." if len(names) > _SHOWN else ""
    return (
        f"; the folder {folder or '/'} holds {plural(len(names), 'entry')}: {', '.join(names[:_SHOWN])}{more}"
        f"{f'; did you mean {near[0]}?' if near else ''}"
    )
