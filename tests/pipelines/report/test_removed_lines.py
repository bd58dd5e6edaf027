"""`explain` names the lines that transforms took out of a document, each after the rule that took it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from gristmill.operators.transforms.clean_lines import CleanLines
from gristmill.pipelines.cli.main import app
from gristmill.pipelines.report.explain import explain
from tests.operators.transforms.line_rules_reference import clean_lines_reference
from tests.pipelines.stages.test_run import execute
from tests.support import make_documents, write_jsonl

MakeRecipe = Callable[..., Path]
NOISE = "\nmenu\n3 likes\nThis line\u00a0stays here.\n\x1b[31mAA\n" + "\nShort" * 30


@pytest.fixture
def noisy(tmp_path: Path) -> Path:
    """A folder with documents of which some have lines of navigation."""
    documents = make_documents(6)
    for i, document in enumerate(documents):
        document["text"] += NOISE * (i % 2)
    write_jsonl(tmp_path / "data" / "docs-0.jsonl", documents)
    return tmp_path


def lines_of(noisy: Path, id: str) -> list[dict[str, str]]:
    (document,) = explain(str(noisy / "store"), id)
    (fate,) = document["fates"]
    lines: list[dict[str, str]] = fate["removed_lines"]
    return lines


@pytest.mark.parametrize("rules", ["c4", "refinedweb"])
def test_they_are_those_of_the_reference_of_what_earlier_transforms_left(
    noisy: Path, make_recipe: MakeRecipe, rules: Any
) -> None:
    execute(make_recipe(noisy, transform=["normalize_unicode", {"clean_lines": rules}, "mask_pii"]))
    operator = CleanLines(rules=rules)
    for document in make_documents(6)[:2]:
        text = document["text"] + NOISE * (document["id"] == "doc-0-00001")
        text = text.replace("\u00a0", " ").replace("\x1b", "")  # as normalize_unicode leaves it
        expected = clean_lines_reference(operator, text).removed_lines
        assert [(line["by"], line["line"]) for line in lines_of(noisy, document["id"])] == expected
        assert {line["transform"] for line in lines_of(noisy, document["id"])} <= {"clean_lines"}
    assert len(lines_of(noisy, "doc-0-00001")) > 30


def test_the_command_shows_some_and_counts_all(noisy: Path, make_recipe: MakeRecipe) -> None:
    execute(make_recipe(noisy, transform=[{"clean_lines": "refinedweb"}]))
    shown = CliRunner().invoke(app, ["explain", "doc-0-00001", "--store", str(noisy / "store")]).output
    lines = lines_of(noisy, "doc-0-00001")
    assert f"  clean_lines took out {len(lines)} lines: " in shown
    assert "    counters   3 likes\n" in shown
    assert r"\x1b[31mAA" in shown
    assert f"    ... and {len(lines) - 20} more; --json shows all" in shown
    untouched = CliRunner().invoke(app, ["explain", "doc-0-00000", "--store", str(noisy / "store")]).output
    assert "took out" not in untouched
    told = CliRunner().invoke(app, ["explain", "doc-0-00001", "--store", str(noisy / "store"), "--json"]).stdout
    assert json.loads(told)[0]["fates"][0]["removed_lines"] == lines


def test_without_its_source_the_rest_is_told(noisy: Path, make_recipe: MakeRecipe) -> None:
    execute(make_recipe(noisy, transform=[{"clean_lines": "refinedweb"}]))
    (noisy / "data" / "docs-0.jsonl").unlink()
    shown = CliRunner().invoke(app, ["explain", "doc-0-00001", "--store", str(noisy / "store")])
    assert shown.exit_code == 0
    assert "kept" in shown.output
    assert "the lines that went cannot be shown: " in shown.output
