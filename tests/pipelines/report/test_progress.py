"""Progress: whole lines in a file, one line that lives on a terminal, nothing when quiet."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from pipelines.report import progress
from pipelines.report.progress import Reporter


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
    monkeypatch.setattr(progress, "QUIET_SECONDS", -1.0)
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
