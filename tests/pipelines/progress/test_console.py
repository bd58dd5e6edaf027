"""Consoles print what they are given, escaped before it is laid out."""

from __future__ import annotations

import io

import pytest
from rich.table import Table

from gristmill.pipelines.progress.console import literal, make_console

#: What rich takes out of texts or acts on, and as what it is shown.
HOSTILE = {
    "\x1b]0;title\x07\u2028": r"\x1b]0;title\x07\u2028",
    "name\r": r"name\r",
    "\b\b": r"\x08\x08",
    "tab\t": r"tab\t",
    "[bold]:smile:[/]": "[bold]:smile:[/]",
}


@pytest.mark.parametrize(("name", "shown"), HOSTILE.items(), ids=[str(i) for i in range(len(HOSTILE))])
def test_a_name_is_shown_whole_in_a_line_and_in_a_table(name: str, shown: str) -> None:
    console = make_console(file=io.StringIO(), width=80)
    console.print(name)
    console.print(literal(name, "dim"))
    table = Table("name", "documents", box=None, pad_edge=False)
    table.add_row(name, "12")
    table.add_row("a", "345")
    console.print(table)
    written = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    assert written[:2] == [shown, shown]
    # the second column begins behind the longest name as it is shown
    width = max(len("name"), len(shown)) + 2
    assert [line[width:].rstrip() for line in written[2:]] == ["documents", "12", "345"]
    assert written[3].startswith(shown)
