"""What a killed run left of an index, mended before the next one begins.

A run commits its dataset, then its record, which names its generation of the index, then the generation. Killed after
the record, it is finished here. Killed before, it has decided nothing that anyone could ask for: its dataset version
is taken back, else its documents would be in the next version again, where the same command does not come next.
"""

from __future__ import annotations

from pipelines.index.generations import Addition
from pipelines.state.datasets import Dataset
from pipelines.state.index import Generation, Index
from pipelines.state.runs import finished_runs


def recovered(store: str, name: str) -> Index:
    """The index, mended. Only the holder of the writer lock may call this."""
    index = Index(store, name)
    mine = (run.record["index"] for run in finished_runs(store) if (run.record.get("index") or {}).get("name") == name)
    if (newest := next(mine, None)) is not None:
        generation = Generation(**newest["generation"])
        if generation.number > index.last:
            return Addition(index, newest["parameters"], generation).commit()
    index.sweep()
    return index


def retract_unrecorded(store: str, dataset: str) -> None:
    """Take back the versions of a dataset that no finished run made. Only the holder of the writer lock may."""
    recorded = [run.record["version"] for run in finished_runs(store) if run.record["name"] == dataset]
    held = Dataset(store, dataset)
    for version in held.versions():
        if version.name not in recorded:
            held.retract(version, next(iter(recorded), None))
