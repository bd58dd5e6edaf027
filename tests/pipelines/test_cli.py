"""The command line as its user meets it: what is printed where, exit codes, how it looks in a file."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from gristmill.operators.table import operators
from gristmill.pipelines.cli.main import app

MakeRecipe = Callable[..., Path]
DECIDE = [
    {"drop": {"when": "gopher_words < 50 or gopher_words > 175", "name": "length"}},
    {"exact_dedup": "longest"},
    {"select": {"by": "random", "documents": 150, "seed": 3}},
]


def gristmill(*arguments: str | Path, code: int = 0) -> Result:
    """Run the command line; it must end with this code and never with a traceback."""
    result = CliRunner().invoke(app, [str(argument) for argument in arguments], env={"COLUMNS": "80"})
    assert result.exit_code == code, result.output
    assert "Traceback" not in result.output
    return result


@pytest.fixture
def recipe(corpus: Path, make_recipe: MakeRecipe) -> Path:
    """A recipe whose run drops, deduplicates, selects and quarantines."""
    with (corpus / "data" / "docs-9.jsonl").open("w") as file:
        file.write('{"id": "odd", "text": 7}\n')
        file.write(json.dumps({"id": "twin", "text": "one two three " * 20}) + "\n")
        file.write(json.dumps({"id": "twin", "text": "four five six " * 20}) + "\n")
    return make_recipe(corpus, decide=DECIDE)


# run


def test_a_run_ends_with_the_funnel_and_the_place_of_the_dataset(recipe: Path) -> None:
    result = gristmill("run", recipe)
    progress = [line.split()[0] for line in result.stderr.splitlines() if line.startswith("  ")]  # not while it lasts
    assert progress == ["measure", "decide", "write"]
    lines = [line.rstrip() for line in result.stdout.splitlines()]
    table = [re.split(r"  +", line) for line in lines]
    start = next(i for i, line in enumerate(lines) if line.startswith("records"))
    assert [row[0] for row in table[start : start + 7]] == [
        "records",
        "- quarantined",
        "input",
        "- length",
        "- exact_dedup",
        "- select",
        "kept",
    ]
    assert table[start + 6][1:3] == ["150", "37.3%"]
    assert "! quarantined data/docs-9.jsonl:1: the field text is a number, not a text" in lines
    assert "! 1 id stands for more than one document (twin); all of these documents are kept apart" in lines
    assert lines[-1].startswith(f"dataset  {recipe.parent}/store/datasets/test/000001-")
    assert Path(lines[-1].split()[1]).is_dir()


def test_a_second_run_says_that_nothing_was_done(recipe: Path) -> None:
    first = gristmill("run", recipe).stdout.splitlines()
    again = gristmill("run", recipe)
    assert re.search(r"the run 00000001-\w+ did just this: nothing is read, decided or written", again.stderr)
    assert "all cached" in again.stdout
    assert re.search(
        r"^nothing new: all of this is of the run 00000001-\w{8}, which did just this$", again.stdout, re.M
    )
    assert again.stdout.splitlines()[-1] == first[-1]


def test_lines_stay_within_80_columns_where_they_can(recipe: Path) -> None:
    commands = [("run", recipe), ("plan", recipe), ("operators",), ("operators", "gopher_rules")]
    for command in commands:
        for line in gristmill(*command).stdout.splitlines():
            prose = command == ("operators", "gopher_rules") and not line.startswith("  ")
            assert len(line) <= 80 or prose or line.startswith(("!", "dataset", "report", "test  (store")), line


def test_quiet_prints_the_result_alone(recipe: Path) -> None:
    result = gristmill("run", recipe, "--quiet")
    assert result.stderr == ""
    assert "kept" in result.stdout


def test_a_rule_that_drops_much_is_pointed_out(recipe: Path) -> None:
    kept_few = "decide.length.when=gopher_words < 100 or gopher_words > 175"
    told = gristmill("run", recipe, "--set", kept_few).stdout
    assert re.search(
        r"! length drops \d\d% of the documents that reach it, most of them by gopher_words < 100: is", told
    )
    assert "! select" not in told


def test_examples_show_dropped_documents_with_reason_and_text(recipe: Path) -> None:
    told = gristmill("run", recipe, "--examples", "3").stdout
    assert len(re.findall(r"^  dropped by (length|exact_dedup|select)", told, re.M)) == 3


def test_an_override_that_is_wrong_stops_the_run(recipe: Path) -> None:
    result = gristmill("run", recipe, "--set", "decide.select.documents=lots", code=2)
    assert "error: --set decide.select.documents=lots: decide.select.documents must be a whole number" in result.stderr
    assert result.stdout == ""
    assert not (recipe.parent / "store").exists()


def test_several_mistakes_are_a_list(recipe: Path) -> None:
    recipe.write_text(recipe.read_text().replace("gopher_words", "gopher_wrds").replace("random", "randum"))
    told = gristmill("run", recipe, code=2).stderr.splitlines()
    assert told[0] == f"error: {recipe} has 2 mistakes"
    assert all(line.startswith(f"  {recipe}:") for line in told[1:])


def test_a_store_in_use_is_named(recipe: Path) -> None:
    from gristmill.pipelines.store.lock import writer_lock

    with writer_lock(str(recipe.parent / "store")):
        assert "the store is in use" in gristmill("run", recipe, code=4).stderr


def test_an_unexpected_error_is_one_line_but_for_debug(recipe: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise ZeroDivisionError("surprise")

    monkeypatch.setattr("gristmill.pipelines.stages.run.plan_run", fail)
    told = gristmill("run", recipe, code=1).stderr
    assert told.startswith("error: unexpected ZeroDivisionError: surprise (--debug shows the traceback")
    debugged = CliRunner().invoke(app, ["run", str(recipe), "--debug"])
    assert "Traceback" in debugged.stderr


# plan


def test_a_plan_shows_what_would_run_and_touches_nothing(recipe: Path) -> None:
    told = gristmill("plan", recipe).stdout
    assert not (recipe.parent / "store").exists()
    lines = [line.rstrip() for line in told.splitlines()]
    assert "source   docs         5 shards (5 new), 0.0 MB in files" in [
        re.sub(r"\d\.\d MB", "0.0 MB", x) for x in lines
    ]
    assert "         gopher       0 of 5 shards cached, for drop: gopher_* (22)" in lines
    assert "decide   length       reads gopher_words" in lines
    before = snapshot(recipe.parent)
    gristmill("run", recipe)
    after = snapshot(recipe.parent)
    assert "5 of 5 shards cached, for drop" in gristmill("plan", recipe).stdout
    assert snapshot(recipe.parent) == after != before


def snapshot(folder: Path) -> dict[str, int]:
    """Every file with the time of its last change."""
    return {str(path): path.stat().st_mtime_ns for path in folder.rglob("*")}


# explain


def test_explain_tells_every_fate(recipe: Path) -> None:
    store = recipe.parent / "store"
    gristmill("run", recipe)
    decisions = json.loads(
        gristmill(
            "query",
            "SELECT id, rule FROM decisions JOIN documents USING (address) ORDER BY address",
            "--store",
            store,
            "--json",
        ).stdout
    )
    some = {row["rule"]: row["id"] for row in reversed(decisions)}
    told = {rule: gristmill("explain", id_, "--store", store).stdout for rule, id_ in some.items()}
    assert "test: kept" in told[None]
    assert re.search(r"test: dropped by length: gopher_words < 50 \(value \d+, limit 50\)", told["length"])
    assert re.search(r"test: dropped by exact_dedup as a duplicate of doc-0-\d+, which was kept", told["exact_dedup"])
    assert re.search(r"test: dropped by select \(value 0\.\d+, limit 0\.\d+\)", told["select"])
    assert re.search(r"source docs, data/docs-\d.jsonl.gz row \d+, address \d+", told["length"])
    assert re.search(r"gopher_words +\d+", told["length"])
    quarantined = gristmill("explain", "odd", "--store", store).stdout
    assert "quarantined: wrong_type, data/docs-9.jsonl:1: the field text is a number, not a text" in quarantined
    assert gristmill("explain", "data/docs-9.jsonl:1", "--store", store).stdout == quarantined
    assert gristmill("explain", "twin", "--store", store).stdout.startswith("2 records bear this id\n")
    assert "no document of this store has" in gristmill("explain", "nobody", "--store", store, code=2).stderr


def test_explain_takes_content_ids_and_addresses(recipe: Path) -> None:
    store = recipe.parent / "store"
    gristmill("run", recipe)
    by_id = json.loads(gristmill("explain", "doc-0-00012", "--store", store, "--json").stdout)
    assert json.loads(gristmill("explain", by_id[0]["content_id"], "--store", store, "--json").stdout) == by_id
    assert json.loads(gristmill("explain", str(by_id[0]["address"]), "--store", store, "--json").stdout) == by_id


# query


@pytest.mark.parametrize(
    ("sql", "message"),
    [
        ("SELECT * FROM docments", "there is no view docments; did you mean documents?"),
        ("SELEC 1", 'the query does not work: syntax error at or near "SELEC"'),
        ("SELECT nothing FROM documents", 'Referenced column "nothing" not found'),
    ],
)
def test_a_wrong_query_is_explained(recipe: Path, sql: str, message: str) -> None:
    gristmill("run", recipe)
    result = gristmill("query", sql, "--store", recipe.parent / "store", code=2)
    assert message in result.stderr
    assert result.stdout == ""


@pytest.mark.parametrize("command", [("query", "SELECT 1"), ("explain", "x")])
def test_a_store_without_a_run_is_named(tmp_path: Path, command: tuple[str, str]) -> None:
    told = gristmill(*command, "--store", tmp_path / "none", code=2).stderr
    assert f"the store {tmp_path}/none holds no finished run; `gristmill run RECIPE` makes one" in told
    assert not (tmp_path / "none").exists()


def test_wide_rows_are_whole_lines_in_a_file(recipe: Path) -> None:
    gristmill("run", recipe)
    told = gristmill("query", "SELECT * FROM documents ORDER BY address LIMIT 2", "--store", recipe.parent / "store")
    header, *rows = told.stdout.splitlines()
    assert header.split()[:3] == ["address", "source", "id"]
    assert "gopher_dup_10grams" in header
    assert [row.split()[2] for row in rows] == ["doc-0-00000", "doc-0-00001"]


# operators, help, JSON


def test_the_catalogue_lists_every_operator() -> None:
    told = gristmill("operators").stdout
    assert [name for name in operators() if re.search(rf"^{name} ", told, re.M)] == list(operators())
    assert "did you mean gopher?" in gristmill("operators", "gophr", code=2).stderr


def test_json_is_all_that_is_printed(recipe: Path) -> None:
    store = str(recipe.parent / "store")
    commands = {
        ("plan", str(recipe)): "sources",
        ("run", str(recipe)): "funnel",
        ("explain", "doc-0-00001", "--store", store): "fates",
        ("query", "FROM datasets", "--store", store): "version",
        ("datasets", "list", "--store", store): "tags",
        ("datasets", "show", "test", "--store", store): "parent",
        ("datasets", "show", "test", "1", "--store", store): "funnel",
        ("datasets", "diff", "test", "1", "--store", store): "measures",
        ("datasets", "gc", "test", "--store", store): "going",
        ("datasets", "card", "test", "--store", store): "card",
        ("init", str(recipe.parent / "data"), "--out", str(recipe.parent / "new.yaml"), "--want", "dedup"): "sample",
        ("init", "--template", "dedup", "--out", str(recipe.parent / "dedup.yaml")): "next",
        ("doctor", str(recipe)): "remedy",
        ("operators",): "summary",
        ("operators", "select"): "fields",
    }
    for command, key in commands.items():
        value = json.loads(gristmill(*command, "--json").stdout)
        assert key in (value[0] if isinstance(value, list) else value)


def test_no_command_shows_help() -> None:
    told = CliRunner().invoke(app, []).output
    assert "Usage" in told
    assert all(command in told for command in ("run", "plan", "explain", "query", "operators", "train", "datasets"))
    assert "Exit codes" in told


@pytest.mark.parametrize("command", ["run", "plan", "explain", "query", "operators"])
def test_every_command_has_help(command: str) -> None:
    told = gristmill(command, "--help").stdout
    assert "--json" in told
    assert "Print the result as JSON." in told
