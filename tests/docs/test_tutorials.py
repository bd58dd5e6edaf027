"""The tutorials, block by block, as a newcomer goes through them after `make demo`."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from tests.docs.blocks import Block, blocks, code
from tests.docs.shell import sh

pytestmark = pytest.mark.xdist_group("newcomer")  # the demo is made once


@pytest.fixture
def follow(checkout: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    """Goes through blocks in their order: writes files, runs commands and programs; gives what they print."""
    monkeypatch.chdir(checkout)

    def run(*chosen: list[Block]) -> str:
        printed = ""
        for block in sorted((block for some in chosen for block in some), key=lambda block: block.line):
            if block.title:
                Path(block.title).write_text(block.text)
            elif block.language == "bash":
                printed += sh(checkout, block.text)
            else:
                capsys.readouterr()
                exec(compile(block.text, block.name, "exec"), {"__name__": "__main__"})
                printed += capsys.readouterr().out
        return printed

    return run


def test_a_laptop_in_five_minutes(follow: Any, checkout: Path) -> None:
    printed = follow(code("docs/tutorials/laptop.md", "bash"), code("docs/tutorials/laptop.md", "python"))
    assert "dropped by" in printed
    assert "dropped by gopher_rules before" in printed, "of the two versions"
    assert re.search(r"^000001-\w+ \d+ \['id',", printed, re.MULTILINE), "readers were moved back"


def test_from_warc_to_a_dataset(follow: Any, checkout: Path) -> None:
    page = "docs/tutorials/warc.md"
    printed = follow(code(page, "bash"), code(page, "yaml"), code(page, "python"))
    for line in next(block for block in blocks(page) if block.language == "text").text.splitlines():
        assert " ".join(line.split()) in " ".join(printed.split()), "the table of the page"
    assert re.search(r"^\d\d pages; 0 with the footer$", printed, re.MULTILINE)


def test_from_labels_to_a_classifier(follow: Any, checkout: Path) -> None:
    page = "docs/tutorials/classifier.md"
    printed = follow(code(page, "bash"), code(page, "yaml"), code(page, "python"))
    assert "score of" in printed
    report = json.loads((checkout / "models" / "topic.bin.report.json").read_text())
    assert report["test"]["accuracy"] > 0.8


def test_every_night_on_kubernetes(follow: Any, checkout: Path) -> None:
    printed = follow(code("docs/tutorials/kubernetes.md", "bash"), code("docs/tutorials/kubernetes.md", "yaml"))
    assert "held back: 5" in printed
