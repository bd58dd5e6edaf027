"""A format is one object: a row of the table is all that discovery, plans, runs and imports of labels need."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from gristmill.pipelines.planning.schema import recipe_schema
from gristmill.pipelines.sources.formats import FORMATS, Reading
from gristmill.pipelines.sources.formats.base import Format, by_lines, byte_parts, fixed
from gristmill.pipelines.sources.lines import LineReader
from gristmill.pipelines.sources.records import Record
from tests.pipelines.stages.test_run import MakeRecipe, execute, rows
from tests.pipelines.test_cli import gristmill


def pairs(reading: Reading, lines: LineReader) -> Iterator[Record]:
    """Records of lines `id=text`."""
    for line in lines:
        id, _, text = line.content.decode().partition("=")
        yield Record({"id": id, "text": text}, line.content, line.number, line.offset)


PAIRS = Format(
    "pairs", by_lines(pairs), fixed(("id", "text")), suffixes=(".pairs",), fields=("id", "text"), parts=byte_parts
)


@pytest.fixture
def recipe(tmp_path: Path, make_recipe: MakeRecipe, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A recipe over files of a new format, one of which is read in parts."""
    monkeypatch.setitem(FORMATS, "pairs", PAIRS)
    (tmp_path / "data").mkdir()
    for i in range(2):
        lines = [f"{i}-{n}=text number {n} of file {i}\n" for n in range(100 * (i + 1))]
        (tmp_path / "data" / f"{i}.pairs").write_text("".join(lines))
    return make_recipe(tmp_path, sources=[{"name": "docs", "path": "data", "part_bytes": 3000}])


def test_a_run_reads_files_of_a_new_format(recipe: Path) -> None:
    result = execute(recipe)
    assert result.shards == 4, "both files are read in two parts"
    expected = [(f"{i}-{n}",) for i in range(2) for n in range(100 * (i + 1))]
    assert sorted(rows(result, "id")) == sorted(expected)


def test_fields_of_a_new_format_are_checked_and_editors_know_it(recipe: Path) -> None:
    changed = recipe.read_text().replace("path: data", "path: data\n  metadata: [lang]\n  format: pairs")
    recipe.write_text(changed)
    assert "read as pairs, whose records have the fields id, text" in gristmill("plan", recipe, code=2).stderr
    assert "pairs" in json.dumps(recipe_schema())
    assert "did you mean pairs?" in gristmill("plan", recipe, "--set", "sources.docs.format=pair", code=2).stderr
