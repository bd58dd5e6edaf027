"""Inventory of a task's folder of the label store, kept by its writer: `inventory.json`, sealed.

    {"last": the highest number of a run, "files": [...], "journals": [...], "coming": [...]}

`files` are there. Of `journals` each is there, or the answers that it became. `coming` are about to be written. So a
file that was removed is missed, and a foreign file is told from one that a killed run left:

    answers     counts if listed or coming, or if its journal is listed or still there
    compacted   counts if listed, or if all that it replaces is listed

A folder of an earlier version of gristmill has no inventory; its next writer makes one of all that is there.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from typing import Any

from gristmill.operators.errors import StoreFileGone
from gristmill.pipelines.storage import files
from gristmill.pipelines.storage.file_kinds import way_back

FILE = "inventory.json"
FORMAT = 1
#: A folder has one writer, which may have several threads.
_CHANGING = threading.Lock()


@dataclass(frozen=True)
class Inventory:
    """Contents of one inventory."""

    last: int = 0
    files: tuple[str, ...] = ()
    journals: tuple[str, ...] = ()
    coming: tuple[str, ...] = ()


def read_inventory(url: str) -> Inventory | None:
    """Read the inventory of a folder; None if there is none. Raises StoreDamaged if it is not what was written."""
    try:
        held = files.read_record(files.join(url, FILE))
    except FileNotFoundError:
        return None
    return Inventory(held["last"], *(tuple(held[name]) for name in ("files", "journals", "coming")))


def write_inventory(url: str, inventory: Inventory) -> None:
    """Write an inventory in place of any that is there."""
    told: dict[str, Any] = {name: list(v) if isinstance(v, tuple) else v for name, v in asdict(inventory).items()}
    files.write_record(files.join(url, FILE), {"format": FORMAT, **told})


def gone(url: str, name: str) -> StoreFileGone:
    """Return the error that says that a file of a folder was removed."""
    place = files.join(url, name)
    return StoreFileGone(place, f"{place} is gone. {way_back(place)}")


def note(
    url: str,
    arrived: Iterable[str] = (),
    removed: Iterable[str] = (),
    journals: Iterable[str] = (),
    coming: Iterable[str] = (),
    last: int = 0,
) -> None:
    """Change the inventory of a folder in one step; do nothing if it has none yet.

    Called before a file that is `coming` is written, after those that `arrived` are there, and before those that are
    `removed` go.
    """
    with _CHANGING:
        held = read_inventory(url)
        if held is None:
            return
        dropped, here = {*removed}, [*arrived]
        changed = replace(
            held,
            last=max(held.last, last),
            files=tuple(sorted({*held.files, *here} - dropped)),
            journals=tuple(sorted({*held.journals, *journals} - dropped)),
            coming=tuple(sorted({*held.coming, *coming} - {*here} - dropped)),
        )
        if changed != held:
            write_inventory(url, changed)
