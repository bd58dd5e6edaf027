"""Names and ids that mean something to markup, SQL, globs or a terminal are shown as what they are, and do nothing."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner, Result

from gristmill.pipelines.cli import common
from gristmill.pipelines.cli.main import app
from gristmill.pipelines.config.quoting import printable
from tests.support import sentences, write_jsonl

#: Pieces that have hurt other tools, and characters at large.
PIECES = st.sampled_from(
    [
        "[/red]", "[bold]", "[/]", ":smile:", "\x1b[31m", "\x1b]0;title\x07", "\x9b2J", "\r", "\b\b", "\x00",
        "'", '"', "--", "; DROP TABLE documents; --", "$$", "\\", "%", "{}", "{x}", "*", "?", "[a-z]", "[2024]",
        "::", "file://", "~", "\u202e", "\u2028", "\u0301", "\ufeff", "\U0001f600", "\u6587", "e", "name",
    ]
)  # fmt: skip
NAMES = st.lists(PIECES, min_size=1, max_size=4).map("".join)
#: Each example runs a dozen commands.
WITHOUT_SHRINKING = (Phase.explicit, Phase.reuse, Phase.generate)
#: What no terminal is to receive: our own colours are off where output is no terminal.
RAW = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


@pytest.fixture(autouse=True)
def wide(monkeypatch: pytest.MonkeyPatch) -> None:
    """No line is broken: the console has the width that it found when it was made, which was some other test's."""
    monkeypatch.setattr(common.out, "_width", 1000)


def gristmill(*arguments: str | Path) -> Result:
    """Run the command line; it must not end as a fault of its own, and print nothing that a terminal acts on."""
    result = CliRunner().invoke(app, [str(argument) for argument in arguments], env={"COLUMNS": "300"})
    said = result.stdout + result.stderr
    assert "unexpected" not in said, said
    assert not isinstance(result.exception, Exception) or isinstance(result.exception, SystemExit), result.exception
    assert RAW.search(said) is None, repr(said)
    return result


def recipe_with(folder: Path, source: str, rule: str, column: str, ids: list[str], text: str) -> Path:
    """A recipe whose names are these, over documents with these ids, some of them near copies."""
    long = sentences(3, 80)
    rows = [{"id": id, "text": f"{long} {text} {i}", column: text} for i, id in enumerate(ids)]
    rows += [{"id": f"{ids[0]} copy", "text": long, column: None}, {"id": None, "text": f"{text} short"}]
    write_jsonl(folder / "data" / "docs.jsonl", rows)
    with open(folder / "data" / "docs.jsonl", "ab") as file:
        file.write(b'{"id": "bad", "text": 5}\n{"id": ' + json.dumps(ids[0]).encode() + b', "text": null}\n')
    held: dict[str, Any] = {
        "version": 1,
        "name": "hostile",
        "store": "./store",  # a folder called `${x}` is no variable
        "sources": [{"name": source, "path": "data/docs.jsonl", "metadata": {"kind": {"field": column}}}],
        "measure": ["gopher"],
        "decide": [{"drop": {"when": "gopher_words < 5", "name": rule}}, "exact_dedup", "fuzzy_dedup"],
        "limits": {"rejects": 1.0},
        "write": {"columns": ["id", "text", "source", "kind"]},
    }
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump(held, sort_keys=False, allow_unicode=False))
    return path


@example(source="file://\x1b]0;title\x07\u2028", rule="[bold]\x07", column="e", ids=["a\u2028", "b\r"], text="x")
@settings(max_examples=5, phases=WITHOUT_SHRINKING, suppress_health_check=[HealthCheck.too_slow])
@given(source=NAMES, rule=NAMES, column=NAMES, ids=st.lists(NAMES, min_size=2, max_size=3, unique=True), text=NAMES)
def test_every_command_shows_names_and_obeys_none(
    tmp_path_factory: pytest.TempPathFactory, source: str, rule: str, column: str, ids: list[str], text: str
) -> None:
    folder = tmp_path_factory.mktemp("names")
    recipe = recipe_with(folder, source, rule, column.replace(".", "_"), ids, text)
    ran = gristmill("run", recipe, "--examples", "3")
    if ran.exit_code == 2:  # such a name is none: told with the line
        assert "recipe.yaml:" in ran.stderr
        return
    assert ran.exit_code == 0, ran.output
    assert printable(rule) in ran.stdout
    assert "report could not be made" not in ran.stderr
    plan = gristmill("plan", recipe)
    assert plan.exit_code == 0, plan.output
    assert printable(source) in plan.stdout
    store = ("--store", folder / "store")
    for command in (
        ["clusters"],
        ["report", "hostile"],
        ["index", "info"],
        ["verify"],
        ["datasets", "show", "hostile", "1"],
        ["datasets", "diff", "hostile", "1", "1"],
        ["query", "FROM documents"],
        ["query", "FROM hostile"],
    ):
        gristmill(*command, *store)
        gristmill(*command, *store, "--json")
    refused = gristmill("submit", recipe, "--address", "http://localhost:1")
    assert refused.exit_code == 2, refused.output
    assert "recipe.yaml:" in refused.stderr
    found = json.loads(gristmill("query", "SELECT id, source, kind FROM documents", *store, "--json").stdout)
    assert {row["source"] for row in found} == {source}
    assert {row["id"] for row in found} >= {id for id in ids if "\0" not in id + text}  # else it is quarantined
    for id in ids:
        explained = gristmill("explain", "--", id) if id.startswith("-") else gristmill("explain", id, *store)
        assert explained.exit_code in (0, 2), explained.output
    shutil.rmtree(folder)


@pytest.mark.slow
@settings(max_examples=6, phases=WITHOUT_SHRINKING, suppress_health_check=[HealthCheck.too_slow])
@given(name=NAMES.filter(lambda name: not set(name) & set("\0/\\")))
def test_a_store_in_any_folder_is_queried(tmp_path_factory: pytest.TempPathFactory, name: str) -> None:
    folder = tmp_path_factory.mktemp("place") / name
    recipe = recipe_with(folder, "docs", "short", "kind", ["a", "b"], "text")
    ran = gristmill("run", recipe)
    assert ran.exit_code == 0, ran.output
    assert gristmill("run", recipe).exit_code == 0
    for sql in (
        "SELECT count(*) AS n FROM documents",
        "SELECT count(*) AS n FROM decisions",
        "FROM clusters",
        "FROM hostile",
    ):
        assert gristmill("query", sql, "--store", folder / "store").exit_code == 0
    assert gristmill("explain", "a", "--store", folder / "store").exit_code == 0
    assert gristmill("verify", "--store", folder / "store").exit_code == 0
    shutil.rmtree(folder)


@pytest.mark.parametrize("name", ["~nobody-at-all", "-r", "a b", "[ab]"])
def test_a_store_beside_the_user_is_queried(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    recipe = recipe_with(tmp_path / name, "docs", "short", "kind", ["a", "b"], "text")
    assert gristmill("run", recipe).exit_code == 0
    monkeypatch.chdir(tmp_path)
    for command in (["query", "FROM documents"], ["explain", "a"], ["clusters"], ["report"], ["verify"]):
        done = gristmill(*command, "--store", f"{name}/store")
        assert done.exit_code == 0, done.output


def test_a_path_that_duckdb_cannot_take_is_told(tmp_path: Path) -> None:
    folder = tmp_path / "back\\slash"
    assert gristmill("run", recipe_with(folder, "docs", "short", "kind", ["a", "b"], "text")).exit_code == 0
    refused = gristmill("query", "FROM documents", "--store", folder / "store")
    assert refused.exit_code == 2
    assert "make a link to the store" in refused.stderr


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("store")
    assert gristmill("run", recipe_with(folder, "docs", "short", "kind", ["a", "b"], "text")).exit_code == 0
    return folder / "store"


@pytest.mark.parametrize(
    "name",
    ["x\" AS SELECT 1; COPY (SELECT 1) TO '{}'; --", "x'; COPY (SELECT 1) TO '{}'; --", "Documents", "_shards", "a b"],
)
def test_a_folder_of_datasets_is_a_name_and_no_statement(store: Path, tmp_path: Path, name: str) -> None:
    """A store that came from elsewhere can have any folder there."""
    copy = tmp_path / "store"
    shutil.copytree(store, copy)
    target = tmp_path / "written"
    (copy / "datasets" / "hostile").rename(copy / "datasets" / name.format(str(target).replace("/", "\u2215")))
    for sql in ("SELECT count(*) AS n FROM documents", "FROM datasets", "FROM nothing", 'FROM "x"', 'FROM "a b"'):
        gristmill("query", sql, "--store", copy)
    assert list(tmp_path.iterdir()) == [copy]


@pytest.mark.parametrize(
    "sql",
    [
        "COPY (SELECT 1) TO '{store}/x.csv'",
        "EXPLAIN ANALYZE COPY (SELECT 1) TO '{store}/x.csv'",
        "EXPORT DATABASE '{store}/x'",
        "ATTACH '{store}/x.db'",
        "CREATE TABLE t AS SELECT 1",
        "SET threads = 1",
        "INSTALL httpfs",
        "LOAD json",
        "PREPARE p AS SELECT 1",
        "CALL pragma_version()",
        "SELECT 1; COPY (SELECT 1) TO '{store}/x.csv'",
        "SELECT * FROM read_text('/etc/hostname')",
        "SELECT * FROM read_csv('{outside}')",
        "SELECT * FROM '{outside}'",
        "SELECT * FROM glob('/etc/*')",
        "SELECT * FROM read_text('{store}/../outside.csv')",
    ],
)
def test_a_query_reads_the_store_and_nothing_else(store: Path, sql: str) -> None:
    outside = store.parent / "outside.csv"
    outside.write_text("secret\n1\n")
    before = sorted(store.rglob("*"))
    result = gristmill("query", sql.format(store=store, outside=outside), "--store", store)
    assert result.exit_code == 2, result.output
    assert "secret" not in result.output
    assert sorted(store.rglob("*")) == before


def test_unsafe_is_asked_for(store: Path, tmp_path: Path) -> None:
    target = tmp_path / "out.csv"
    copy = f"COPY (SELECT id FROM documents) TO '{target}'"
    assert gristmill("query", copy, "--store", store).exit_code == 2
    assert not target.exists()
    assert gristmill("query", copy, "--store", store, "--unsafe").exit_code == 0
    assert target.exists()


@pytest.mark.parametrize(
    "sql",
    [
        "WITH a AS (SELECT 1 AS x) FROM a",
        "DESCRIBE documents",
        "SUMMARIZE decisions",
        "EXPLAIN SELECT count(*) FROM documents",
        "EXPLAIN ANALYZE SELECT count(*) FROM documents",
        "PIVOT documents ON source USING count(*)",
        "VALUES (1), (2)",
        "SHOW TABLES",
    ],
)
def test_what_reads_is_allowed(store: Path, sql: str) -> None:
    result = gristmill("query", sql, "--store", store)
    assert result.exit_code == 0, result.output
