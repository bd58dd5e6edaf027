"""SQL over a store: its views agree with what the run wrote."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from rich.console import Console

from gristmill.operators.errors import RecipeError
from gristmill.pipelines.config.quoting import printable_json
from gristmill.pipelines.report.console.tables import show_table
from gristmill.pipelines.report.query import query
from tests.pipelines.stages.test_run import execute

MakeRecipe = Callable[..., Path]


@pytest.fixture
def store(corpus: Path, make_recipe: MakeRecipe) -> str:
    """The store of two datasets over one corpus, one of them run twice."""
    (corpus / "data" / "docs-bad.jsonl").write_text('{"id": "bad", "text": null}\n')
    execute(make_recipe(corpus, name="small", decide=[{"drop": "gopher_words < 100"}, "exact_dedup"]))
    execute(make_recipe(corpus, name="small", decide=[{"drop": "gopher_words < 90"}, "exact_dedup"]))
    execute(make_recipe(corpus, name="all"))
    return str(corpus / "store")


def one(store: str, sql: str) -> object:
    """The only value of a result."""
    return query(store, sql).column(0)[0].as_py()


def test_documents_hold_every_measure_once_per_document(store: str) -> None:
    assert one(store, "SELECT count(*) FROM documents") == 400
    assert one(store, "SELECT count(DISTINCT address) FROM documents") == 400
    columns = query(store, "SELECT * FROM documents LIMIT 0").column_names
    assert {"address", "source", "id", "lang", "content_id", "bytes", "tokens", "gopher_words"} <= {*columns}


def test_decisions_are_those_of_the_newest_run_of_each_dataset(store: str) -> None:
    counts = query(
        store, "SELECT dataset, count(*) n, count(*) FILTER (kept) k FROM decisions GROUP BY ALL ORDER BY ALL"
    )
    small, everything = (
        one(store, "SELECT count(*) FROM small"),
        one(store, 'SELECT count(*) FROM "all"'),
    )
    assert counts.to_pylist() == [
        {"dataset": "all", "n": 400, "k": everything},
        {"dataset": "small", "n": 400, "k": small},
    ]
    short = "SELECT count(*) FROM documents WHERE gopher_words < 90"
    assert one(store, "SELECT count(*) FROM decisions WHERE rule = 'drop'") == one(store, short)
    assert one(store, "SELECT count(*) FROM decisions d JOIN documents s ON s.address = d.survivor") > 0


def test_datasets_and_rejects(store: str) -> None:
    datasets = query(store, "SELECT dataset, current, rows, path FROM datasets ORDER BY dataset, version").to_pylist()
    assert [(d["dataset"], d["current"]) for d in datasets] == [("all", True), ("small", False), ("small", True)]
    for d in datasets:
        assert pq.read_table(sorted(Path(d["path"]).glob("*.parquet"))).num_rows == d["rows"]
    rejects = query(store, "SELECT DISTINCT file, line, reason FROM rejects").to_pylist()
    assert rejects == [{"file": "data/docs-bad.jsonl", "line": 1, "reason": "null_text"}]


def test_an_unknown_view_is_answered_with_those_there_are(store: str) -> None:
    with pytest.raises(
        RecipeError,
        match="there is no view xyz; there is all, clusters, datasets, decisions, documents, losses, quarantine, rej",
    ):
        query(store, "FROM xyz")


def test_narrow_rows_are_a_table_and_wide_ones_records_on_a_terminal() -> None:
    rows = pa.table({"id": ["a", None], "text": ["two\nlines", "x" * 70], "share": [0.25, 1 / 3]})
    terminal = Console(file=io.StringIO(), width=80, force_terminal=True, color_system=None)
    show_table(rows.slice(0, 1), terminal)
    show_table(rows, terminal)
    assert [line.rstrip() for line in terminal.file.getvalue().splitlines()] == [
        "id  text        share",
        "a   two\\nlines   0.25",
        "row 0",
        "  id     a",
        "  text   two\\nlines",
        "  share  0.25",
        "row 1",
        "  id     null",
        f"  text   {'x' * 70}",
        "  share  0.333333",
    ]


def test_json_is_read_by_strict_parsers() -> None:
    values = {
        "x": [float("nan"), float("inf"), 1.5],
        "y": [[float("-inf"), 2.0], None, [3.0]],
        "z": [b"\xff", b"", None],
    }

    def refuse(constant: str) -> float:
        raise AssertionError(f"{constant} is no JSON")

    assert json.loads(printable_json(pa.table(values).to_pylist()), parse_constant=refuse) == [
        {"x": None, "y": [None, 2.0], "z": "ff"},
        {"x": None, "y": None, "z": ""},
        {"x": 1.5, "y": [3.0], "z": None},
    ]
