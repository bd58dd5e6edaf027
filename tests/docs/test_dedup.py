"""The look-up of docs/dedup.md is run as it stands."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.docs.blocks import code
from tests.pipelines.stages.test_run import execute
from tests.pipelines.test_cli import gristmill
from tests.pipelines.test_fuzzy_dedup import near_copy
from tests.pipelines.test_index import DECIDE, add_night, texts

(LOOK_UP,) = code("docs/dedup.md", "python")


def test_a_new_text_finds_its_near_copy(
    tmp_path: Path,
    make_recipe: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    add_night(tmp_path, 0)
    execute(make_recipe(tmp_path, decide=DECIDE))
    monkeypatch.chdir(tmp_path)
    gristmill("index", "export", "web", "--datasketch", "web.parquet")
    (tmp_path / "new.txt").write_text(near_copy(texts(0, 20)[7]))
    capsys.readouterr()
    exec(compile(LOOK_UP.text, LOOK_UP.name, "exec"), {"__name__": "__main__"})
    assert capsys.readouterr().out == "['doc-0-7']\n"
