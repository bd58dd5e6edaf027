"""The exported table: a row for each document and annotator, the same in every format."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gristmill.operators.errors import RecipeError
from gristmill.pipelines.label.export import EXPORTED, export_labels
from gristmill.pipelines.label.store import LabelStore
from gristmill.pipelines.label.store.schema import Annotation, AnswerRow
from tests.pipelines.label.store.rows_made import BIG, answered, key, rejected


@pytest.fixture
def store(tmp_path: Path) -> str:
    """Documents a and b of one text, c, d without a valid answer, and a text that no run named."""
    store = LabelStore(str(tmp_path / "store"), "f")
    held = {"a": 1, "b": 1, "c": 2, "d": 3}
    rows = [{"content_id": key(i), "id": name, "source": "s"} for name, i in held.items()]
    store.write_documents("r", [pa.Table.from_pylist(rows)])
    with store.open_run("r") as run:
        run.append(BIG, [answered(1), rejected(2, tokens=50), rejected(3), answered(9), AnswerRow(None, 1, None)])
        run.append(BIG, [answered(2, "5", attempt=2)])
        run.append(BIG._replace(revision="older"), [])
        run.append(Annotation("human", "human", "imported"), [AnswerRow(key(1), 0, "3")])
    return store.store


def test_a_row_for_each_document_and_annotator(store: str, tmp_path: Path) -> None:
    out = tmp_path / "labels.parquet"
    assert export_labels(store, "f", str(out)) == 6
    table = pq.read_table(out)
    assert table.schema == EXPORTED
    rows = table.to_pylist()
    assert [(row["id"], row["annotator"], row["answer"]) for row in rows] == [
        ("a", "big", "4"),
        ("a", "human", "3"),
        ("b", "big", "4"),
        ("b", "human", "3"),
        ("c", "big", "5"),
        (None, "big", "4"),
    ]
    first, human, repaired = rows[0], rows[1], rows[4]
    assert (first["content_id"], first["model"], first["tokens"]) == (key(1).hex(), "some/model", 101)
    assert dict(first["probabilities"]) == {"4": 0.75, "5": 0.25}
    assert (human["probabilities"], human["probability"], human["tokens"]) == (None, None, 0)
    assert repaired["tokens"] == 152, "the answer that was repaired was paid for, too"


def test_other_formats_say_the_same(store: str, tmp_path: Path) -> None:
    for ending in ("parquet", "csv", "jsonl"):
        assert export_labels(store, "f", str(tmp_path / f"l.{ending}"), "big") == 4
    expected = pq.read_table(tmp_path / "l.parquet").to_pylist()
    lines = [json.loads(line) for line in (tmp_path / "l.jsonl").read_text().splitlines()]
    with open(tmp_path / "l.csv", newline="") as file:
        cells = list(csv.DictReader(file))
    for row, line, cell in zip(expected, lines, cells, strict=True):
        assert list(row) == list(line) == list(cell)
        for name in ("id", "content_id", "annotator", "answer", "model", "tokens", "cut_tokens"):
            assert row[name] == line[name]
            assert cell[name] == ("" if row[name] is None else str(row[name]))
        assert dict(row["probabilities"]) == line["probabilities"] == json.loads(cell["probabilities"])
        assert row["created"].isoformat()[:19] == line["created"][:19] == cell["created"].replace(" ", "T")[:19]


def test_of_several_revisions_the_latest_answer_is_given(store: str, tmp_path: Path) -> None:
    with LabelStore(store, "f").open_run("later") as run:
        run.append(BIG._replace(revision="rev-2", model="other"), [answered(2, "0")])
    export_labels(store, "f", str(tmp_path / "l.parquet"), "big")
    rows = pq.read_table(tmp_path / "l.parquet").to_pylist()
    assert [(row["answer"], row["model"]) for row in rows if row["id"] == "c"] == [("0", "other")]
    assert len(rows) == 4


def test_refusals(store: str, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"written as \.parquet, \.csv, \.jsonl"):
        export_labels(store, "f", str(tmp_path / "labels.xlsx"))
    with pytest.raises(RecipeError, match="has no labels of this task"):
        export_labels(store, "g", str(tmp_path / "labels.csv"))
    assert not list(tmp_path.glob("labels*"))


def test_answers_to_a_scale_are_numbers_in_every_format(store: str, tmp_path: Path) -> None:
    LabelStore(store, "f").write_task("edu", {"answer": {"scale": [0, 5]}})
    for ending in ("parquet", "csv", "jsonl"):
        export_labels(store, "f", str(tmp_path / f"l.{ending}"), "big")
    table = pq.read_table(tmp_path / "l.parquet")
    assert table.schema.field("answer").type == pa.int64()
    assert table["answer"].to_pylist() == [4, 4, 5, 4]
    assert [json.loads(line)["answer"] for line in (tmp_path / "l.jsonl").read_text().splitlines()] == [4, 4, 5, 4]
    assert (tmp_path / "l.csv").read_text().splitlines()[1].split(",")[3] == "4"
