"""Additions of a run to the index of its recipe."""

from __future__ import annotations

from gristmill.pipelines.decide import given_columns
from gristmill.pipelines.engine.base import Engine
from gristmill.pipelines.index.generations import Addition, Kept, key_files_for, write_generation
from gristmill.pipelines.planning.index_parameters import index_parameters, indexed_rule
from gristmill.pipelines.planning.state import StoreState
from gristmill.pipelines.stages.context import Measured
from gristmill.pipelines.store.fuzzy_index import GenerationFiles
from gristmill.pipelines.store.runs import Run


def remember(
    state: StoreState, measured: Measured, run: Run, content: str, kept: int, engine: Engine
) -> Addition | None:
    """Write down what a run kept (`kept` documents), to be committed once the run is finished.

    `measured` has the columns that rules gave; `content` is the digest of all that decided the run. None where no rule
    has an index.
    """
    plan, index, indexed = state.plan, state.index, indexed_rule(state.plan.rules)
    if indexed is None or index is None:
        return None
    position, memory = indexed
    cluster = given_columns(plan.rules)[position].names[0]
    at = GenerationFiles(index.folder(index.next_name(content)), key_files_for(memory.bands, kept))
    shards = [Kept(shard, shard.source, run.decisions(shard.ordinal)) for shard in measured.measures]
    generation = write_generation(at, run.name, memory, cluster, shards, engine)
    return Addition(index, index_parameters(memory, plan.transforms), generation)
