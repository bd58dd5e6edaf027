"""The examples of docs/python.md are run as they stand, one after the other."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from gristmill.operators.table import OPERATORS
from tests.support import write_jsonl

PAGE = Path(__file__).parents[2] / "docs" / "python.md"


def test_the_examples_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [{"id": "plain", "text": "nothing but words"}, {"id": "noisy", "text": "## ** ##"}]
    write_jsonl(tmp_path / "data" / "docs.jsonl", [*rows, {"id": "again", "text": "nothing but words"}])
    monkeypatch.chdir(tmp_path)
    before = dict(OPERATORS)
    held: dict[str, Any] = {"__name__": "example"}
    try:
        for code in re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL):
            exec(compile(code, str(PAGE), "exec"), held)
    finally:
        OPERATORS.clear()
        OPERATORS.update(before)
    printed = capsys.readouterr().out
    assert re.search(r"^1 of 3 documents are in .*/store/datasets/clean/000001-", printed, re.MULTILINE)
    assert "{'rule': 'drop', 'documents': 1}" in printed
    assert re.search(r"^0\.\d+ drop$", printed, re.MULTILINE)
