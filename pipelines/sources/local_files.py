"""The files of local folders and globs. Links are followed, circles of links end, and no folder is listed twice.

The target of a link has a second path. Every file is returned with its real path, so that a file that is reached twice
can be read once.
"""

from __future__ import annotations

import fnmatch
import os
import re
import stat
import threading
from bisect import bisect_left
from collections.abc import Iterator
from itertools import islice
from typing import NamedTuple

from gristmill.operators.errors import RecipeError
from gristmill.pipelines.config.quoting import from_glob

#: First characters of markers and temporary files of other tools; a glob matches them if it begins with the same.
HIDDEN = (".", "_")


class Entry(NamedTuple):
    """A file or folder as it was found."""

    path: str  #: by which it was reached
    real: str  #: its path without links
    status: os.stat_result | None  #: None for a link that leads nowhere

    @property
    def is_folder(self) -> bool:
        """Return whether this is a folder."""
        return self.status is not None and stat.S_ISDIR(self.status.st_mode)


class _Folder(NamedTuple):
    path: str
    real: str
    entries: list[os.DirEntry[str]]


class LocalFiles:
    """Lister of local folders; each folder is read once, even if several paths name it."""

    def __init__(self) -> None:
        self._held: dict[str, _Folder] = {}
        self._lock = threading.Lock()

    def one(self, path: str) -> Entry | None:
        """Return the file or folder at exactly that path; None where there is none."""
        status = _status(path)
        if status is None and not os.path.islink(path):
            return None
        return Entry(path, os.path.realpath(path), status)

    def below(self, folder: str, passed: list[str]) -> Iterator[Entry]:
        """Yield the files in a folder and below it, and append the paths of those that are passed over to `passed`."""
        for directory in self._walk(folder, passed):
            for entry in directory.entries:
                if entry.name.startswith(HIDDEN):
                    if not _is_folder(entry):
                        passed.append(f"{directory.path}/{entry.name}")
                else:
                    yield from self._file(directory, entry, passed)

    def matching(self, pattern: str, passed: list[str]) -> Iterator[Entry]:
        """Yield the files that an absolute glob matches, some possibly twice; `**` stands for folders at any depth."""
        yield from self._matching("", pattern.strip("/").split("/"), passed)

    def _matching(self, folder: str, parts: list[str], passed: list[str]) -> Iterator[Entry]:
        (part, *rest), name = parts, from_glob(parts[0])
        if name is not None:
            path = f"{folder}/{name}"
            if rest:
                yield from self._matching(path, rest, passed)
            elif (match := self.one(path)) is not None and not match.is_folder:
                yield match
        elif part == "**" and not rest:
            yield from self.below(folder or "/", passed)
        elif part == "**":
            for walked in self._walk(folder or "/", passed):
                yield from self._matching(walked.path.rstrip("/"), rest, passed)
        else:
            yield from self._matching_here(self._folder(folder or "/"), part, rest, passed)

    def _matching_here(self, folder: _Folder, part: str, rest: list[str], passed: list[str]) -> Iterator[Entry]:
        matches = re.compile(fnmatch.translate(part)).match
        prefix = re.split(r"[*?\[]", part, maxsplit=1)[0]
        first = bisect_left(folder.entries, prefix, key=lambda entry: entry.name)
        for entry in islice(folder.entries, first, None):
            if not entry.name.startswith(prefix):
                break
            if not matches(entry.name) or (rest and not _is_folder(entry)):
                continue
            path = f"{folder.path.rstrip('/')}/{entry.name}"
            if entry.name.startswith(HIDDEN) and not part.startswith(entry.name[0]):
                passed.append(f"{path}/" if _is_folder(entry) else path)
            elif rest:
                yield from self._matching(path, rest, passed)
            else:
                yield from self._file(folder, entry, passed)

    def _walk(self, folder: str, passed: list[str]) -> Iterator[_Folder]:
        """Yield a folder and those below it, each once: first real subfolders, then the targets of links."""
        links = [folder]
        real_paths: set[str] = set()
        for link in links:  # it grows while links to folders are found
            ahead = [link]
            while ahead:
                directory = self._folder(ahead.pop())
                if directory.real in real_paths:
                    continue
                real_paths.add(directory.real)
                yield directory
                inside: list[str] = []
                for entry in directory.entries:
                    path = f"{directory.path.rstrip('/')}/{entry.name}"
                    if not _is_folder(entry):
                        continue
                    if entry.name.startswith(HIDDEN) or (entry.is_symlink() and _leads_back(path, directory.real)):
                        passed.append(f"{path}/")
                    else:
                        (links if entry.is_symlink() else inside).append(path)
                ahead += reversed(inside)

    def _file(self, folder: _Folder, entry: os.DirEntry[str], passed: list[str]) -> Iterator[Entry]:
        """Yield an entry of a folder if it is a file, or a link that leads to a file or nowhere."""
        path = f"{folder.path.rstrip('/')}/{entry.name}"
        linked = entry.is_symlink()
        try:
            status = entry.stat()
        except OSError as error:
            if isinstance(error, PermissionError):
                raise
            if linked:
                yield Entry(path, os.path.realpath(path), None)
            return  # removed since it was listed
        if stat.S_ISREG(status.st_mode):
            real = os.path.realpath(path) if linked else f"{folder.real.rstrip('/')}/{entry.name}"
            yield Entry(path, real, status)
        elif not stat.S_ISDIR(status.st_mode):
            passed.append(path)  # a pipe, a socket, a device

    def _folder(self, path: str) -> _Folder:
        """Return a folder and its entries, in the order of names; no entries where there is no folder."""
        with self._lock:
            if path not in self._held:
                try:
                    with os.scandir(path) as listed:
                        entries = sorted(listed, key=lambda entry: entry.name)
                except (FileNotFoundError, NotADirectoryError):
                    entries = []
                self._held[path] = _Folder(path, os.path.realpath(path), entries)
            return self._held[path]


def _status(path: str) -> os.stat_result | None:
    try:
        return os.stat(path)
    except PermissionError:
        raise
    except UnicodeEncodeError as error:
        if error.encoding == "utf-8":  # no name holds half of a surrogate pair
            return None
        raise RecipeError(
            f"{path} cannot be written in this locale ({error.encoding}); set PYTHONUTF8=1 or LC_ALL=C.UTF-8"
        ) from None
    except (OSError, ValueError):  # no such file, links in a circle, a NUL in the path
        return None


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except PermissionError:
        raise
    except OSError:
        return False


def _leads_back(link: str, real: str) -> bool:
    """Return whether a link in the folder `real` leads to that folder or to one above it."""
    target = os.path.realpath(link).rstrip("/")
    return f"{real.rstrip('/')}/".startswith(f"{target}/")
