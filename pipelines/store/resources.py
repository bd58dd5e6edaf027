"""Files that operators need (models, fits): their digests, and a local copy on every machine that opens them."""

from __future__ import annotations

import contextlib
import functools
import os
import shutil
import tempfile
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
from filelock import FileLock

import gristmill
from gristmill.operators import columns
from gristmill.operators.base import Measure, Operator, Transform
from gristmill.operators.errors import RecipeError
from gristmill.operators.kernels.compiling import code_folder
from gristmill.pipelines.storage import files


@dataclass(frozen=True)
class Resource:
    """File that an operator needs, by its URL and the digest of its content."""

    url: str
    digest: str

    def local(self) -> Path:
        """Return a path on this machine: the file itself, or a copy kept in the user's cache under its digest."""
        if files.is_local(self.url):
            return Path(files.local_path(self.url))
        cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "gristmill" / "resources"
        copy = cache / f"{self.digest}-{self.url.rsplit('/', 1)[-1]}"
        if not copy.exists():
            cache.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=cache) as folder:
                with files.open_input(self.url) as file, open(f"{folder}/copy", "wb") as target:
                    shutil.copyfileobj(file, target)
                os.replace(f"{folder}/copy", copy)
        return copy


def resource(url: str, where: str) -> Resource:
    """Return the resource at a URL. Raises RecipeError where there is none; `where` is its place in the recipe."""
    try:
        digest = files.digest(url)
    except FileNotFoundError:
        raise RecipeError(
            f"{where}: there is no file {url}; paths in a recipe start from the recipe's folder"
        ) from None
    except OSError as error:
        raise RecipeError(f"{where}: {url} cannot be read: {error.strerror or error}") from None
    return Resource(url, digest)


@dataclass(frozen=True)
class ReadyOperator:
    """Operator with the files that it opens, as it is sent to workers."""

    name: str
    operator: Any
    resources: Mapping[str, Resource] = field(default_factory=dict)

    @property
    def digests(self) -> dict[str, str]:
        """Return the digest of each resource, by its name."""
        return {name: entry.digest for name, entry in self.resources.items()}

    @property
    def fingerprint(self) -> str:
        """Return the digest of everything that the operator's results depend on."""
        operator: Operator = self.operator
        return operator.fingerprint(self.digests)

    def local_files(self) -> dict[str, Path]:
        """Return the local paths of the resources, by name."""
        return {name: entry.local() for name, entry in self.resources.items()}

    def check(self) -> None:
        """Raise RecipeError where a resource cannot be used; each is checked once per machine."""
        passed = code_folder() / f"checked-{gristmill.__version__}-{self.fingerprint}"
        if not self.resources or passed.exists():
            return
        self.operator.check(self.local_files())
        with contextlib.suppress(OSError):
            passed.touch()

    def open(self) -> Any:
        """Return the operator's function, loaded once per process and shared by its threads."""
        with _OPENING:
            return _open(_Key(self), measuring=False)

    def open_measuring(self) -> Any:
        """Do the same for a transform's function that returns its columns beside the texts."""
        with _OPENING:
            return _open(_Key(self), measuring=True)


class _Key:
    """ReadyOperator made hashable by its fingerprint."""

    def __init__(self, ready: ReadyOperator) -> None:
        self.ready = ready
        self.identity = (type(ready.operator), ready.fingerprint)

    def __hash__(self) -> int:
        return hash(self.identity)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Key) and self.identity == other.identity


_OPENING = threading.Lock()
_ONE_TEXT = "Kernels are compiled on their first call."


@functools.lru_cache(maxsize=64)
def _open(key: _Key, measuring: bool) -> Any:
    """Open an operator and run it once: one process of a machine compiles its kernels, the others load them."""
    operator = key.ready.operator
    function = (operator.open_measuring if measuring else operator.open)(key.ready.local_files())
    texts = pa.array([_ONE_TEXT], pa.large_string())
    with FileLock(code_folder() / "compiling.lock"):
        if isinstance(operator, Transform):
            function(texts)
        elif isinstance(operator, Measure):
            function(pa.record_batch({columns.TEXT: texts}))
    return function
