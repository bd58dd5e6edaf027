"""Recovery of an index after a killed run, before the next one begins.

A run commits its dataset, then its record, which names its generation of the index, then the generation. If it was
killed after the record, it is finished here; if before, its dataset version was taken back (`sweep_unfinished`).
"""

from __future__ import annotations

from gristmill.operators.errors import StoreDamaged
from gristmill.pipelines.index.generations import Addition
from gristmill.pipelines.storage import files
from gristmill.pipelines.storage.file_kinds import way_back
from gristmill.pipelines.store.fuzzy_index import RECORD, Generation, Index
from gristmill.pipelines.store.run_records import RunRecords


def recovered(records: RunRecords, name: str) -> Index:
    """Return the index after completing an interrupted commit. Only the holder of the writer lock may call this.

    Raises StoreDamaged where it lacks generations of finished runs: its record was lost, or an old one was restored.
    """
    index = Index(records.store, name)
    mine = [run.record["index"] for run in records.finished() if run.index == name]
    if mine:  # the newest generation: a run that completes another has the same one
        newest = max(mine, key=lambda held: Generation(**held["generation"]).number)
        generation = Generation(**newest["generation"])
        if generation.number > index.last + 1:
            url = files.join(index.url, RECORD)
            raise StoreDamaged(url, f"{url} lacks generations that runs have committed. {way_back(url)}")
        if generation.number > index.last:
            return Addition(index, newest["parameters"], generation).commit()
    index.sweep()
    return index
