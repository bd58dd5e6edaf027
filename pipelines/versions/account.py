"""The account of a night that lies in the folder of its run, for whoever reports on it later."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import Any

from gristmill.pipelines.storage import files
from gristmill.pipelines.store.lock import check_held
from gristmill.pipelines.store.runs import Run, folder_of

_NAME = "night.json"


def night_of(run: Run) -> dict[str, Any] | None:
    """Return the outcome of a run's night, as `NightResult.to_json` has it but for the run; None where there is none.

    Raises StoreDamaged where it is not what was written.
    """
    with contextlib.suppress(FileNotFoundError):
        return files.read_record(files.join(run.url, _NAME))
    return None


def write_account(store: str, run: str, told: Mapping[str, Any]) -> None:
    """Write down what the night of a run came to. Only the holder of the writer lock may call this."""
    check_held(store)
    files.write_record(files.join(folder_of(store, run), _NAME), dict(told))
