"""Loops over Arrow buffers, compiled by numba. No config, no schema, no logging here.

Machine code is kept in the user's cache folder, in a folder of its own for each state of these sources: numba notices
that the module of a kernel changed, but not that a module it calls did.
"""

import contextlib
import hashlib
import os
import tempfile
from pathlib import Path

import numba


def _sources_digest() -> str:
    digest = hashlib.blake2b(digest_size=8)
    for path in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _cache_folder() -> Path:
    """A folder that this user can write to: in the user's cache or, where there is no home, among temporary files."""
    caches = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    kernels = f"kernels-{_sources_digest()}"
    temporary = Path(tempfile.gettempdir(), f"gristmill-{os.getuid()}")
    for folder in (caches / "gristmill" / kernels, temporary / kernels):
        with contextlib.suppress(OSError):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            if os.access(folder, os.W_OK):
                return folder
    return Path(tempfile.mkdtemp(prefix="gristmill-"))


#: Where numba keeps the machine code of kernels; NUMBA_CACHE_DIR, where it is set, decides instead.
CACHE = Path(numba.config.CACHE_DIR or _cache_folder())  # type: ignore[attr-defined]
numba.config.CACHE_DIR = str(CACHE)  # type: ignore[attr-defined]
