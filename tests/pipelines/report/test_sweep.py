"""The curve of a limit: each point is what `what_if` says of that limit; which limit it is; files of the curve."""

from __future__ import annotations

import csv
import json
import sys
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import gristmill
from gristmill.operators.errors import RecipeError
from gristmill.pipelines.cli.main import app
from gristmill.pipelines.report.curve_file import writer_for
from tests.pipelines.stages.test_run import execute
from tests.support import make_documents, write_jsonl

RULES: list[Any] = [
    {"gopher_rules": {"min_words": 40, "min_stop_words": None}},
    {"drop": {"when": "score < 2 or gopher_words < 45", "name": "low"}},
    {"drop": {"when": "lang = 'de' and tokens < quantile(0.2)", "name": "short"}},
]


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recipe that ran over two sources."""
    folder = tmp_path_factory.mktemp("sweep")
    documents = make_documents(240)
    for i, name in enumerate(("docs-0", "docs-1", "web-0")):
        write_jsonl(folder / "data" / f"{name}.jsonl", documents[i::3])
    metadata = {"lang": "string", "score": "float"}
    sources = [{"name": name, "path": f"data/{name}-*", "metadata": metadata} for name in ("docs", "web")]
    head = {"version": 1, "name": "test", "store": "./store", "sources": sources, "measure": ["text_hash"]}
    path = folder / "recipe.yaml"
    path.write_text(json.dumps({**head, "decide": RULES, "write": {"columns": ["id"]}}))
    execute(path)
    return path


AFTER = (
    'decide=[{drop: {when: "score < 2", name: low}}, exact_dedup, {select: {by: score, method: top, documents: 90}}]'
)
LOCAL = "decide.short.when=lang = 'de' and tokens < 60"


@pytest.mark.parametrize(
    ("changes", "column", "rule", "key"),
    [
        ([LOCAL], "score", None, "decide.low.when=score < {} or gopher_words < 45"),
        ([], "gopher_words <", "gopher_rules", "decide.gopher_rules.min_words={}"),
        ([], "tokens", None, "decide.short.when=lang = 'de' and tokens < {}"),
        ([AFTER], "score", None, "decide.low.when=score < {}"),
    ],
)
def test_each_point_is_what_a_run_would_keep(
    recipe: Path, changes: list[str], column: str, rule: str | None, key: str
) -> None:
    loaded = gristmill.load_recipe(recipe, changes)
    low, high = (0.5, 4.5) if column == "score" else (20, 101)
    curve = gristmill.sweep(loaded, column, low, high, steps=3, rule=rule, workers=2)
    limits = [point.limit for point in curve.points]
    assert limits == ([0.5, 2.5, 4.5] if column == "score" else [20, 60, 101])
    for point in curve.points[::2]:
        after = gristmill.what_if(loaded, [key.format(f"{point.limit:g}")], examples=0).after
        assert (point.documents, point.tokens) == (after.kept, after.kept_tokens), point
        by_source = {g.value: g for g in after.groups if g.column == "source"}
        lost = {name: group.lost(r.name for r in after.rules) for name, group in by_source.items()}
        left = {name: (g.documents - lost[name][0], g.tokens - lost[name][1]) for name, g in by_source.items()}
        assert point.sources == left
    assert (curve.documents, curve.tokens) == (240, after.tokens)
    assert len({point.documents for point in curve.points}) > 1


def test_a_condition_may_be_added_after_all_rules(recipe: Path) -> None:
    curve = gristmill.sweep(recipe, "score", 2.5, 5.5, steps=2, rule="score < {} and lang = 'en'")
    rules = [*RULES, {"drop": "score < 5.5 and lang = 'en'"}]
    after = gristmill.what_if(recipe, [f"decide={json.dumps(rules)}"], examples=0).after
    assert (curve.now, curve.points[1].documents) == (None, after.kept)


@pytest.mark.parametrize(
    ("column", "rule", "message"),
    [
        ("scores", None, "the recipe has no column scores; did you mean score"),
        (
            "gopher_words",
            None,
            r"3 limits are on gopher_words: gopher_rules \(gopher_words < 40\), .*\(gopher_words > 10",
        ),
        ("gopher_words", "gopher_rules", "2 limits are on gopher_words: .* or the sign with the column"),
        ("score", "gopher_rules", "the rule gopher_rules does not compare score with a number"),
        ("score", "lo", "the recipe has no rule lo; did you mean low"),
        ("bytes", None, 'no rule of the recipe compares bytes with a number; give .*--rule "bytes < {}"'),
        ("score", "scores < {}", "unknown column scores"),
        ("score", "score < quality {}", "score < quality"),
    ],
)
def test_which_limit_is_told(recipe: Path, column: str, rule: str | None, message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        gristmill.sweep(recipe, column, 1, 2, rule=rule)


def test_the_command_and_its_files(recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    invoke: Callable[..., Any] = CliRunner().invoke
    arguments = ["sweep", str(recipe), "score", "0.5..4.5", "--steps", "5", "--quiet"]
    curve = gristmill.sweep(recipe, "score", 0.5, 4.5, steps=5)
    shown = invoke(app, arguments, env={"COLUMNS": "100"})
    assert shown.exit_code == 0, shown.output
    assert shown.stdout.startswith("test, low: score < limit, now 2\n")
    assert f"{curve.points[2].documents:,}" in shown.stdout.splitlines()[4]
    printed = json.loads(invoke(app, [*arguments, "--json"]).stdout)
    assert [p["sources"]["web"]["documents"] for p in printed["points"]] == [p.sources["web"][0] for p in curve.points]
    assert invoke(app, [*arguments, "--out", str(tmp_path / "curve.csv")]).exit_code == 0
    assert json.loads(writer_for("curve.json")(curve)) == printed
    rows = list(csv.DictReader((tmp_path / "curve.csv").open()))
    assert [int(row["documents"]) for row in rows if not row["source"]] == [p.documents for p in curve.points]
    assert ElementTree.fromstring(writer_for("curve.svg")(curve)).tag.endswith("svg")
    for wrong, message in ((["--out", "curve.pdf"], "a curve is written as .png, .svg, .csv"), ([], "0.5 is no range")):
        refused = invoke(app, [*arguments, *wrong] if wrong else ["sweep", str(recipe), "score", "0.5"])
        assert (refused.exit_code, message in refused.output) == (2, True), refused.output
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    refused = invoke(app, [*arguments, "--out", str(tmp_path / "curve.png")])
    assert refused.exit_code == 2
    assert "pip install 'gristmill[plot]', or write .svg" in refused.output


def test_a_png_of_the_curve(recipe: Path) -> None:
    content = writer_for("x.PNG")(gristmill.sweep(recipe, "score", 0.5, 4.5, steps=2))
    assert content.startswith(b"\x89PNG")
