"""Paths and URLs given by users: made absolute, and the folders that they lie in."""

from __future__ import annotations

import os
import posixpath

from gristmill.pipelines.storage.files import is_local


def absolute(path: str, base: str) -> str:
    """Return a path or URL that does not depend on the current folder; a relative one starts from `base`."""
    path = os.path.expanduser(path.removeprefix("file://"))
    if "://" in path:
        return path
    base = base.removeprefix("file://")
    if not is_local(base) and not path.startswith("/"):
        scheme, _, folder = base.partition("://")
        return f"{scheme}://{posixpath.normpath(f'{folder}/{path}')}"
    return os.path.normpath(os.path.join(os.path.abspath(base), path))


def folder_of(url: str) -> str:
    """Return the folder (path or URL) that a file lies in."""
    return url.rpartition("/")[0] or ("/" if url.startswith("/") else ".")
