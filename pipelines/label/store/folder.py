"""A task's folder of the label store: its files, which of them count, and the inventory that its writer keeps.

    answers-<run>-<number>.parquet     rows that a run appended
    journal-<run>-<number>.jsonl       rows that are in no such file yet; once the file of the same run and number is
                                       there, the journal's rows no longer count
    compacted-<number>.parquet         rows of the files that its metadata names, which no longer count
    documents-<run>.parquet            the documents that a run chose
    inventory.json                     those of these files that the folder's writers have made, sealed

So a process that writes a file in place of others and is killed before those are removed has neither lost nor doubled
any row. The inventory:

    {"last": the highest number of a run, "files": [...], "journals": [...], "coming": [...], "nights": [...]}

`files` are there. Of `journals` each is there, or the answers that it became. `coming` are about to be written. So a
file that was removed is missed, and a foreign file is told from one that a killed run left:

    answers     counts if listed or coming, or if its journal is listed or still there
    compacted   counts if listed, or if all that it replaces is listed

`nights` are dates, in the order in which they began, each with what all runs had spent by then: what was spent between
one and the next is its own.

A folder of an earlier version of gristmill has no inventory; its next writer makes one of all that is there.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from itertools import chain
from typing import Any, NamedTuple

import pyarrow.parquet as pq

from gristmill.operators.errors import StoreDamaged, StoreFileGone
from gristmill.pipelines.label.budget import Amount
from gristmill.pipelines.label.store.journal import Name, Replayed, parse_name, replay, whole_lines
from gristmill.pipelines.storage import files
from gristmill.pipelines.storage.file_kinds import way_back

INVENTORY = "inventory.json"
_FORMAT = 1
#: A folder has one writer, which may have several threads.
_CHANGING = threading.Lock()
_COMPACTED = re.compile(r"compacted-(\d{6})\.parquet")
_NUMBERED = re.compile(r"\d{8}")
REPLACES = b"replaces"
DOCUMENTS = "documents-"
TASK = "task.json"


class NightBegun(NamedTuple):
    """A night, and what all runs had spent when it began, or went on after another."""

    night: str  #: ISO 8601
    before: Amount


@dataclass(frozen=True)
class Inventory:
    """Contents of one inventory."""

    last: int = 0
    files: tuple[str, ...] = ()
    journals: tuple[str, ...] = ()
    coming: tuple[str, ...] = ()
    nights: tuple[NightBegun, ...] = ()


def _read_inventory(url: str) -> Inventory | None:
    """Read the inventory of a folder; None if there is none. Raises StoreDamaged if it is not what was written."""
    try:
        record = files.read_record(files.join(url, INVENTORY))
    except FileNotFoundError:
        return None
    nights = tuple(NightBegun(night, Amount(*before)) for night, before in record.get("nights", ()))
    present, journals, coming = (tuple(record[name]) for name in ("files", "journals", "coming"))
    return Inventory(record["last"], present, journals, coming, nights)


def _write_inventory(url: str, inventory: Inventory) -> None:
    """Write an inventory in place of any that is there."""
    fields: dict[str, Any] = {name: list(v) if isinstance(v, tuple) else v for name, v in asdict(inventory).items()}
    files.write_record(files.join(url, INVENTORY), {"format": _FORMAT, **fields})


def _gone(url: str, name: str) -> StoreFileGone:
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
    nights: Iterable[NightBegun] = (),
) -> None:
    """Change the inventory of a folder in one step; do nothing if it has none yet.

    Called before a file that is `coming` is written, after those that `arrived` are there, and before those that are
    `removed` go.
    """
    with _CHANGING:
        inventory = _read_inventory(url)
        if inventory is None:
            return
        dropped, here = {*removed}, [*arrived]
        changed = replace(
            inventory,
            last=max(inventory.last, last),
            files=tuple(sorted({*inventory.files, *here} - dropped)),
            journals=tuple(sorted({*inventory.journals, *journals} - dropped)),
            coming=tuple(sorted({*inventory.coming, *coming} - {*here} - dropped)),
            nights=(*inventory.nights, *nights),
        )
        if changed != inventory:
            _write_inventory(url, changed)


@dataclass(frozen=True)
class TaskFiles:
    """The files of one moment."""

    url: str
    answers: list[str]  #: Parquet files that count, by name
    replaced: list[str]  #: Parquet files that another one stands for
    documents: list[str]  #: files of the documents that runs chose
    journals: list[Name]  #: journals whose rows count
    absorbed: list[Name]  #: journals that a Parquet file stands for
    compacted: int  #: the highest number of a compacted file
    taken: frozenset[Name]  #: names that a new file may not have
    told: tuple[str, ...]  #: the record of the task, if it is there
    foreign: list[str]  #: files of such names that no writer of this folder made
    inventory: Inventory | None  #: kept by the writers; None in a folder of an earlier version of gristmill

    def place(self, name: str) -> str:
        """Return the URL of a file."""
        return files.join(self.url, name)

    def next_number(self, run: str) -> int:
        """Return the number of the run's next file."""
        return 1 + max((name.number for name in self.taken if name.run == run), default=0)

    def replay(self, journal: Name) -> Replayed:
        """Read a journal. Raises FileNotFoundError if it has become a Parquet file meanwhile."""
        return replay(files.read_bytes(self.place(journal.journal)), self.place(journal.journal))

    def last_journals(self) -> list[Name]:
        """Return the last journal of each run that has any: it says what the run left outstanding."""
        last: dict[str, Name] = {}
        for name in sorted([*self.journals, *self.absorbed]):
            last[name.run] = name
        return list(last.values())


def list_folder(url: str) -> TaskFiles:
    """List a task's folder; the listing is empty if there is no folder.

    Raises StoreFileGone if a file that was there is missing, StoreDamaged if the inventory is damaged.
    """
    while True:
        inventory = _read_inventory(url)
        try:
            return _listed(url, inventory)
        except FileNotFoundError:
            if _read_inventory(url) == inventory:  # else a writer was at work meanwhile
                raise


def _listed(url: str, inventory: Inventory | None) -> TaskFiles:
    """List a folder with this inventory. Raises FileNotFoundError if a file is missing."""
    names = files.names(url)
    name_set = set(names)
    candidates = [name for name in names if name.endswith(".parquet") and (_COMPACTED.fullmatch(name) or _dated(name))]
    if inventory is None:
        if any(_is_numbered(name) for name in names):
            raise _gone(url, INVENTORY)
        counts = candidates
    else:
        missing = (name for name in inventory.files if name not in name_set)
        lost = (name for name in inventory.journals if name not in name_set and _answers_of(name) not in name_set)
        if (first := next(chain(missing, lost), None)) is not None:
            raise _gone(url, first)
        entries = {*inventory.files, *inventory.coming, *map(_answers_of, inventory.journals)}
        counts = [name for name in candidates if name in entries or _journal_of(name) in name_set]
        counts += [
            name
            for name in candidates
            if name not in counts and _COMPACTED.fullmatch(name) and {*_replaced_by(files.join(url, name))} <= entries
        ]
    numbers = {name: int(match[1]) for name in counts if (match := _COMPACTED.fullmatch(name))}
    originals = {old for name in numbers for old in _replaced_by(files.join(url, name))}
    counts = [name for name in candidates if name in counts or name in originals]
    parquet = sorted(name for name in counts if not name.startswith(DOCUMENTS))
    stored = {name for file in (*parquet, *originals) if (name := parse_name(file))}
    journals = [name for file in names if file.startswith("journal-") and (name := parse_name(file))]
    return TaskFiles(
        url,
        answers=[name for name in parquet if name not in originals],
        replaced=[name for name in parquet if name in originals],
        documents=sorted(name for name in counts if name.startswith(DOCUMENTS)),
        journals=[name for name in journals if name not in stored],
        absorbed=[name for name in journals if name in stored],
        compacted=max(numbers.values(), default=0),
        taken=frozenset([*stored, *journals]),
        told=(TASK,) if TASK in name_set else (),
        foreign=sorted({*candidates} - {*counts}),
        inventory=inventory,
    )


def _dated(name: str) -> bool:
    """Return whether a file is one of a run: answers, or the documents that it chose."""
    return name.startswith(DOCUMENTS) or (name.startswith("answers-") and parse_name(name) is not None)


def _answers_of(journal: str) -> str:
    name = parse_name(journal)
    return journal if name is None else name.answers


def _journal_of(answers: str) -> str:
    name = parse_name(answers)
    return "" if name is None else name.journal


def _is_numbered(name: str) -> bool:
    """Return whether a file is of a run that this version of gristmill, which keeps an inventory, has numbered."""
    return _run_number(name) > 0


def _run_number(name: str) -> int:
    """Return the number of the run that made a file; 0 if the run has none."""
    parsed = parse_name(name)
    run = parsed.run if parsed is not None else name.removeprefix(DOCUMENTS).removesuffix(".parquet")
    return int(run) if _NUMBERED.fullmatch(run) else 0


def settle(url: str) -> TaskFiles:
    """Make the inventory of a folder say what is there now. Only the folder's writer may call this.

    Files that it lacks were left by a run that was killed before it noted them, or by an earlier version of gristmill.
    """
    listing = list_folder(url)
    here = (*listing.answers, *listing.replaced, *listing.documents)
    last = max(map(_run_number, here), default=0)
    inventory = listing.inventory or Inventory()
    journals = (name.journal for name in (*listing.journals, *listing.absorbed))
    present = tuple(sorted({*here, *listing.told}))
    now = Inventory(max(inventory.last, last), present, tuple(sorted(journals)), nights=inventory.nights)
    if now != inventory or listing.inventory is None:
        _write_inventory(url, now)
    return listing


def let_go(url: str) -> list[str]:
    """Go on without the files that are damaged or gone; return their names. Only the folder's writer may call this."""
    lost: set[str] = set()
    for name in files.names(url):
        place = files.join(url, name)
        try:
            if name.endswith(".parquet"):
                files.check_table(place)
            elif name.endswith(".jsonl"):
                replay(files.read_bytes(place), place)
            elif name.endswith(".json"):
                files.read_record(place)
        except StoreDamaged:
            lost.add(name)
            if name.endswith(".jsonl"):
                files.write_bytes(place, whole_lines(files.read_bytes(place)))
            else:
                files.remove(place)
    inventory = None if INVENTORY in lost else _read_inventory(url)
    names = files.names(url)
    kept = Inventory(max(map(_run_number, names), default=0)) if inventory is None else inventory
    if inventory is not None:
        lost |= {
            name
            for name in (*inventory.files, *inventory.journals)
            if name not in names and _answers_of(name) not in names
        }
    file_names = [name for name in names if name.endswith(".parquet") or name == TASK]
    journals = [name for name in names if name.endswith(".jsonl")]
    _write_inventory(url, replace(kept, files=tuple(file_names), journals=tuple(journals), coming=()))
    return sorted(lost)


def _replaced_by(url: str) -> list[str]:
    with files.open_table(url) as file:
        names: list[str] = json.loads(pq.read_metadata(file).metadata[REPLACES])
    return names
