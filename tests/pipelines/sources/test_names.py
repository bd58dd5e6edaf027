"""Names of files and folders that mean something to globs, to URLs or to the locale are names."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from gristmill.operators.errors import RecipeError
from gristmill.pipelines.sources.discover import discover
from gristmill.pipelines.sources.read import read_shard
from gristmill.pipelines.sources.spec import Source
from tests.pipelines.sources.reading import as_lines

LINES = as_lines([{"id": "a", "text": "a document"}])


def touch(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(LINES)


def names(folder: Path, path: str) -> list[str]:
    """The files of a path, each of which is read."""
    source = Source(name="docs", path=path)
    specs = discover([source], str(folder))
    assert all(batch.documents["id"].to_pylist() == ["a"] for spec in specs for batch in read_shard(spec, source))
    return [spec.name for spec in specs]


@pytest.mark.parametrize("name", ["[2024] x", "a*b", "what?", "[!x]", "[", "]", "a::b", "x#y", "[[]", "~", "%41", "文"])
@pytest.mark.parametrize("path", ["data", "data/*.jsonl", "data/**", "d?ta/a.json[lx]", "../*/data/a.jsonl"])
def test_a_recipe_lies_anywhere(tmp_path: Path, name: str, path: str) -> None:
    touch(tmp_path, f"{name}/data/a.jsonl")
    found = names(tmp_path / name, path)
    assert [os.path.normpath(file) for file in found] == ["data/a.jsonl"]


@pytest.mark.parametrize("path", ["[2024]/a.jsonl", "[2024]", "d::x/a:b.jsonl", "d::x", "d::x/*", "zip::a.jsonl"])
def test_a_path_is_taken_as_it_is(tmp_path: Path, path: str) -> None:
    touch(tmp_path, "[2024]/a.jsonl", "2/a.jsonl", "d::x/a:b.jsonl", "zip::a.jsonl")
    (found,) = names(tmp_path, path)
    assert (tmp_path / found).is_file()
    assert found.startswith(path.rstrip("*"))


@pytest.mark.parametrize(
    ("path", "written", "found"),
    [
        ("data[1]/*.jsonl", "data[[]1]", "data[1]/a.jsonl"),
        ("data[1]/x[ab]*.jsonl", "data[[]1]", "data[1]/x[ab]1.jsonl"),
        ("data[[]1]/x[ab]?.jsonl", "x[[]ab]?.jsonl", "data[1]/x[ab]1.jsonl"),
    ],
)
def test_how_to_write_brackets_in_a_glob(tmp_path: Path, path: str, written: str, found: str) -> None:
    touch(tmp_path, "data[1]/a.jsonl", "data[1]/x[ab]1.jsonl")
    part = next(part for part in path.split("/") if written.replace("[[]", "[") == part)
    with pytest.raises(RecipeError, match="nothing matches") as refused:
        names(tmp_path, path)
    assert f"write {written} for the name {part}" in str(refused.value)
    assert found in names(tmp_path, path.replace(part, written).replace("/x[ab]*", "/x[[]ab]*"))


@pytest.mark.parametrize("path", ["data", "data/*"])
def test_a_name_that_is_not_unicode_is_told(tmp_path: Path, path: str) -> None:
    touch(tmp_path, "data/a.jsonl")
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/data/caf\xe9.jsonl")).write_bytes(LINES)
    with pytest.raises(RecipeError, match="is not UTF-8; rename it"):
        names(tmp_path, path)


def test_names_that_the_locale_cannot_write(tmp_path: Path) -> None:
    """As in a bare container, or in cron."""
    touch(tmp_path, "däta/文.jsonl")
    recipe = tmp_path / "rezept-ä.yaml"
    recipe.write_text(
        "version: 1\nname: test\nstore: ./größe\nwrite: {}\nsources: [{name: docs, path: 'däta/文*'}]\n", "utf-8"
    )
    done = subprocess.run(
        [sys.executable, "-m", "gristmill", "plan", str(recipe), "--json"],
        env={**os.environ, "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert b'"files": 1' in done.stdout
