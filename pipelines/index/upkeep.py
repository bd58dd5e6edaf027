"""Upkeep of an index: shards taken out, generations merged. Later runs see the index before a change or after it."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from gristmill.operators.base import digest_of
from gristmill.operators.errors import RecipeError
from gristmill.pipelines.config.wording import did_you_mean
from gristmill.pipelines.engine.base import Engine
from gristmill.pipelines.index.generations import key_files_for, merge
from gristmill.pipelines.index.recovery import recovered
from gristmill.pipelines.store.fuzzy_index import Generation, GenerationFiles, HeldShard, Index, open_index
from gristmill.pipelines.store.lock import writer_lock
from gristmill.pipelines.store.run_records import RunRecords


def compact(store: str, name: str, engine: Engine) -> Index:
    """Merge all generations of an index: runs give the same results and read fewer files. Returns the new index."""
    with writer_lock(store):
        open_index(store, name)
        index = recovered(RunRecords(store), name)
        if len(index.generations) < 2:
            return index
        shards = sorted(index.held.values(), key=lambda shard: shard.ordinal)
        generation = _merged(index, index.generations, shards, "compaction", 0, engine)
        return index.commit(index.parameters, [generation])


def remove_generation(store: str, name: str, generation: str) -> Index:
    """Remove a generation from an index: its shards can be decided again. Returns the new index.

    Raises RecipeError where there is no such generation.
    """
    with writer_lock(store):
        open_index(store, name)
        index = recovered(RunRecords(store), name)
        generations = [entry for entry in index.generations if entry.name != generation]
        if len(generations) == len(index.generations):
            names = [entry.name for entry in index.generations]
            raise RecipeError(f"the index {name} has no generation {generation}{did_you_mean(generation, names)}")
        return index.commit(index.parameters, generations)


def remove_source(store: str, name: str, source: str, engine: Engine) -> Index:
    """Remove the shards of a source from an index: they can be decided again. Returns the new index.

    Raises RecipeError where the index holds no shard of that source.
    """
    with writer_lock(store):
        open_index(store, name)
        index = recovered(RunRecords(store), name)
        sources = {shard.source for shard in index.held.values()}
        if source not in sources:
            raise RecipeError(f"the index {name} holds no shard of a source {source}{did_you_mean(source, sources)}")
        gone = {shard.ordinal for shard in index.held.values() if shard.source == source}
        return without_shards(index, gone, engine)


def without_shards(index: Index, gone: Collection[int], engine: Engine) -> Index:
    """Take shards out of an index: they can be decided again. Returns the new index.

    Only the holder of the writer lock may call this.
    """
    generations: list[Generation] = []
    for generation in index.generations:
        shards = index.shards_of(generation)
        kept_shards = [shard for shard in shards if shard.ordinal not in gone]
        if len(kept_shards) == len(shards):
            generations.append(generation)
        elif kept_shards:
            generations.append(_merged(index, [generation], kept_shards, generation.made_by, len(generations), engine))
    return index.commit(index.parameters, generations)


def _merged(
    index: Index, parts: Sequence[Generation], shards: Sequence[HeldShard], made_by: str, others: int, engine: Engine
) -> Generation:
    """Write a new generation of some shards of several, without committing it; `others` are named before it."""
    content = digest_of([[part.name for part in parts], [shard.ordinal for shard in shards]])
    key_files = key_files_for(index.parameters["bands"], sum(shard.documents for shard in shards))
    at = GenerationFiles(index.folder(index.next_name(content, others)), key_files)
    return merge(at, made_by, list(map(index.files_of, parts)), shards, engine)
