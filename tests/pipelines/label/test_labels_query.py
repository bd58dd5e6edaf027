"""`labels info` and `labels query`: sums and views agree with what was appended."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pyarrow as pa
import pytest
from rich.console import Console

from gristmill.operators.errors import RecipeError
from gristmill.pipelines.config.quoting import printable_json
from gristmill.pipelines.label.store import LabelStore
from gristmill.pipelines.label.store.schema import Annotation, AnswerRow
from gristmill.pipelines.report.console.store import show_tasks
from gristmill.pipelines.report.console.tables import show_table
from gristmill.pipelines.report.labels import info, query
from tests.pipelines.label.store.rows_made import BIG, answered, key, rejected


@pytest.fixture
def store(tmp_path: Path) -> str:
    """Two tasks, one of them with two annotators."""
    for fingerprint, name in (("f", "edu"), ("g", "topic")):
        store = LabelStore(str(tmp_path), fingerprint)
        store.write_task(name, {"instruction": "Rate."})
        with store.open_run("r") as run:
            run.append(BIG, [answered(1), answered(2, "5"), rejected(3), AnswerRow(None, 1, None, input_tokens=7)])
            if name == "edu":
                run.append(Annotation("human", "human", "imported"), [AnswerRow(key(1), 0, "3")])
    store = LabelStore(str(tmp_path), "f")
    store.write_documents("r", [pa.Table.from_pylist([{"content_id": key(1), "id": "a", "source": "s"}])])
    return str(tmp_path)


def test_info_adds_up(store: str) -> None:
    edu, topic = info(store)
    assert (edu["task"], topic["task"]) == ("edu", "topic")
    big, human = edu["annotators"]
    assert (big["answers"], big["invalid"], big["probability"]) == (2, 1, 0.75)
    assert (big["input_tokens"], big["output_tokens"], big["unanswered_tokens"]) == (307, 3, 7)
    assert (human["answers"], human["probability"], human["cost"], human["model"]) == (1, None, 0.0, "human")
    assert edu["documents"] == 1
    for task in (edu, topic):
        for name in ("input_tokens", "output_tokens", "cost"):
            assert task["spent"][name] == sum(row[name] for row in task["annotators"])
    assert edu["spent"]["documents"] == 3, "those that people labelled cost nothing"
    assert info(store, "g") == [topic]


def test_info_is_shown(store: str) -> None:
    out = io.StringIO()
    show_tasks(info(store, "f"), Console(file=out, width=160))
    text = out.getvalue()
    assert "task edu: 1 document" in text
    assert "spent    3 documents, 307 tokens in, 3 out" in text
    assert "7 tokens may have been charged" in text
    line = next(line for line in text.splitlines() if line.startswith("human"))
    assert line.split()[:8] == ["human", "human", "1", "0", "0", "0", "0", "0.00"]


def one(store: str, sql: str) -> object:
    return query(store, sql).column(0)[0].as_py()


def test_views(store: str) -> None:
    assert one(store, "SELECT count(*) FROM labels") == 5
    assert one(store, "SELECT count(*) FROM quarantine") == 2
    assert one(store, "SELECT string_agg(task, ',' ORDER BY task) FROM tasks") == "edu,topic"
    assert one(store, f"SELECT answer FROM labels WHERE content_id = '{key(2).hex()}' AND task = 'edu'") == "5"
    assert one(store, "SELECT probabilities['5'] FROM labels WHERE annotator = 'big' LIMIT 1") == 0.25
    assert query(store, "SELECT raw, error FROM quarantine WHERE task = 'edu'").to_pylist() == [
        {"raw": "raw 3", "error": "reason 3"}
    ]
    joined = "SELECT id, annotator FROM documents JOIN labels USING (fingerprint, content_id) ORDER BY annotator"
    assert query(store, joined).to_pylist() == [{"id": "a", "annotator": "big"}, {"id": "a", "annotator": "human"}]


@pytest.fixture
def scales(tmp_path: Path) -> str:
    """A task with a scale, and later one of another kind beside it."""
    scale = LabelStore(str(tmp_path), "e")
    scale.write_task("edu", {"instruction": "Rate.", "answer": {"scale": [0, 10]}})
    with scale.open_run("r") as run:
        run.append(BIG, [answered(1, "3"), answered(2, "4"), answered(3, "10")])
    return str(tmp_path)


def with_choice(store: str) -> str:
    choice = LabelStore(store, "c")
    choice.write_task("topic", {"instruction": "Name.", "answer": {"choice": ["physics", "4"]}})
    with choice.open_run("r") as run:
        run.append(BIG, [answered(1, "physics"), answered(2, "4")])
    return store


def test_answers_to_a_scale_are_numbers(scales: str) -> None:
    assert query(scales, "SELECT answer FROM labels ORDER BY 1").to_pylist() == [{"answer": n} for n in (3, 4, 10)]
    assert one(scales, "SELECT avg(answer) FROM labels WHERE answer < 10") == 3.5


def test_and_stay_numbers_beside_answers_of_another_kind(scales: str) -> None:
    store = with_choice(scales)
    assert one(store, "SELECT avg(answer) FROM labels WHERE task = 'edu' AND answer < 10") == 3.5
    assert one(store, "SELECT max(answer) FROM labels WHERE task = 'edu'") == 10
    assert one(store, "SELECT count(*) FROM labels WHERE answer = 'physics'") == 1
    assert query(store, "SELECT answer FROM labels WHERE task = 'edu' ORDER BY 1").schema.types == [pa.int64()]
    table = query(store, "SELECT answer, content_id FROM labels ORDER BY task, answer")
    assert table["answer"].to_pylist() == [3, 4, 10, "4", "physics"]
    assert [row["answer"] for row in json.loads(printable_json(table.to_pylist()))] == [3, 4, 10, "4", "physics"]
    out = io.StringIO()
    show_table(table, Console(file=out, width=100))
    assert [line.split()[0] for line in out.getvalue().splitlines()] == ["answer", "3", "4", "10", "4", "physics"]
    assert one(store, "SELECT list(answer ORDER BY content_id) FROM labels WHERE task = 'edu'") == ["3", "4", "10"]
    assert query(store, "SELECT answer FROM labels WHERE false").num_rows == 0


@pytest.mark.parametrize(
    ("sql", "told"),
    [("COPY (SELECT 1) TO '{folder}/x.csv'", "changes nothing"), ("CREATE TABLE t AS SELECT 1", "changes nothing"),
     ("SELECT * FROM read_csv('{folder}/secret.csv')", "does not work"), ("SET threads = 2", "changes nothing"),
     ("SELECT 1; COPY (SELECT 1) TO '{folder}/x.csv'", "changes nothing"), ("INSTALL httpfs", "changes nothing")],
)  # fmt: skip
def test_a_query_reads_the_label_store_and_nothing_else(scales: str, tmp_path: Path, sql: str, told: str) -> None:
    (tmp_path / "secret.csv").write_text("a\n1\n")
    with pytest.raises(RecipeError, match=told):
        query(scales, sql.format(folder=tmp_path))
    assert not (tmp_path / "x.csv").exists()
    assert one(scales, "SELECT count(*) FROM labels") == 3


def test_unsafe_queries_may_do_what_you_may(scales: str, tmp_path: Path) -> None:
    query(scales, f"COPY (SELECT answer FROM labels) TO '{tmp_path}/x.csv'", unsafe=True)
    assert (tmp_path / "x.csv").read_text().split() == ["answer", "3", "4", "10"]


def test_mistakes_are_told(store: str, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="there is no view lables; did you mean labels"):
        query(store, "SELECT * FROM lables")
    with pytest.raises(RecipeError, match="the query does not work"):
        query(store, "SELECT nothing FROM labels")
    with pytest.raises(RecipeError, match="has no labels of this task"):
        info(store, "h")
    for ask in (info, lambda empty: query(empty, "SELECT 1")):
        with pytest.raises(RecipeError, match="has no labels; `gristmill label TASK --store"):
            ask(str(tmp_path / "empty"))
