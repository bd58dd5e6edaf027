"""The mixture of docs/mixtures.md is planned and read as it stands there, with fewer tokens."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

import gristmill
from tests.docs.blocks import blocks, code
from tests.pipelines.stages.test_run import execute

MIXTURE = blocks("docs/mixtures.md")[0].text
(READING,) = code("docs/mixtures.md", "python")


def test_examples(packed_recipe: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    execute(packed_recipe, "name=web")
    monkeypatch.chdir(packed_recipe.parent)
    for name in ("code", "books"):
        shutil.copytree("store/datasets/web", f"store/datasets/{name}")
    mixture = MIXTURE
    for written, small in (("20B", "60k"), ("2B", "6k"), ("2048", "64"), ("train-2026-11", '"1"')):
        mixture = mixture.replace(written, small)
    Path("mix.yaml").write_text(mixture)
    plan = gristmill.mix("mix.yaml")
    assert [part.asked for part in plan.parts] == [37_800, 16_200, 6_000]
    assert abs(plan.tokens - 60_000) <= 3 * 32
    known: dict[str, Any] = {}
    exec(compile(READING.text, READING.name, "exec"), known)
    assert known["state"]["taken"] >= len(known["mixture"])
    assert f"{plan.tokens:,} tokens" in capsys.readouterr().out
