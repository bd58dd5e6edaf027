"""Consoles that print any text literally: markup, emoji names and escape sequences in names and ids have no effect."""

from __future__ import annotations

from collections.abc import Iterator
from typing import IO, Any

from rich.console import Console, ConsoleOptions, ConsoleRenderable, RenderHook
from rich.measure import Measurement
from rich.segment import Segment

from gristmill.pipelines.config.quoting import printable


def make_console(stderr: bool = False, file: IO[str] | None = None, width: int | None = None) -> Console:
    """Return a console on standard output, standard error or a file."""
    console = Console(stderr=stderr, file=file, width=width, highlight=False, soft_wrap=True, markup=False, emoji=False)
    console.push_render_hook(_Escaping())
    return console


class _Escaping(RenderHook):
    """Render hook that wraps everything printed."""

    def process_renderables(self, renderables: list[ConsoleRenderable]) -> list[ConsoleRenderable]:
        return [_Printable(renderable) for renderable in renderables]


class _Printable:
    """Something to print, with everything escaped that a terminal would act on."""

    def __init__(self, renderable: ConsoleRenderable) -> None:
        self.renderable = renderable

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Segment]:
        for segment in console.render(self.renderable, options):
            yield segment if segment.control else Segment(printable(segment.text), segment.style)

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Any:
        return Measurement.get(console, options, self.renderable)
