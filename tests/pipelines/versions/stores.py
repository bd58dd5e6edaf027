"""Small stores with several versions, for the tests of what is done with them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from tests.pipelines.stages.test_run import execute
from tests.pipelines.test_fuzzy_dedup import document
from tests.support import make_documents, sentences, write_jsonl

WRITE = {"columns": ["id", "text", "source", "tokens"], "shard_bytes": 20_000}


def write_recipe(folder: Path, decide: list[Any], **keys: Any) -> Path:
    """A recipe over data/*.jsonl."""
    recipe = {
        "version": 1,
        "name": "web",
        "store": "./store",
        "sources": [{"name": "docs", "path": "data/*.jsonl", "license": "cc0-1.0"}],
        "measure": ["gopher"],
        "decide": decide,
        "write": WRITE,
        **keys,
    }
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump(recipe, sort_keys=False))
    return path


def plain_versions(folder: Path) -> Path:
    """Three versions: of two files, of three, and of those with a rule that takes more."""
    documents = make_documents(120)
    for i in range(2):
        write_jsonl(folder / "data" / f"{i}.jsonl", documents[40 * i : 40 * i + 40])
    recipe = write_recipe(folder, [{"drop": "gopher_words < 40"}, "exact_dedup"])
    execute(recipe)
    write_jsonl(folder / "data" / "2.jsonl", documents[80:])
    execute(recipe)
    execute(recipe, "decide.drop.when=gopher_words < 60")
    return recipe


def add_night(recipe: Path, night: int, documents: int = 10) -> list[str]:
    """Two files of documents that are unlike all others; their ids."""
    ids = []
    for shard in range(2):
        numbers = range(1000 * night + 100 * shard, 1000 * night + 100 * shard + documents)
        made = [document(f"doc-{number}", sentences(number, 80)) for number in numbers]
        write_jsonl(recipe.parent / "data" / f"{night}-{shard}.jsonl", made)
        ids += [str(row["id"]) for row in made]
    return ids


def nights(folder: Path, number: int = 3) -> Path:
    """Versions of a dataset with an index, one for each night."""
    recipe = write_recipe(folder, [{"drop": "gopher_words < 5"}, {"fuzzy_dedup": {"index": {"name": "web"}}}])
    for night in range(number):
        add_night(recipe, night)
        execute(recipe)
    return recipe


def store_of(recipe: Path) -> str:
    return str(recipe.parent / "store")
