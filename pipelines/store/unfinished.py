"""Runs that never finished, and what they left: swept by whoever writes to the store next."""

from __future__ import annotations

from gristmill.operators.errors import StoreDamaged
from gristmill.pipelines.storage import files
from gristmill.pipelines.store.datasets import Dataset
from gristmill.pipelines.store.fuzzy_index import Index, index_names
from gristmill.pipelines.store.lock import check_held
from gristmill.pipelines.store.run_records import RunRecords
from gristmill.pipelines.store.runs import FOLDER, RECORD, VERSION


def sweep_unfinished(records: RunRecords) -> None:
    """Remove the folders of runs that never finished, and unfinished files anywhere in the store.

    They are the newest ones, since each run does this when it begins. A version that such a run with an index announced
    and committed is taken back: no record has the decisions for it. Raises StoreDamaged where the record of a run
    that an index builds on is lost: that run did finish. Only the holder of the writer lock may call this.
    """
    store = records.store
    check_held(store)
    files.sweep(store)
    records.look_again()
    for name in reversed(records.names):
        url = files.join(store, FOLDER, name)
        if (lost := _lost(records, name)) is None:
            return
        for index in index_names(store):
            if name in Index(store, index).runs:
                raise _lost_record(store, name, index, lost)
        _take_back(records, url)
        files.remove(url)


def remove_leftovers(records: RunRecords) -> None:
    """Remove folders of runs that have no record and that no index names: their removal was interrupted.

    Runs that never finished are among them, and must have been taken back before: `sweep_unfinished`. Only the holder
    of the writer lock may call this.
    """
    store = records.store
    check_held(store)
    named = {run for index in index_names(store) for run in Index(store, index).runs}
    for name in records.names:
        if name not in named and _lost(records, name) == "gone":
            files.remove(files.join(store, FOLDER, name))


def check_records(records: RunRecords, index: Index) -> None:
    """Raise StoreDamaged where a run that an index builds on has lost its record; its whole folder may be missing."""
    for name in records.names:
        if name in index.runs and (lost := _lost(records, name)) is not None:
            raise _lost_record(records.store, name, index.name, lost)


def _lost_record(store: str, run: str, index: str, lost: str) -> StoreDamaged:
    url = files.join(store, FOLDER, run, RECORD)
    return StoreDamaged(
        url,
        f"{url} is {lost}, and the index {index} holds what that run kept, which no run decides again. Nothing was "
        "touched. Restore the file from a backup",
    )


def _lost(records: RunRecords, name: str) -> str | None:
    """Return `gone` or `damaged`, or None where the record of a run is whole."""
    try:
        return "gone" if records.run(name) is None else None
    except StoreDamaged:
        return "damaged"


def _take_back(records: RunRecords, run_url: str) -> None:
    """Retract the version that an unfinished run with an index announced, where it was committed."""
    try:
        record = files.read_record(files.join(run_url, VERSION))
    except (FileNotFoundError, StoreDamaged):
        return
    if (
        record.get("index", "") is None
    ):  # without an index the next run decides everything again, and may find this version
        return
    dataset = Dataset(records.store, record["dataset"])
    version = dataset.named(record["version"])
    if version.committed and version.name not in {run.record["version"] for run in records.finished(dataset.name)}:
        dataset.retract(version)
