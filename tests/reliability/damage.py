"""Stores that are damaged on purpose, and what is done to them then: each trial ends found, or harmless."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from gristmill.operators.errors import GristmillError
from gristmill.pipelines.engine import open_engine
from gristmill.pipelines.progress.reporter import Reporter
from gristmill.pipelines.recipe.recipe import load_recipe
from gristmill.pipelines.report.query import query
from gristmill.pipelines.stages.run import run
from gristmill.pipelines.storage import files
from gristmill.pipelines.storage.file_kinds import kind_of
from gristmill.pipelines.store.datasets import Dataset
from gristmill.pipelines.store.run_records import RunRecords
from tests.support import make_documents, sentences, write_jsonl

#: What is done to a file: the new content from the old, None for a file that is removed.
DAMAGES: dict[str, Callable[[bytes, random.Random], bytes | None]] = {
    "bit flip": lambda content, draw: _flipped(content, draw),
    "cut": lambda content, draw: content[: draw.randrange(len(content))],
    "deleted": lambda content, draw: None,
}
QUERIES = (
    "SELECT * EXCLUDE (address) FROM documents ORDER BY ALL",
    "SELECT * EXCLUDE (address, survivor) FROM decisions ORDER BY ALL",
    "SELECT rule, size, similarity FROM clusters ORDER BY ALL",
    "SELECT * EXCLUDE (ordinal) FROM rejects ORDER BY ALL",
    "SELECT dataset, version, current, rows FROM datasets ORDER BY ALL",
    "SELECT * FROM night ORDER BY ALL",
)


def _flipped(content: bytes, draw: random.Random) -> bytes:
    other = bytearray(content)
    other[draw.randrange(len(other))] ^= 1 << draw.randrange(8)
    return bytes(other)


def write_corpus(folder: Path, *, index: bool) -> Path:
    """Two nights' shards (the second's aside, in `next/`), a target, and a recipe with every kind of state."""
    documents = make_documents(240)
    for i, text in enumerate(sentences(7, 60) for _ in range(20)):
        documents.append({"id": f"copy-{i}", "text": f"{text} {i}", "lang": "en"})
    for i in range(4):
        write_jsonl(folder / "data" / f"docs-{i}.jsonl", documents[i * 65 : (i + 1) * 65])
    with open(folder / "data" / "docs-1.jsonl", "a") as file:
        file.write("not a record\n")
    write_jsonl(folder / "next" / "docs-9.jsonl", make_documents(40, seed=5))
    write_jsonl(folder / "target" / "t.jsonl", make_documents(20, seed=7))
    measure = ["gopher", {"importance": {"target": "target/*", "buckets": 1024}}]
    fuzzy = {"fuzzy_dedup": {"index": {"name": "web"}} if index else {}}
    select = [] if index else [{"select": {"by": "importance", "documents": 150, "seed": 1}}]
    recipe = {
        "version": 1,
        "name": "night",
        "store": "./store",
        "sources": [{"name": "docs", "path": "data/docs-*", "metadata": ["lang"]}],
        "transform": ["normalize_unicode"],
        "measure": measure,
        "decide": [{"drop": {"when": "gopher_words < 40", "name": "short"}}, "exact_dedup", fuzzy, *select],
        "write": {"shard_bytes": "40KB"},
    }
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump(recipe, sort_keys=False))
    return path


def execute(recipe: Path, *overrides: str) -> None:
    """Run a recipe in this process, quietly."""
    run(load_recipe(str(recipe), overrides), partial(open_engine, "local", 2), Reporter(quiet=True))


def same_run(recipe: Path) -> pa.Table:
    """Run the same recipe again."""
    execute(recipe)
    return dataset(recipe)


def next_night(recipe: Path) -> pa.Table:
    """Run it with one more shard."""
    shutil.copytree(recipe.parent / "next", recipe.parent / "data", dirs_exist_ok=True)
    execute(recipe)
    return dataset(recipe)


def changed_rule(recipe: Path) -> pa.Table:
    """Run it with another threshold."""
    execute(recipe, "decide.short.when=gopher_words < 60")
    return dataset(recipe)


def ask(recipe: Path) -> list[pa.Table]:
    """Ask all that can be asked."""
    return [query(str(recipe.parent / "store"), sql) for sql in QUERIES]


ACTIONS: dict[str, Callable[[Path], object]] = {
    "same run": same_run,
    "next night": next_night,
    "changed rule": changed_rule,
    "query": ask,
}


def dataset(recipe: Path) -> pa.Table:
    """What readers get: the rows of the current version and, where there is an index, of those before it."""
    store = str(recipe.parent / "store")
    versions = dict.fromkeys(stands.run.record["version"] for stands in RunRecords(store).standing("night"))
    found = Dataset(store, "night")
    assert found.current == next(iter(versions))
    names = sorted(path for name in versions for path in Path(found.url, name).glob("*.parquet"))
    return pa.concat_tables(pq.read_table(path) for path in names)


@dataclass
class Trial:
    """A file of a store, damaged, and what happened then."""

    path: str  #: below the store
    damage: str
    action: str
    seed: int

    def __str__(self) -> str:
        return f"{self.path}, {self.damage} ({self.seed}), {self.action}"


class Stage:
    """A store as an undisturbed run left it, to be damaged again and again; and what each action gives on it."""

    def __init__(self, folder: Path, *, index: bool) -> None:
        self.index = index
        self.whole, self.work = folder / "whole", folder / "work"
        recipe = write_corpus(self.work, index=index)
        execute(recipe)
        shutil.copytree(self.work, self.whole)
        self.expected = {name: action(self.copy()) for name, action in ACTIONS.items()}
        store = self.whole / "store"
        self.files = sorted(str(p.relative_to(store)) for p in store.rglob("*") if p.is_file())

    def copy(self) -> Path:
        """The recipe in the folder as the run left it: files with their times, at the paths that the store knows."""
        shutil.rmtree(self.work, ignore_errors=True)
        shutil.copytree(self.whole, self.work)
        files._CHECKED.clear()
        return self.work / "recipe.yaml"

    def kinds(self) -> dict[str, list[str]]:
        """The files of the store by kind."""
        found: dict[str, list[str]] = {}
        for path in self.files:
            kind = kind_of(path)
            assert kind is not None, f"{path} is of no kind"
            found.setdefault(kind.name, []).append(path)
        return found

    def damage(self, trial: Trial) -> Path:
        """Damage a file of the copy; returns its path."""
        path = self.work / "store" / trial.path
        content = DAMAGES[trial.damage](path.read_bytes(), random.Random(trial.seed))
        if content is None:
            path.unlink()
        else:
            path.write_bytes(content)
        return path

    def run(self, trial: Trial) -> str:
        """`found` or `harmless`; anything else is what went wrong."""
        recipe = self.copy()
        path = self.damage(trial)
        try:
            given = ACTIONS[trial.action](recipe)
        except GristmillError as error:
            named = path.name in str(error) or path.parent.name in str(error)
            return "found" if named else f"an error that does not name the file: {error}"
        except Exception as error:
            return f"{type(error).__name__}: {error}"
        return "harmless" if given == self.expected[trial.action] else "another result, and no error"
