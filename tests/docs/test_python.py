"""The examples of docs/python.md are run as they stand, one after the other."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

from gristmill.operators.table import OPERATORS, PLUGINS
from tests.docs.blocks import ROOT, code
from tests.support import write_jsonl


def test_the_examples_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [{"id": "plain", "text": "nothing but words"}, {"id": "noisy", "text": "## ** ##"}]
    write_jsonl(tmp_path / "data" / "docs.jsonl", [*rows, {"id": "again", "text": "nothing but words"}])
    monkeypatch.chdir(tmp_path)
    before = dict(OPERATORS)
    held: dict[str, Any] = {"__name__": "example"}
    try:
        for block in code("docs/python.md", "python"):
            exec(compile(block.text, block.name, "exec"), held)
    finally:
        OPERATORS.clear()
        OPERATORS.update(before)
    printed = capsys.readouterr().out
    assert re.search(r"^1 of 3 documents are in .*/store/datasets/clean/000001-", printed, re.MULTILINE)
    assert "{'rule': 'drop', 'documents': 1}" in printed
    assert re.search(r"^0\.\d+ drop$", printed, re.MULTILINE)


def test_the_entry_point_is_one_that_is_looked_for() -> None:
    """`tests/plugin_example` is installed with one; this is the same table."""
    (written,) = (tomllib.loads(block.text) for block in code("docs/python.md", "toml"))
    example = tomllib.loads((ROOT / "tests" / "plugin_example" / "pyproject.toml").read_text())
    assert [*written["project"]["entry-points"]] == [*example["project"]["entry-points"]] == [PLUGINS]
