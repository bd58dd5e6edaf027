"""`gristmill index info`: what the indexes of a store were made with, and what they hold."""

from __future__ import annotations

from collections import Counter
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from gristmill.pipelines.config.wording import plural
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


def show(found: list[dict[str, Any]], console: Console) -> None:
    """Print indexes: parameters, then a line for each generation."""
    for index in found:
        documents = sum(generation["documents"] for generation in index["generations"])
        console.print(f"index {index['name']}: {plural(documents, 'document')}", style="bold", markup=False)
        parts = (f"{name} {', '.join(v) if isinstance(v, list) else v}" for name, v in index["parameters"].items() if v)
        console.print(f"  {', '.join(parts)}", style="dim", markup=False)
        table = Table(box=None, pad_edge=False, header_style="bold")
        for heading in ("generation", "made by", "sources (shards)"):
            table.add_column(heading)
        for heading in ("documents", "MB"):
            table.add_column(heading, justify="right")
        for generation in index["generations"]:
            sources = ", ".join(f"{name} ({shards})" for name, shards in generation["sources"].items())
            cells = (generation["name"], generation["made_by"], sources, f"{generation['documents']:,}")
            table.add_row(*map(Text, cells), f"{generation['bytes'] / 1e6:,.1f}")
        console.print(table)
