"""Compilation of kernels at their first call; numba is loaded no sooner.

A kernel that Python calls is compiled with all the kernels that it calls, and its machine code is kept in a folder. One
that a kernel calls is compiled as a part of that one: without the entries from Python and C, which take as long to
compile as what they lead to, without code for the constants that it happens to be called with, and kept nowhere.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import stat
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

_CREATING = threading.Lock()


class Kernel:
    """A function over Arrow buffers, or a part of one, that is compiled when it is first called."""

    def __init__(self, function: Callable[..., Any], counting: bool = True) -> None:
        functools.update_wrapper(self, function)
        self.function = function
        self.counting = counting
        self._entry: Any = None
        self._part: Any = None

    def __call__(self, *arguments: Any) -> Any:
        """Return the result of the compiled function, which the first call compiles."""
        if self._entry is None:
            from gristmill.operators.kernels import numba_backend

            with _CREATING:
                self._entry = self._entry or numba_backend.entry(self.function)
        return self._entry(*arguments)

    def part(self, make: Callable[[Callable[..., Any], bool], Any]) -> Any:
        """Return what stands for it in kernels that call it, made once."""
        if self._part is None:
            self._part = make(self.function, self.counting)
        return self._part

    def __reduce__(self) -> str:
        return self.function.__qualname__  # pickled by name, as functions are


#: The decorator of kernels.
kernel = Kernel


def borrowing(function: Callable[..., Any]) -> Kernel:
    """Make a kernel of a function that makes no arrays, for kernels to call: it does not count who holds an array.

    Others do so whenever they take an array out of a tuple or hand it on, which takes as long as to look up a word.
    """
    return Kernel(function, counting=False)


@functools.cache
def code_folder() -> Path:
    """Return the folder in which machine code is kept; NUMBA_CACHE_DIR, where it is set, decides.

    It lies in the user's cache, in a folder of its own for each state of these sources (numba notices that the module
    of a kernel changed, but not that a module it calls did); where there is no home, among temporary files.
    """
    kernels = f"kernels-{_sources_digest()}"
    caches = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    temporary = Path(tempfile.gettempdir(), f"gristmill-{os.getuid()}")
    usual = (os.path.join(caches, "gristmill", kernels), str(temporary / kernels))
    for folder in map(Path, filter(None, (os.environ.get("NUMBA_CACHE_DIR"), *usual))):
        with contextlib.suppress(OSError):
            folder.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            folder.mkdir(mode=0o700, exist_ok=True)
            # another user with a folder of that name among temporary files would have this process run foreign code
            if os.access(folder, os.W_OK) and (temporary not in folder.parents or _is_private(temporary)):
                return folder
    return Path(tempfile.mkdtemp(prefix="gristmill-"))


def _is_private(folder: Path) -> bool:
    status = folder.lstat()
    return stat.S_ISDIR(status.st_mode) and status.st_uid == os.getuid() and not status.st_mode & 0o022


def _sources_digest() -> str:
    digest = hashlib.blake2b(digest_size=8)
    for path in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()
