"""Pages that work leaves when it ends: one that cannot be made is told, and fails nothing."""

from __future__ import annotations

import contextlib
from collections.abc import Callable

from gristmill.pipelines.progress.reporter import Reporter
from gristmill.pipelines.storage import files


def left(url: str, make: Callable[[], bytes], reporter: Reporter, again: str) -> str | None:
    """Write a page and return its URL; where it cannot be made say why, and by which command it is tried again."""
    try:
        files.write_bytes(url, make())
    except Exception as error:
        why = " ".join(str(error).split()) or type(error).__name__
        reporter.warn(f"! the report could not be made: {why}. `{again}` tries again")
        with contextlib.suppress(Exception):
            files.remove(url)  # one of earlier work tells of something else
        return None
    return url
