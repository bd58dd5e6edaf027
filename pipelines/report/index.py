"""`gristmill index info`: what the indexes of a store were made with, and what they hold."""

from __future__ import annotations

from collections import Counter
from typing import Any

from gristmill.pipelines.store.fuzzy_index import Index, index_names, open_index


def info(store: str, name: str | None = None) -> list[dict[str, Any]]:
    """Return one index of a store, or all. Raises RecipeError where there is none of that name, or none at all."""
    names = [name] if name is not None else [entry for entry in index_names(store) if Index(store, entry).exists]
    return [_info(open_index(store, entry)) for entry in names or ["web"]]


def _info(index: Index) -> dict[str, Any]:
    generations = []
    for generation in index.generations:
        sources = Counter(shard.source for shard in index.shards_of(generation))
        counts = {name: getattr(generation, name) for name in ("shards", "documents", "bytes")}
        generations.append({"name": generation.name, "made_by": generation.made_by, "sources": dict(sources), **counts})
    return {"name": index.name, "parameters": index.parameters, "generations": generations}
