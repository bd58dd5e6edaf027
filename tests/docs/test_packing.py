"""The examples of docs/packing.md are run as they stand, one after the other."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from tests.docs.blocks import code
from tests.pipelines.stages.test_run import execute


def test_examples(packed_recipe: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    execute(packed_recipe, "name=pack")
    monkeypatch.chdir(packed_recipe.parent)
    known: dict[str, Any] = {"__name__": "__main__"}
    codes = code("docs/packing.md", "python")
    assert len(codes) == 4
    for block in codes:
        if "torch" not in block.text or find_spec("torch") is not None:
            exec(compile(block.text, block.name, "exec"), known)
    assert known["state"]["taken"] == 41 * 4 * 8, "two epochs of 654 sequences, in batches of 4 for each of 8 ranks"
    shown = capsys.readouterr().out
    assert "document_tokens" not in shown
    assert "pieces" in shown
    assert "360" in shown
