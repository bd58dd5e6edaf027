"""`--progress json`: every line of standard error is an event of the schema, and the last one sums up."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import gristmill
from gristmill.pipelines.cli.main import app
from gristmill.pipelines.progress import events as event_lines
from gristmill.pipelines.progress.events import EventReporter

OF_A_STAGE = {
    "stage", "unit", "done", "total", "cached", "documents", "bytes", "seconds", "seconds_left", "memory_bytes"
}  # fmt: skip


def events(*arguments: str | Path, code: int = 0) -> list[dict[str, Any]]:
    done = CliRunner().invoke(app, [*map(str, arguments), "--progress", "json"])
    assert done.exit_code == code, done.output
    return [json.loads(line) for line in done.stderr.splitlines()]


def test_a_run_and_the_next(corpus: Path, make_recipe: Callable[..., Path]) -> None:
    recipe = make_recipe(corpus, decide=["exact_dedup"])
    told = events("run", recipe)
    assert {event["event"] for event in told} <= {"message", "progress", "stage", "summary"}
    measured = next(event for event in told if event["event"] == "stage" and event["stage"] == "measure")
    assert {*measured} == OF_A_STAGE | {"event", "state"}
    assert (measured["done"], measured["total"], measured["cached"], measured["documents"]) == (4, 4, 0, 400)
    assert all({*event} == OF_A_STAGE | {"event"} for event in told if event["event"] == "progress")
    summary = told[-1]
    assert summary["event"] == "summary"
    assert (summary["state"], summary["error"], summary["exit_code"]) == ("done", None, None)
    names = [stage["stage"] for stage in summary["stages"]]
    assert [name for name in names if name != "compile"] == ["fit", "measure", "decide", "write"]
    again = events("run", recipe, "--set", 'decide=[{drop: "gopher_words < 40"}, exact_dedup]')
    write = next(stage for stage in again[-1]["stages"] if stage["stage"] == "write")
    assert write["done"] == write["total"] == 1
    cached = events("run", make_recipe(corpus, file="other.yaml", name="other", decide=["exact_dedup"]))
    measured = next(stage for stage in cached[-1]["stages"] if stage["stage"] == "measure")
    assert (measured["total"], measured["cached"]) == (0, 4)


def test_an_error_is_the_summary(tmp_path: Path) -> None:
    (told,) = events("run", tmp_path / "nowhere.yaml", code=2)
    assert (told["event"], told["state"], told["exit_code"]) == ("summary", "failed", 2)
    assert "there is no such recipe" in told["error"]
    done = CliRunner().invoke(app, ["run", str(tmp_path / "nowhere.yaml")])
    assert done.stderr.startswith("error: "), "the next command speaks to people again"


def test_none_and_plain(corpus: Path, make_recipe: Callable[..., Path]) -> None:
    recipe = make_recipe(corpus, decide=["exact_dedup"])
    assert "measure" in CliRunner().invoke(app, ["run", str(recipe), "--progress", "plain"]).stderr
    again = CliRunner().invoke(app, ["run", str(recipe), "--set", "decide=[]", "--progress", "none"])
    assert again.stderr == ""


def test_events_of_a_stage_that_fails_and_of_one_that_hurries(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.StringIO()
    reporter = EventReporter(stream)
    reporter.warn("! \x1b[31mred\nline")
    with reporter.stage("write", 1000, "file") as stage:
        for _ in range(1000):
            stage.advance()
    monkeypatch.setattr(event_lines, "PAUSE", 0.0)
    with pytest.raises(ZeroDivisionError), reporter.stage("decide", 2, "rule") as stage:
        stage.advance(1 + 1 // 0 if stage.advance() is None else 0)
    reporter.summarise(1, "it failed")
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert lines[0] == {"event": "warning", "text": "! \x1b[31mred\nline"}
    assert "\x1b" not in stream.getvalue()
    assert sum(line.get("stage") == "write" for line in lines) < 20
    assert [line["state"] for line in lines if line["event"] == "stage"] == ["done", "failed"]
    assert [stage["done"] for stage in lines[-1]["stages"]] == [1000, 1]


class _Cells(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.rows: list[list[str]] = []
        self.tags: set[str] = set()

    def handle_starttag(self, tag: str, attributes: Any) -> None:
        self.tags.add(tag)
        if tag == "tr":
            self.rows.append([])

    def handle_data(self, data: str) -> None:
        if self.rows:
            self.rows[-1].append(data)


def test_a_notebook_shows_the_funnel(corpus: Path, make_recipe: Callable[..., Path]) -> None:
    rule = {"drop": {"when": "score > 3", "name": "<script>alert(1)</script>"}}
    source = {"name": "docs", "path": "data/docs-*", "metadata": {"score": "int"}}
    result = gristmill.run(make_recipe(corpus, sources=[source], decide=[rule, "exact_dedup"]))
    shown = _Cells()
    shown.feed(result._repr_html_())
    assert shown.tags == {"table", "thead", "tbody", "tr", "th", "td", "span", "strong", "p"}
    figures = {row[0]: row[1] for row in shown.rows[1:]}
    dropped = {f"- {rule.name}": f"{rule.dropped:,}" for rule in result.funnel.rules}
    assert figures == {"input": "400", **dropped, "kept": f"{result.funnel.kept:,}"}
