"""Progress: whole lines in a file, one line that lives on a terminal, nothing when quiet."""

from __future__ import annotations

import io
import os
import pty

import pytest
from rich.console import Console

from gristmill.pipelines.progress import reporter as reporting
from gristmill.pipelines.progress.reading import Reached
from gristmill.pipelines.progress.reporter import Reporter


def console(terminal: bool = False) -> Console:
    return Console(file=io.StringIO(), width=80, force_terminal=terminal, highlight=False)


def printed(reporter: Reporter) -> str:
    assert isinstance(reporter.console.file, io.StringIO)
    return reporter.console.file.getvalue()


def test_a_stage_ends_with_one_line() -> None:
    reporter = Reporter(console())
    with reporter.stage("measure", 3) as stage:
        for _ in range(3):
            stage.advance()
    assert printed(reporter).startswith("  measure  3 shards in 0.")
    assert printed(reporter).count("\n") == 1


def test_a_file_gets_a_line_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reporting, "QUIET_SECONDS", -1.0)
    reporter = Reporter(console())
    with reporter.stage("write", 2, "file") as stage:
        stage.advance()
        stage.advance()
    assert printed(reporter).splitlines()[:2] == ["write: 1 of 2 files", "write: 2 of 2 files"]


def test_a_terminal_gets_a_bar_that_goes_away() -> None:
    reporter = Reporter(console(terminal=True))
    with reporter.stage("decide", 2, "rule") as stage:
        stage.advance()
    assert "1/2" in printed(reporter)
    assert "decide   2 rules in" in printed(reporter).rsplit("\x1b", 1)[-1]


def test_quiet_leaves_only_warnings() -> None:
    reporter = Reporter(console(terminal=True), quiet=True)
    with reporter.stage("measure", 2) as stage:
        stage.advance(2)
    reporter.say("nothing")
    reporter.warn("something [bold]")
    assert "something [bold]" in printed(reporter)
    assert "nothing" not in printed(reporter)
    assert "measure" not in printed(reporter)


def test_a_stage_without_steps_or_with_an_error_says_nothing() -> None:
    reporter = Reporter(console())
    with reporter.stage("fit", 0):
        pass
    with pytest.raises(ZeroDivisionError), reporter.stage("measure", 2):
        raise ZeroDivisionError
    assert printed(reporter) == ""


class Clock:
    """Time that passes when a test says so."""

    now = 0.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    held = Clock()
    monkeypatch.setattr(reporting, "time", held)
    monkeypatch.setattr(reporting, "_WATCH_SECONDS", 3600.0)
    return held


def test_the_time_that_is_left_is_known_within_a_large_shard(monkeypatch: pytest.MonkeyPatch, clock: Clock) -> None:
    at_work = {"large": Reached(500, 3_000_000, 0.5)}
    monkeypatch.setattr(reporting, "AT_WORK", at_work)
    reporter = Reporter(console())
    with reporter.stage("measure", 2, size=100.0) as stage:
        stage.watch({"large": 60.0, "small": 40.0})
        clock.now = 5.0
        stage.tell()  # something was said a moment ago
        clock.now = 30.0
        stage.tell()
        at_work.clear()
        stage.went_through(60.0)
        stage.advance(text_bytes=6_000_000, documents=1000)
        clock.now = 60.0
        stage.tell()
    far = "0 of 2 shards, 500 documents, 3 MB, 0.1 MB/s of text, 70 s left"
    further = "1 of 2 shards, 1,000 documents, 6 MB, 0.1 MB/s of text, 40 s left"
    assert printed(reporter).replace("\n", " ").split("measure: ")[1:3] == [
        f"{far} ",
        f"{further}   measure  2 shards in 60.0 s, 0.1 MB/s of text ",
    ]


def test_shards_that_are_cached_are_no_part_of_the_time_that_is_left(clock: Clock) -> None:
    reporter = Reporter(console())
    with reporter.stage("measure", 1, size=40.0) as stage:  # of those that are to be measured alone
        clock.now = 30.0
        stage.went_through(10.0)
        stage.advance(0)
    assert "90 s left" not in printed(reporter)
    assert "2 min left" in printed(reporter)


@pytest.mark.parametrize(("seconds", "words"), [(0.2, "1 s"), (89, "89 s"), (600, "10 min"), (12_000, "3 h 20 min")])
def test_times_to_come_are_told_as_exactly_as_they_are_known(seconds: float, words: str) -> None:
    assert reporting._in_words(seconds) == words


def test_a_terminal_shows_what_is_under_way_without_a_shard_being_done(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reporting, "_WATCH_SECONDS", 0.01)
    monkeypatch.setattr(reporting, "_LEAST_SECONDS", 0.0)
    monkeypatch.setattr(reporting, "AT_WORK", {"large": Reached(12_345, 7_000_000, 0.5)})
    ours, theirs = pty.openpty()
    with os.fdopen(theirs, "w") as terminal:
        reporter = Reporter(Console(file=terminal, width=120))
        shown = b""
        with reporter.stage("measure", 1, size=1.0) as stage:
            stage.watch({"large": 1.0})
            while b"left" not in shown:
                shown += os.read(ours, 4096)
    os.close(ours)
    assert b"12,345 documents, 7 MB" in shown
