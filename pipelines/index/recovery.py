"""What a killed run left of an index, mended before the next one begins.

A run commits its dataset, then its record, which names its generation of the index, then the generation. Killed after
the record, it is finished here. Killed before, its dataset version was taken back (`runs.sweep_unfinished`).
"""

from __future__ import annotations

from pipelines.index.generations import Addition
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
