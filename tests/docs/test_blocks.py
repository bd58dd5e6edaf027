"""Every block of code of every page is run by a test, or says why it is not; YAML is what its reader takes."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from gristmill.pipelines.label.task import read_task
from gristmill.pipelines.readers.mix_plan import load_options
from gristmill.pipelines.recipe.recipe import Recipe, read_recipe
from tests.docs.blocks import ROOT, RUN_BY, YAML_BY, Block, blocks, code, pages

YAML = [block for page in pages() for block in blocks(page) if block.language == "yaml" and block.mark is None]
YAML = [block for block in YAML if (block.page, "yaml") not in RUN_BY]
#: What a part of a recipe, a task or a mixture is set into.
RECIPE = {"version": 1, "name": "part", "store": "./store", "write": {}}
TASK = {"version": 1, "name": "part", "instruction": "Rate.", "answer": {"choice": ["Sports", "Business"]}}
MIXTURE = {"version": 1, "name": "part", "length": 64, "tokens": "60k"}


@pytest.mark.parametrize("page", pages())
def test_every_block_is_run_or_says_why_not(page: str) -> None:
    for block in blocks(page):
        assert block.language, f"{block.name}: fence it, and name its language (`text` for what is printed)"
        if block.language == "text":
            assert block.mark is None, f"{block.name}: what is printed needs no mark"
        elif block.mark is None:
            runs = RUN_BY.get((page, block.language), YAML_BY if block.language == "yaml" else None)
            assert runs, (
                f"{block.name}: no test runs it; name one in tests/docs/blocks.py, or mark it: <!-- not run: ... -->"
            )
        else:
            assert len(block.mark.split()) > 2, f"{block.name}: say why"


def test_the_tests_that_are_named_take_the_blocks() -> None:
    for (page, language), module in RUN_BY.items():
        source = (ROOT / module).read_text()
        assert f'"{page}"' in source, page
        assert re.search(rf'code\(("{page}"|page), "{language}"\)', source), (page, language)
        assert code(page, language)


def test_printed_text_has_no_commands() -> None:
    """Else a command could hide from the tests by its block's language."""
    for page in pages():
        for block in blocks(page):
            if block.language == "text":
                assert not re.search(r"^(\$|gristmill |kubectl |pip |import |version: 1$)", block.text, re.M), (
                    block.name
                )


@pytest.mark.parametrize("block", YAML, ids=lambda block: block.name)
def test_yaml_is_what_its_reader_takes(block: Block, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("LABEL_URL", "LABEL_KEY", "LABEL_MODEL"):
        monkeypatch.setenv(name, "http://localhost:1/v1")
    monkeypatch.chdir(tmp_path)
    Path("thresholds.yaml").write_text("by: lang\nminimum: {gopher_words: {en: 50}}\n")
    for written in alternatives(block):
        value = yaml.safe_load(written)
        given = {"decide": value} if isinstance(value, list) else value
        text = written if "version" in given else yaml.safe_dump({**surroundings(given), **given})
        if "parts" in given:
            Path("mix.yaml").write_text(text)
            assert load_options("mix.yaml").parts
        elif {"annotators", "instruction"} & {*given}:
            assert read_task(text, block.name, ".").task.annotators
        else:
            assert {*given} <= {*Recipe.model_fields}
            assert read_recipe(text, block.name, ".").recipe


def alternatives(block: Block) -> list[str]:
    """The text of a block; line by line where each line says the same otherwise."""
    lines = block.text.splitlines()
    keys = {line.partition(":")[0] for line in lines}
    return lines if len(keys) == 1 and len(lines) > 1 else [block.text]


def surroundings(given: dict[str, Any]) -> dict[str, Any]:
    """What a part needs around it to be whole."""
    source = {"name": "a", "path": "a.jsonl"} | ({"format": "warc"} if "extract" in given else {})
    return MIXTURE if "parts" in given else TASK if "annotators" in given else {**RECIPE, "sources": [source]}
