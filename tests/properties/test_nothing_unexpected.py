"""Whatever recipes, sources and stores are made of, no command ends by an error that gristmill does not know.

Valid ones are changed at random, the same way for the same seed, and commands run on them. An example is named by its
seed: `mutated_recipe(random.Random(seed))` is what a failure is about.
"""

from __future__ import annotations

import copy
import gzip
import json
import random
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from typer.testing import CliRunner

from gristmill.pipelines.cli.main import app
from tests.support import sentences

#: What stands in the place of a value: other types, extremes, names of other things.
VALUES: list[Any] = [
    None, True, False, 0, 1, -1, 2, 7, 2**31, 2**63, 2**64, -(2**70), 10**30, 0.5, -0.5, 1.5, 1e-300, 1e300,
    float("nan"), float("inf"), float("-inf"), "", " ", "x", "0", "1", "50k", "1e9", "256MB", "-1MB", "true", "null",
    "id", "text", "source", "tokens", "bytes", "row", "address", "content_id", "lang", "score", "nested", "minhash",
    "gopher_words", "first", "longest", "best: score", "best: lang", "best: ", "random", "jsonl", "parquet", "csv",
    "wet", "auto", "é\u0301", "\U0001f600", "\u202e", "a" * 3000, "a b", "a.b", "../x", "data", "data/*", "data/none-*",
    "data/docs.jsonl", "data/[", "**", "memory://x", "s3:/", "://", "{}", "${HOME}", "%", "'", '"', "drop",
    "exact_dedup", "fuzzy_dedup", "select", "score < 3", "score < quantile(0.5)", "quantile(lang, 0.5) = 'x'",
    "quantile(2) < 1", "1/0 > score", "lang < 3", "(", "score <", "cast(lang as int) > 3", "nested.a > 1",
    "count(*) > 1", "random() < 0.5", "lang || 1", "score = 'x'", "not null", "score in ()", "score in (1, 2)",
    "year(lang) > 1", "score ** 1e9 > 1", "-score < 9223372036854775808", "#", "a: b", [], {}, [[]], [{}], [None],
    ["id"], ["id", "id"], ["text", "id", "lang"], {"x": 1}, {"column": "lang", "shares": {"en": 2}},
    {"column": "score", "shares": {"1": 0.5}}, {"name": "i"}, {"field": "nested.a", "type": "int"}, [1, "a", None],
    {"": ""},
]  # fmt: skip
SOURCES: list[dict[str, Any]] = [
    {"name": "docs", "path": "data/docs.jsonl", "metadata": {"lang": "string", "score": "float", "n": "int"}},
    {"name": "more", "path": "data/more.parquet", "id": "id", "metadata": {"lang": "string", "score": "float"}},
    {"name": "table", "path": "data/t.csv.gz", "format": "csv", "metadata": ["lang"]},
    {"name": "notes", "path": "data/*.txt", "format": "text"},
]
RULES: list[Any] = [
    {"drop": "gopher_words < 3"},
    {"drop": {"when": "score < quantile(0.2) or lang = 'xx'", "name": "low"}},
    {"gopher_rules": {"min_words": 5, "min_stop_words": None, "languages": ["en"]}},
    {"c4_rules": {"min_sentences": 2}},
    "fineweb_rules",
    "exact_dedup",
    {"exact_dedup": {"keep": "best: score", "by": "lang", "name": "by_lang"}},
    {"fuzzy_dedup": {"threshold": 0.8}},
    {"paragraph_dedup": {"limit": 2}},
    {"select": {"by": "score", "documents": 20}},
    {"select": {"by": "random", "fraction": 0.5, "name": "half", "quotas": {"column": "lang", "shares": {"en": 0.5}}}},
    {"select": {"by": "score", "method": "top", "tokens": 500, "name": "best"}},
]
TRANSFORMS: list[Any] = [["normalize_unicode"], [{"clean_lines": {"rules": "dclm", "min_words": 4}}]]
MEASURES: list[Any] = ["gopher", "page_statistics", "tokens", "text_hash", {"minhash": {}}, "paragraph_hashes"]


def write_sources(folder: Path) -> None:
    """Small files of several formats, with values that are rare."""
    folder.mkdir(parents=True)
    scores = [1.5, None, 1e300, -1e300, 0, "x", 3, -0.0, 1e-320, True]
    rows: list[dict[str, Any]] = [
        {
            "id": f"d{i}",
            "text": sentences(i % 25, 5 + i),
            "lang": ["en", "de", None, 3][i % 4],
            "score": scores[i % 10],
            "n": i,
            "nested": {"a": i},
        }
        for i in range(40)
    ]
    rows += [{"id": None, "text": ""}, {"id": "d1", "text": "\u0000 \ud800".encode("utf-8", "replace").decode()}, {}]
    lines = [json.dumps(row) for row in rows] + ["{", "[]", '{"id": 1, "text": 5}']
    (folder / "docs.jsonl").write_text("\n".join(lines))
    table = pa.table(
        {
            "id": [f"p{i}" for i in range(20)],
            "text": [sentences(i, 30) for i in range(20)],
            "lang": pa.array(["en"] * 20),
            "score": pa.array([float(i) for i in range(20)]),
        }
    )
    pq.write_table(table, folder / "more.parquet")
    held = "id,text,lang\n" + "".join(f'c{i},"{sentences(i, 8)}",de\n' for i in range(10))
    (folder / "t.csv.gz").write_bytes(gzip.compress(held.encode()))
    (folder / "a.txt").write_text(sentences(3, 20))
    (folder / "empty.txt").write_text("")


def valid_recipe(draw: random.Random) -> dict[str, Any]:
    """A recipe in which nothing is wrong yet."""
    recipe: dict[str, Any] = {"version": 1, "name": "fuzzed", "store": "store"}
    recipe["sources"] = copy.deepcopy(draw.sample(SOURCES, draw.randint(1, 3)))
    recipe["sources"][:0] = [] if any(s["name"] == "docs" for s in recipe["sources"]) else [copy.deepcopy(SOURCES[0])]
    if draw.random() < 0.3:
        recipe["transform"] = copy.deepcopy(draw.choice(TRANSFORMS))
    recipe["measure"] = draw.sample(MEASURES, draw.randint(0, 2))
    recipe["decide"] = copy.deepcopy(draw.sample(RULES, draw.randint(0, 4)))
    recipe["limits"] = {
        "rejects": 1.0,
        "unreadable_shards": draw.choice([0, 5]),
        "source_loss": draw.choice([0.5, 1.0]),
    }
    recipe["report"] = {"by": draw.choice([["lang"], ["source", "score"], []])}
    recipe["write"] = draw.choice([{}, {"columns": ["id", "text", "lang"]}, {"shard_bytes": 1000}])
    return recipe


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The paths of all values below one."""
    entries = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in entries:
        yield (*path, key)
        yield from places(inner, (*path, key))


def mutated_recipe(draw: random.Random) -> str:
    """The text of a recipe with one to three things changed; those that lead out of the folder are left."""
    recipe = valid_recipe(draw)
    for _ in range(draw.randint(1, 3)):
        path = draw.choice(list(places(recipe)))
        holder: Any = recipe
        for key in path[:-1]:
            holder = holder[key]
        key = path[-1]
        change = draw.choice(["replace", "replace", "replace", "remove", "wrap", "rename", "repeat", "move"])
        if change == "replace":
            holder[key] = copy.deepcopy(draw.choice(VALUES))
        elif change == "remove":
            del holder[key]
        elif change == "wrap":
            holder[key] = draw.choice([[holder[key]], {"x": holder[key]}, [holder[key], holder[key]]])
        elif change == "rename" and isinstance(holder, dict):
            holder[str(draw.choice(VALUES))[:50]] = holder.pop(key)
        elif change == "repeat" and isinstance(holder, list):
            holder.insert(key, copy.deepcopy(holder[key]))
        elif change == "move":
            holder[key] = copy.deepcopy(recipe.get(draw.choice(list(recipe))))
    text = yaml.safe_dump(recipe, sort_keys=False, allow_unicode=draw.random() < 0.5)
    if draw.random() < 0.15:
        at = draw.randrange(len(text))
        text = (
            text[:at] + draw.choice(["", "\t", "*", "&a ", "- ", "{", "\n", ": ", "!x ", "|", "\x01"]) + text[at + 1 :]
        )
    return text


def ended(folder: Path, *arguments: str) -> str:
    """What a command said. It ends by an exit code of its own, and by no error that is not known."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        result = CliRunner().invoke(app, list(arguments))
    said = result.stdout + result.stderr
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    assert result.exit_code in (0, 1, 2, 3), said
    for sign in ("error: unexpected", "does not know", "please report", "Traceback", "do not add up"):
        assert sign not in said, said
    return said


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("fuzz")
    write_sources(folder / "data")
    return folder


def try_recipe(corpus: Path, folder: Path, seed: int) -> None:
    shutil.copytree(corpus / "data", folder / "data")  # the recipe may say that the store is there
    (folder / "recipe.yaml").write_text(mutated_recipe(random.Random(seed)))
    ended(folder, "plan", "recipe.yaml")
    ended(folder, "run", "recipe.yaml", "--workers", "1")


@pytest.mark.parametrize("seed", range(20))
def test_recipes(corpus: Path, tmp_path: Path, seed: int) -> None:
    try_recipe(corpus, tmp_path, seed)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(1000, 2500))
def test_many_recipes(corpus: Path, tmp_path: Path, seed: int) -> None:
    try_recipe(corpus, tmp_path, seed)


def spoil(draw: random.Random, content: bytes) -> bytes:
    """Bytes that were changed, cut, repeated, or replaced."""
    at = draw.randrange(len(content) + 1)
    changes = [
        lambda: content[:at],
        lambda: content[at:],
        lambda: content[:at] + bytes(draw.randrange(256) for _ in range(8)) + content[at + 8 :],
        lambda: content[:at] + content,
        lambda: b"",
        lambda: content[:at] + b"\x00" * 20 + content[at:],
        lambda: gzip.compress(content),
        lambda: content.decode("latin-1").encode("utf-16"),
        lambda: content.replace(b"\n", b"\r"),
        lambda: content.replace(b'"', b"'"),
        lambda: content.replace(b":", b";"),
        lambda: bytes(draw.randrange(256) for _ in range(300)),
    ]
    return draw.choice(changes)()


def try_sources(corpus: Path, folder: Path, seed: int) -> None:
    draw = random.Random(seed)
    shutil.copytree(corpus / "data", folder / "data")
    for path in draw.sample(sorted((folder / "data").iterdir()), 2):
        path.write_bytes(spoil(draw, path.read_bytes()))
    rules = draw.sample(RULES, 3)
    recipe = {"version": 1, "name": "fuzzed", "store": "store", "sources": SOURCES, "decide": rules, "write": {}}
    recipe["limits"] = {"rejects": 1.0, "unreadable_shards": draw.choice([0, 4])}
    (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    ended(folder, "run", "recipe.yaml", "--workers", "1", "--examples", "2")


@pytest.mark.parametrize("seed", range(5))
def test_sources(corpus: Path, tmp_path: Path, seed: int) -> None:
    try_sources(corpus, tmp_path, seed)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(1000, 1300))
def test_many_sources(corpus: Path, tmp_path: Path, seed: int) -> None:
    try_sources(corpus, tmp_path, seed)


@pytest.fixture(scope="module")
def used(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a recipe that ran."""
    folder = tmp_path_factory.mktemp("used")
    shutil.copytree(corpus / "data", folder / "data")
    recipe = {"version": 1, "name": "fuzzed", "store": "store", "sources": SOURCES, "write": {}}
    recipe |= {"decide": ["exact_dedup", {"fuzzy_dedup": {"index": {"name": "seen"}}}], "limits": {"rejects": 1.0}}
    (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    ended(folder, "run", "recipe.yaml", "--workers", "1")
    return folder


def try_store(used: Path, folder: Path, seed: int) -> None:
    draw = random.Random(seed)
    shutil.copytree(used, folder, dirs_exist_ok=True)
    for _ in range(draw.randint(1, 3)):
        path = draw.choice(sorted(path for path in (folder / "store").rglob("*") if path.is_file()))
        if draw.random() < 0.3:
            path.unlink()
        else:
            path.write_bytes(spoil(draw, path.read_bytes()))
    changed = ["--set", "decide=[{drop: gopher_words < 9}]"] if draw.random() < 0.5 else []
    ended(folder, "verify", "--store", "store")
    ended(folder, "query", "FROM documents", "--store", "store")
    ended(folder, "query", "FROM losses", "--store", "store")
    ended(folder, "explain", "d3", "--store", "store")
    ended(folder, "run", "recipe.yaml", "--workers", "1", *changed)
    ended(folder, "clusters", "--store", "store")
    ended(folder, "report", "--store", "store")


@pytest.mark.parametrize("seed", range(3))
def test_stores(used: Path, tmp_path: Path, seed: int) -> None:
    try_store(used, tmp_path, seed)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(1000, 1200))
def test_many_stores(used: Path, tmp_path: Path, seed: int) -> None:
    try_store(used, tmp_path, seed)
