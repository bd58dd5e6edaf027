"""`labels info` and `labels query`: sums and views agree with what was appended."""

from __future__ import annotations

import io
from pathlib import Path

import pyarrow as pa
import pytest
from rich.console import Console

from operators.errors import RecipeError
from pipelines.label.rows import Annotation, Row
from pipelines.label.store import LabelStore
from pipelines.report.labels import info, query, show
from tests.pipelines.label.rows_made import BIG, answered, key, rejected


@pytest.fixture
def store(tmp_path: Path) -> str:
    """Two tasks, one of them with two annotators."""
    for fingerprint, name in (("f", "edu"), ("g", "topic")):
        store = LabelStore(str(tmp_path), fingerprint)
        store.write_task(name, {"instruction": "Rate."})
        with store.open_run("r") as run:
            run.append(BIG, [answered(1), answered(2, "5"), rejected(3), Row(None, 1, None, input_tokens=7)])
            if name == "edu":
                run.append(Annotation("human", "human", "imported"), [Row(key(1), 0, "3")])
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
    show(info(store, "f"), Console(file=out, width=160))
    text = out.getvalue()
    assert "task edu: 1 document" in text
    assert "spent    3 documents, 307 tokens in, 3 out" in text
    assert "7 tokens may have been charged" in text
    line = next(line for line in text.splitlines() if line.startswith("human"))
    assert line.split()[:7] == ["human", "human", "1", "0", "0", "0", "0.00"]


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
