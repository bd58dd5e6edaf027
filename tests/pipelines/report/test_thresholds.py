"""Thresholds by group: quantiles against DuckDB's, the file that a rule takes, what is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import duckdb
import pytest
import yaml
from typer.testing import CliRunner

from gristmill.operators.errors import RecipeError
from gristmill.pipelines.cli.main import app
from gristmill.pipelines.recipe.recipe import load_recipe
from gristmill.pipelines.report.explain import explain, sentence
from gristmill.pipelines.report.funnel import remarks
from gristmill.pipelines.report.query import query
from gristmill.pipelines.report.thresholds import GroupQuantiles, group_quantiles
from tests.pipelines.stages.test_run import execute
from tests.support import make_documents, write_jsonl

MakeRecipe = Callable[..., Path]
COLUMNS = ["gopher_words", "gopher_alpha_words", "score"]
QUANTILES = [0.0, 0.05, 0.3, 0.5, 0.95, 1.0]
LANGUAGES = ["en", "de", "no", "it's", None, "rare"]


@pytest.fixture
def recipe(tmp_path: Path, make_recipe: MakeRecipe) -> Path:
    """A recipe that ran over documents of several languages, some scores of which are null or NaN."""
    documents = make_documents(600)
    for i, document in enumerate(documents):
        document["lang"] = LANGUAGES[5 if i < 7 else i % 5]
        document["score"] = None if i % 11 == 0 else float("nan") if i % 13 == 0 else i % 17 / 7 - 1
    for k in range(3):
        write_jsonl(tmp_path / "data" / f"docs-{k}.jsonl", documents[k::3])
    sources = [{"name": "docs", "path": "data/docs-*", "metadata": {"lang": "string", "score": "float"}}]
    path = make_recipe(tmp_path, sources=sources, measure=["gopher"], decide=[])
    execute(path)
    return path


def derived(recipe: Path, columns: list[str], quantiles: list[float], least: int = 50) -> GroupQuantiles:
    return group_quantiles(load_recipe(str(recipe)), columns, quantiles, "lang", least)


def test_quantiles_are_duckdbs(recipe: Path) -> None:
    result = derived(recipe, COLUMNS, QUANTILES)
    documents = query(load_recipe(str(recipe)).store, "FROM documents")
    expected, small = {}, set()
    for column in COLUMNS:
        rows = duckdb.sql(
            f"SELECT lang, quantile_disc({column}, {QUANTILES}), count(*) FROM documents "
            f"WHERE {column} IS NOT NULL AND NOT isnan({column}::DOUBLE) GROUP BY lang"
        ).fetchall()
        for lang, values, n in rows:
            if lang is None or n < 50:
                small.add((lang, column, n))
            else:
                expected |= {(lang, column, q): (v, n) for q, v in zip(QUANTILES, values, strict=True)}
    assert documents.num_rows == 600
    found = {(row.value, row.column, row.quantile): (row.threshold, row.documents) for row in result.quantiles}
    assert found == expected
    assert {(group.value, group.column, group.documents) for group in result.left_out} == small
    assert {lang for lang, _, _ in small} == {None, "rare"}


def test_the_rule_drops_what_lies_beyond_the_thresholds_of_the_file(recipe: Path, make_recipe: MakeRecipe) -> None:
    folder = recipe.parent
    result = derived(recipe, ["gopher_words", "score"], [0.1, 0.9])
    (folder / "thresholds.yaml").write_text(result.to_yaml())
    written = yaml.safe_load((folder / "thresholds.yaml").read_text())
    assert set(written["minimum"]["score"]) == {"en", "de", "no", "it's"}
    assert written["documents"]["gopher_words"]["no"] == 119
    recipe.write_text(recipe.read_text().replace("decide: []", "decide: [{thresholds: thresholds.yaml}]"))
    told = execute(recipe)
    (rule,) = told.funnel.rules
    store = load_recipe(str(recipe)).store
    limits = {(row.value, row.column, row.quantile): row.threshold for row in result.quantiles}
    sides = (("gopher_words", 0.1), ("score", 0.1), ("gopher_words", 0.9), ("score", 0.9))
    dropped = 0
    for row in query(store, "SELECT * FROM documents JOIN decisions USING (address)").to_pylist():
        reason = None
        for column, quantile in sides:
            limit, value = limits.get((row["lang"], column, quantile)), row[column]
            beyond = None not in (limit, value) and (value < limit if quantile < 0.5 else value > limit)
            if beyond and reason is None:
                sign, what = ("<", "minimum") if quantile < 0.5 else (">", "maximum")
                reason = (f"{column} {sign} {what} of its lang", float(value), float(limit))
        assert (row["condition"], row["value"], row["limit"]) == (reason or (None, None, None)), row
        dropped += reason is not None
    assert rule.dropped == dropped > 0
    assert sum(rule.details["conditions"].values()) == dropped
    assert rule.details["not_judged"]["documents"] == sum(g.documents for g in result.left_out if g.column != "score")
    assert any("gopher_words < minimum of its lang" in remark for remark in remarks(rule))
    gone = query(store, "SELECT id FROM decisions WHERE condition LIKE 'gopher_words <%' LIMIT 1").to_pylist()[0]["id"]
    (fate,) = explain(store, gone)[0]["fates"]
    assert sentence(fate).startswith("dropped by thresholds: gopher_words < minimum of its lang (value ")


def test_another_content_of_the_file_decides_anew(recipe: Path) -> None:
    file = recipe.parent / "thresholds.yaml"
    recipe.write_text(recipe.read_text().replace("decide: []", "decide: [{thresholds: thresholds.yaml}]"))
    kept = []
    for words in (0, 100):
        file.write_text(f"minimum: {{gopher_words: {{en: {words}}}}}")
        kept.append(execute(recipe).funnel.kept)
    assert kept[0] == 600 > kept[1]


def test_the_command(recipe: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.yaml"
    arguments = ["thresholds", str(recipe), "--column", "gopher_words", "--quantile", "0.05", "--least", "50"]
    result = CliRunner().invoke(app, [*arguments, "--out", str(out)], env={"COLUMNS": "200"})
    assert result.exit_code == 0, result.output
    assert "left out: rare, 7 documents with gopher_words, fewer than 50" in result.stdout
    assert "left out: where lang is null, 119 documents" in result.stdout
    printed = json.loads(CliRunner().invoke(app, [*arguments, "--json"]).stdout)
    assert printed == derived(recipe, ["gopher_words"], [0.05]).to_json() | {
        name: list(printed[name]) for name in ("quantiles", "left_out")
    }
    limits = {row["value"]: row["threshold"] for row in printed["quantiles"]}
    assert yaml.safe_load(out.read_text())["minimum"] == {"gopher_words": limits}


@pytest.mark.parametrize(
    ("columns", "by", "message"),
    [
        (["gopher_word"], "lang", "the recipe has no column gopher_word; did you mean gopher_words"),
        (["lang"], "lang", "the column lang is string; thresholds are of numbers"),
        (["score"], "score", "the column score is double; groups are told apart by text"),
        ([], "lang", "name a column and a quantile"),
    ],
)
def test_what_cannot_be_derived_is_refused(recipe: Path, columns: list[str], by: str, message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        group_quantiles(load_recipe(str(recipe)), columns, [0.1], by, 1)


def test_what_is_not_measured_is_refused(recipe: Path) -> None:
    write_jsonl(recipe.parent / "data" / "docs-3.jsonl", make_documents(5))
    with pytest.raises(RecipeError, match="1 shard of 4 are not measured yet: `gristmill run`"):
        derived(recipe, ["gopher_words"], [0.1])
    recipe.write_text(recipe.read_text().replace("store: ./store", "store: ./other"))
    with pytest.raises(RecipeError, match="4 shards of 4 are not measured yet"):
        derived(recipe, ["gopher_words"], [0.1])


def test_two_limits_for_one_thing_make_no_file(recipe: Path) -> None:
    result = derived(recipe, ["gopher_words"], [0.1, 0.2])
    with pytest.raises(RecipeError, match="a file has one minimum for a column"):
        result.to_yaml()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, r"recipe\.yaml:\d+: .*: there is no such file"),
        ("a: b", r"recipe\.yaml:\d+: limits\.yaml holds no limits"),
        ("minimum: {gopher_words: {en: many}}", r"limits\.yaml: minimum\.gopher_words\.en is not as it should be"),
        ("minimum: {gopher_words: {en: .inf}}", "is not as it should be"),
        ("minimum: [", r"limits\.yaml:1"),
    ],
)
def test_a_file_that_cannot_be_used_is_told(tmp_path: Path, make_recipe: MakeRecipe, text: str, message: str) -> None:
    if text is not None:
        (tmp_path / "limits.yaml").write_text(text)
    recipe = make_recipe(tmp_path, decide=[{"thresholds": {"file": "limits.yaml"}}])
    with pytest.raises(RecipeError, match=message):
        load_recipe(str(recipe))
