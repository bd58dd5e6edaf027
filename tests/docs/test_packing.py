"""The examples of docs/packing.md are run as they stand, one after the other."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.docs.blocks import Block, code
from tests.pipelines.stages.test_run import execute

EXAMPLES = code("docs/packing.md", "python")


@pytest.fixture
def known(packed_recipe: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The names that examples find, beside the dataset that they read."""
    execute(packed_recipe, "name=pack")
    monkeypatch.chdir(packed_recipe.parent)
    return {"__name__": "__main__"}


def test_examples(known: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    run(known, [block for block in EXAMPLES if "torch" not in block.text])
    assert known["state"]["taken"] == 41 * 4 * 8, "two epochs of 654 sequences, in batches of 4 for each of 8 ranks"
    shown = capsys.readouterr().out
    assert "document_tokens" not in shown
    assert "pieces" in shown
    assert "360" in shown


@pytest.mark.lm
def test_the_example_of_torch(known: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    run(known, EXAMPLES)
    assert "torch.Size([4, 64])" in capsys.readouterr().out


def run(known: dict[str, Any], examples: list[Block]) -> None:
    for block in examples:
        exec(compile(block.text, block.name, "exec"), known)
