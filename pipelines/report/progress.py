"""Progress: a live line on a terminal, a quiet log line now and then elsewhere."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Any, TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from pipelines.report.console import make_console
from pipelines.words import plural

T = TypeVar("T")
_LEAST_BYTES = 100_000  # of text that a rate is told of
QUIET_SECONDS = 10.0  # between two lines where there is no terminal


class Reporter:
    """Says what a run does. Everything goes to standard error, so that standard output holds results alone."""

    def __init__(self, console: Console | None = None, quiet: bool = False) -> None:
        self.console = console or make_console(stderr=True)
        self.quiet = quiet

    def say(self, text: str, style: str | None = None) -> None:
        """One line."""
        if not self.quiet:
            self.console.print(text, style=style, markup=False)

    def warn(self, text: str) -> None:
        """One line that matters, even when quiet."""
        self.console.print(text, style="yellow", markup=False)

    def stage(self, name: str, total: int, unit: str = "shard") -> Stage:
        """A stage of `total` steps."""
        return Stage(self, name, total, unit)


class Stage:
    """One stage: shows how far it is and how fast, and ends with one line that stays."""

    def __init__(self, reporter: Reporter, name: str, total: int, unit: str) -> None:
        self.reporter, self.name, self.total, self.unit = reporter, name, total, unit
        self.done, self.bytes = 0, 0
        self._bar: Progress | None = None
        self._task: Any = None

    def __enter__(self) -> Stage:
        self._start = self._said = time.monotonic()
        if self.reporter.console.is_terminal and not self.reporter.quiet:
            shown = (
                SpinnerColumn(),
                TextColumn("{task.description}"),
                BarColumn(24),
                MofNCompleteColumn(),
                TimeElapsedColumn(),
            )
            self._bar = Progress(
                *shown, TextColumn("{task.fields[rate]}"), console=self.reporter.console, transient=True
            )
            self._bar.start()
            self._task = self._bar.add_task(f"{self.name:<8}", total=self.total, rate="")
        return self

    def advance(self, steps: int = 1, text_bytes: int = 0) -> None:
        """Note finished steps and the text that they went through."""
        self.done += steps
        self.bytes += text_bytes
        if self._bar is not None:
            self._bar.update(self._task, advance=steps, rate=self._rate())
        elif time.monotonic() - self._said > QUIET_SECONDS:
            self._said = time.monotonic()
            self.reporter.say(f"{self.name}: {self.done} of {plural(self.total, self.unit)}{self._rate(', ')}")

    def _rate(self, before: str = "") -> str:
        seconds = time.monotonic() - self._start
        worth_telling = self.bytes >= _LEAST_BYTES and seconds > 0.2
        return f"{before}{self.bytes / 1e6 / seconds:.3g} MB/s of text" if worth_telling else ""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()
        if kind is None and self.total:
            seconds = time.monotonic() - self._start
            self.reporter.say(f"  {self.name:<8} {plural(self.total, self.unit)} in {seconds:.1f} s{self._rate(', ')}")
