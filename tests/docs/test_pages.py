"""What the pages say of commands, exit codes and each other is so."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import typer

from gristmill.operators.table import OPERATORS
from gristmill.pipelines.cli.common import EXIT_CODES, UNPUBLISHED
from gristmill.pipelines.cli.main import app
from tests.test_layout import LAYERS

ROOT = Path(__file__).parents[2]
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "deploy" / "README.md",
    *sorted((ROOT / "docs").rglob("*.md")),
]
COMMAND: Any = typer.main.get_command(app)
FOLDERS = ("operators", "pipelines", "tests", "configs", "benchmarks", "deploy")


def commands(page: Path) -> list[str]:
    """The lines of its console blocks that call gristmill, continued lines as one."""
    blocks = re.findall(r"```bash\n(.*?)```", page.read_text(), re.DOTALL)
    lines = "\n".join(blocks).replace("\\\n", " ").splitlines()
    return [
        line[line.index("gristmill ") :].partition(" || ")[0]
        for line in lines
        if re.match(r"(ray .* -- )?gristmill ", line)
    ]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    for link in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text()):
        assert (page.parent / link).exists(), link


def test_a_newcomer_gets_everywhere() -> None:
    """The README is short and leads to the page of contents, which leads to all others (test_site.py)."""
    text = PAGES[0].read_text()
    assert "(docs/README.md)" in text
    assert len(text.splitlines()) <= 120


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_commands_are_there_and_take_what_they_are_given(page: Path) -> None:
    for line in commands(page):
        _, *words = shlex.split(line, comments=True)
        command = COMMAND
        while hasattr(command, "commands"):
            command = command.commands[words.pop(0)]
        command.make_context(command.name, words)  # raises where an option is not known or an argument is missing


def test_the_table_of_exit_codes_is_whole() -> None:
    rows = re.findall(r"^\| ([\d, ]+) \|", (ROOT / "docs" / "store.md").read_text(), re.MULTILINE)
    told = {int(code) for row in rows for code in row.split(",")}
    assert told == {0, 1, UNPUBLISHED, *EXIT_CODES.values(), 128 + 1, 128 + 2, 128 + 15}


def test_all_operators_are_among_what_there_is() -> None:
    table = (ROOT / "docs" / "features.md").read_text().partition("\n\n## ")[0]
    assert not [name for name in OPERATORS if f"`{name}`" not in table]


def test_every_folder_states_its_law() -> None:
    for name in FOLDERS:
        text = (ROOT / name / "README.md").read_text()
        assert text.startswith("# ")
        assert name == "deploy" or 200 < len(text) < 700, f"{name}/README.md is a few sentences"


def test_files_that_pages_name_are_there() -> None:
    for page in [*PAGES, *(ROOT / name / "README.md" for name in FOLDERS)]:
        named = re.findall(r"`((?:operators|pipelines|tests|benchmarks|configs|gristmill)/[\w/.-]*)`", page.read_text())
        made = ("configs/data", "configs/target", "configs/models", "configs/store")  # by `make demo`
        assert not [name for name in named if not (ROOT / name).exists() and not name.startswith(made)], page


def test_the_drawing_of_the_layers_is_that_of_the_test() -> None:
    drawn = re.findall(r"^(\w+) +\S", (ROOT / "docs" / "design.md").read_text().partition("## Layers")[2], re.M)
    assert tuple(drawn[: len(LAYERS)]) == LAYERS[::-1]
