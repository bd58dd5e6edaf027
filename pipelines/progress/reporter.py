"""Progress reports: a live line on a terminal, a log line now and then elsewhere."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from gristmill.pipelines.config.wording import plural
from gristmill.pipelines.progress import meters, spans
from gristmill.pipelines.progress.console import make_console
from gristmill.pipelines.progress.reading import AT_WORK, Reached

T = TypeVar("T")
_LEAST_BYTES = 100_000  # of text before a rate is shown
#: Share of the work and seconds that must have passed before the time left is shown.
_LEAST_SHARE, _LEAST_SECONDS = 0.01, 2.0
_WATCH_SECONDS = 0.5  # between two looks at the steps under way
_NOWHERE = Reached()
QUIET_SECONDS = 10.0  # between two lines where there is no terminal


class Reporter:
    """Messages and stages of a run. Everything goes to standard error: standard output holds results alone."""

    def __init__(self, console: Console | None = None, quiet: bool = False, live: bool = True) -> None:
        spans.join_provider()
        self.console = console or make_console(stderr=True)
        self.quiet = quiet
        shows = self.console.is_terminal or (self.console.is_jupyter and find_spec("ipywidgets") is not None)
        self.live = live and shows  #: whether stages have a display; else they print lines

    def say(self, text: str, style: str | None = None) -> None:
        """Print one line, unless quiet."""
        if not self.quiet:
            self.console.print(text, style=style, markup=False)

    def warn(self, text: str) -> None:
        """Print one line that matters, even when quiet."""
        self.console.print(text, style="yellow", markup=False)

    def stage(self, name: str, total: int, unit: str = "shard", size: float = 0, cached: int = 0) -> Stage:
        """Return a stage of `total` steps; it shows the time left if `size`, the sum of their sizes, is given.

        `cached` steps beside them need not be done: earlier runs have.
        """
        return Stage(self, name, total, unit, size, cached)


class Stage:
    """One stage of a run: a live display of its progress and speed, and one line that stays at its end."""

    def __init__(self, reporter: Reporter, name: str, total: int, unit: str, size: float = 0, cached: int = 0) -> None:
        self.reporter, self.name, self.total, self.unit, self.size = reporter, name, total, unit, size
        self.cached = cached
        self.done, self.bytes, self.documents, self.through = 0, 0, 0, 0.0
        self._watched: Mapping[str, float] = {}
        self._ended = threading.Event()
        self._bar: Progress | None = None
        self._task: Any = None

    def __enter__(self) -> Stage:
        self._start = self._said = time.monotonic()
        meters.tell(meters.Progressed(self.name, self.total))
        if self.reporter.live and not self.reporter.quiet:
            shown = (
                SpinnerColumn(),
                TextColumn("{task.description}", markup=False),
                BarColumn(24),
                MofNCompleteColumn(),
                TimeElapsedColumn(),
            )
            self._bar = Progress(
                *shown, TextColumn("{task.fields[rate]}", markup=False), console=self.reporter.console, transient=True
            )
            self._bar.start()
            self._task = self._bar.add_task(f"{self.name:<8}", total=self.total, rate="")
        return self

    def watch(self, at_work: Mapping[str, float]) -> None:
        """Show steps under way in this process too (`progress.reading`); `at_work` has their sizes, by their names."""
        self._watched = at_work
        if not self.reporter.quiet:
            threading.Thread(target=self._keep_telling, name="progress", daemon=True).start()

    def _keep_telling(self) -> None:
        while not self._ended.wait(_WATCH_SECONDS):
            self.tell()

    def tell(self) -> None:
        """Show the progress: at once on a terminal, elsewhere if nothing was printed for QUIET_SECONDS."""
        if self._bar is not None:
            self._bar.update(self._task, rate=", ".join([*self._far(), *self._beside()]))
        elif time.monotonic() - self._said > QUIET_SECONDS:
            self._said = time.monotonic()
            far = ", ".join(self._far())
            self.reporter.say(f"{self.name}: {self.done} of {plural(self.total, self.unit)}{', ' if far else ''}{far}")

    def went_through(self, size: float) -> None:
        """Note the size of a step that has ended, even if it failed."""
        self.through += size

    def advance(self, steps: int = 1, text_bytes: int = 0, documents: int = 0, quarantined: int = 0) -> None:
        """Note finished steps, the text and documents that they processed, and records that are no documents."""
        self.done += steps
        self.bytes += text_bytes
        self.documents += documents
        if self._bar is not None:
            self._bar.update(self._task, advance=steps)
        meters.tell(meters.Progressed(self.name, self.total, steps, documents, text_bytes, quarantined))
        self.tell()

    def reached(self) -> tuple[Reached, float]:
        """Return how far the stage is, steps under way included (`share` is 0 where it is unknown), and its seconds."""
        under_way = [(size, AT_WORK.get(name, _NOWHERE)) for name, size in self._watched.items()]
        documents = self.documents + sum(step.documents for _, step in under_way)
        text = self.bytes + sum(step.text_bytes for _, step in under_way)
        through = self.through + sum(size * step.share for size, step in under_way)
        return Reached(documents, text, through / self.size if self.size else 0.0), time.monotonic() - self._start

    def seconds_left(self) -> float | None:
        """Return an estimate of the seconds that the stage still takes; None where it is too early for one."""
        reached, seconds = self.reached()
        if reached.share < _LEAST_SHARE or seconds < _LEAST_SECONDS:
            return None
        return seconds * max(0.0, 1 - reached.share) / reached.share

    def _far(self) -> list[str]:
        """Return documents, text, speed and the time left, as far as they are known."""
        (reached, _), left = self.reached(), self.seconds_left()
        documents, text = reached.documents, reached.text_bytes
        parts = [plural(documents, "document")] if documents else []
        parts += [f"{text / 1e6:,.0f} MB"] if self._watched and text >= 1e6 else []
        parts += [rate] if (rate := self._rate(text)) else []
        return parts + ([] if left is None else [f"{_in_words(left)} left"])

    def _beside(self) -> list[str]:
        """Return what a display shows besides: documents a second, this process's memory, what is cached."""
        reached, seconds = self.reached()
        parts = [f"{reached.documents / seconds:,.0f} documents/s"] if reached.documents and seconds > 0.2 else []
        memory = memory_bytes()
        parts += [] if memory is None else [f"{memory / 1e6:,.0f} MB memory"]
        return parts + ([f"{self.cached:,} cached"] if self.cached else [])

    def _rate(self, text: int) -> str:
        seconds = time.monotonic() - self._start
        worth_telling = text >= _LEAST_BYTES and seconds > 0.2
        return f"{text / 1e6 / seconds:.3g} MB/s of text" if worth_telling else ""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        what = None if kind is None else f"{kind.__name__}: {error}"
        meters.tell(meters.Progressed(self.name, self.total, ended=True, error=what))
        self._show_end(done=kind is None)

    def _show_end(self, done: bool) -> None:
        if self._bar is not None:
            self._bar.stop()
        if done and self.total:
            seconds, rate = time.monotonic() - self._start, self._rate(self.bytes)
            ended = f"{plural(self.total, self.unit)} in {seconds:.1f} s{', ' if rate else ''}{rate}"
            self.reporter.say(f"  {self.name:<8} {ended}")


def in_a_notebook() -> bool:
    """Return whether this process is the kernel of a notebook."""
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return getattr(shell, "kernel", None) is not None


def memory_bytes() -> int | None:
    """Return the memory that this process holds (resident set); None where the system does not say."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return None


def _in_words(seconds: float) -> str:
    """Return a duration, rounded as an estimate deserves: `40 s`, `12 min`, `3 h 20 min`."""
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"
