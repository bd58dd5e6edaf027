"""The files that a path of a recipe stands for, on any store, in an order that does not depend on the store's.

Files and folders whose names begin with `.` or `_` (markers and temporary files of other tools) are passed over unless
the path names them. The folder of a dataset (`store/datasets/web`) stands for the version that its CURRENT names.
"""

from __future__ import annotations

import difflib
import os
import posixpath
import re
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from operators.errors import RecipeError
from pipelines.sources.storage import FileRef, hides_trouble, size_and_version, store_failures
from pipelines.state.datasets import CURRENT
from pipelines.state.files import filesystem, is_local
from pipelines.state.remote import tried
from pipelines.words import did_you_mean, plural

#: Properties of remote files are asked for side by side.
CONNECTIONS = 16
#: How many names of a folder an error shows.
_SHOWN = 8


def discover_files(path: str | Sequence[str], base: str = ".") -> list[FileRef]:
    """The files that paths, folders and globs match, in path order, each once.

    Relative paths start from `base`, a folder or URL. Raises RecipeError where a path matches nothing or may not be
    listed, RetryableError where the store does not answer.
    """
    found: dict[str, FileRef] = {}
    for pattern in [path] if isinstance(path, str) else path:
        with store_failures(pattern):
            found.update((file.url, file) for file in _matches(pattern, base))
    return [found[url] for url in sorted(found)]


def absolute(path: str, base: str) -> str:
    """A path or URL that does not depend on where it is opened from."""
    path = os.path.expanduser(path.removeprefix("file://"))
    if "://" in path:
        return path
    base = base.removeprefix("file://")
    if not is_local(base) and not path.startswith("/"):
        scheme, _, folder = base.partition("://")
        return f"{scheme}://{posixpath.normpath(f'{folder}/{path}')}"
    return os.path.normpath(os.path.join(os.path.abspath(base), path))


def _matches(pattern: str, base: str) -> list[FileRef]:
    url = absolute(pattern, base)
    try:
        fs, path = filesystem(url)
    except (ImportError, ValueError) as error:
        raise RecipeError(f"{pattern} cannot be opened: {error}; see the extras of gristmill: s3, gcs, hf") from None
    fs.invalidate_cache()
    listed = tried(pattern, lambda: _listed(fs, path))
    if not listed:
        raise RecipeError(f"nothing matches {url}{_what_there_is(fs, path)}")
    name = _namer(pattern, base)

    def file_ref(found: tuple[str, Any]) -> FileRef:
        at, details = found
        size, version = tried(pattern, lambda: size_and_version(fs, at, details))
        found_url = at if is_local(url) else fs.unstrip_protocol(at)
        return FileRef(url=found_url, name=name(found_url, at), size=size, version=version)

    with ThreadPoolExecutor(CONNECTIONS) as pool:
        return list(pool.map(file_ref, listed.items()))


def _listed(fs: Any, path: str) -> dict[str, Any]:
    """Paths and details of the files that a path, folder or glob stands for."""
    details = _details(fs, path)
    root = path
    if details is not None and details["type"] == "directory":
        listed = _listed_below(fs, path)
    elif details is not None:
        listed = {path: details}
    elif _is_glob(fs, path):
        root = re.split(r"[*?\[]", path, maxsplit=1)[0].rpartition("/")[0]
        listed = _globbed(fs, path)
    else:
        listed = {}
    last = path.rsplit("/", 1)[-1]
    return {
        at: found
        for at, found in listed.items()
        if found.get("type", "file") == "file" and not _is_hidden(at.removeprefix(root), last)
    }


def _listed_below(fs: Any, folder: str) -> dict[str, Any]:
    """The files of a folder; of a dataset that gristmill wrote, those of the version that CURRENT names."""
    folder = folder.rstrip("/")
    if not fs.exists(f"{folder}/{CURRENT}"):
        return fs.find(folder, detail=True)  # type: ignore[no-any-return]
    version = fs.cat_file(f"{folder}/{CURRENT}").decode().strip()
    return fs.glob(f"{folder}/{version}/*.parquet", detail=True)  # type: ignore[no-any-return]


def _details(fs: Any, path: str) -> Any:
    """What a store says of the file or folder at a path; None where there is none."""
    try:
        return fs.info(path)
    except FileNotFoundError as error:
        if hides_trouble(error):
            raise
        return None


def _globbed(fs: Any, pattern: str) -> dict[str, Any]:
    """The files that a glob matches: none where there is not even a bucket."""
    try:
        return fs.glob(pattern, detail=True)  # type: ignore[no-any-return]
    except FileNotFoundError as error:
        if hides_trouble(error):
            raise
        return {}


def _is_glob(fs: Any, path: str) -> bool:
    # In a web address a question mark begins the query.
    return any(sign in path for sign in ("*[" if "http" in fs.protocol else "*[?"))


def _is_hidden(below: str, pattern: str) -> bool:
    """Whether a file below a folder is hidden by its own or a folder's name, and the pattern does not ask for such."""
    *folders, name = [part for part in below.split("/") if part] or [""]
    if any(folder.startswith((".", "_")) for folder in folders):
        return True
    return name.startswith((".", "_")) and not pattern.startswith(name[0])


def _namer(pattern: str, base: str) -> Callable[[str, str], str]:
    """What files are called for people, by URL and path: from the recipe's folder or in full, as the recipe says it."""
    if "://" in pattern or os.path.isabs(os.path.expanduser(pattern)):
        return lambda url, path: url
    folder = filesystem(base)[1]
    if is_local(base.removeprefix("file://")):
        return lambda url, path: os.path.relpath(path, folder)
    return lambda url, path: path.removeprefix(f"{folder.rstrip('/')}/")


def _what_there_is(fs: Any, path: str) -> str:
    """`; the folder /data holds 12 entries: a.jsonl, b.jsonl, ...` for the nearest folder that exists."""
    if "http" in fs.protocol:
        return ""
    folder = path.rstrip("/").rpartition("/")[0]
    while folder.strip("/") and not fs.isdir(folder):
        folder = folder.rpartition("/")[0]
    try:
        entries = fs.ls(folder or "/", detail=False)
    except (OSError, ValueError):
        return ""
    names = sorted(str(entry).rstrip("/").rsplit("/", 1)[-1] for entry in entries)
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
