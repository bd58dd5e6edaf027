"""Consoles that print any text literally: markup, emoji names and escape sequences in names and ids have no effect.

Text is escaped before it is laid out: afterwards a column would be too narrow for it, and rich has already taken out
what it takes for a control code or for white space at the end of a line.
"""

from __future__ import annotations

from typing import IO, Any

from rich.console import Console
from rich.text import Text

from gristmill.pipelines.config.quoting import printable


def make_console(stderr: bool = False, file: IO[str] | None = None, width: int | None = None) -> Console:
    """Return a console on standard output, standard error or a file."""
    return _LiteralConsole(
        stderr=stderr, file=file, width=width, highlight=False, soft_wrap=True, markup=False, emoji=False
    )


def literal(text: str, style: str = "", **options: Any) -> Text:
    """Return a text with a style of its own, escaped as consoles escape strings; `options` are those of `Text`."""
    return Text(printable(text), style, **options)


class _LiteralConsole(Console):
    """Console that escapes every string that it is to print, those in the cells of tables among them."""

    def render_str(self, text: str, **options: Any) -> Text:
        return super().render_str(printable(text), **options)
