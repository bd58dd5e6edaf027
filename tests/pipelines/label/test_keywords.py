"""The backend `keywords`: what it answers, where it abstains, and that a task without a model goes all the way."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from gristmill import api
from gristmill.operators.errors import RecipeError
from gristmill.pipelines.cli.main import app
from tests.pipelines.train.topics import TOPICS, text_on
from tests.support import write_jsonl


def label(folder: Path, answer: dict[str, Any], texts: list[str], *words: dict[str, list[str]]) -> list[dict[str, Any]]:
    """The answers of annotators w0, w1, ... to texts; of those without one `answer` is None and `error` says why."""
    annotators = [{"name": f"w{i}", "engine": "keywords", "words": each} for i, each in enumerate(words)]
    task = {"version": 1, "name": "t", "instruction": "What is it?", "answer": answer, "annotators": annotators}
    (folder / "t.yaml").write_text(json.dumps(task))
    write_jsonl(folder / "docs.jsonl", [{"id": str(i), "text": text} for i, text in enumerate(texts)])
    api.label(folder / "t.yaml", folder / "store", paths=[str(folder / "docs.jsonl")])
    ids = "(SELECT content_id, min(id) AS id FROM documents GROUP BY ALL)"
    asked = [
        f"SELECT id, annotator, answer, NULL AS error, input_tokens FROM labels JOIN {ids} USING (content_id)",
        f"SELECT id, annotator, NULL AS answer, error, input_tokens FROM quarantine JOIN {ids} USING (content_id)",
    ]
    sql = f"SELECT * FROM ({' UNION ALL '.join(asked)}) ORDER BY id::INT, annotator"
    done = CliRunner().invoke(app, ["labels", "query", sql, "--json", "--store", str(folder / "store")])
    assert done.exit_code == 0, done.output
    rows: list[dict[str, Any]] = json.loads(done.stdout)
    return rows


def test_the_label_with_most_words_is_the_answer(tmp_path: Path) -> None:
    texts = [
        "A goal! What a goal in this GOAL.",
        "The court saw the goal of the judge.",
        "The  league\ntable of the courtyard",
        "goal, court",
        "nothing of it",
        "paid 30 EUR",
    ]
    words = {"sport": ["goal", "league table"], "law": ["court", "judge"], "money": [r"re:\d+ (EUR|USD)"]}
    rows = label(tmp_path, {"choice": ["sport", "law", "money"]}, texts, words)
    assert [row["answer"] for row in rows] == ["sport", "law", "sport", None, None, "money"]
    assert rows[3]["error"] == "it abstains: it has as many words of sport as of law"
    assert rows[4]["error"] == "it abstains: no word of any label is in the text"
    assert {row["input_tokens"] for row in rows} == {0}


def test_scales_and_several_labels(tmp_path: Path) -> None:
    (one := tmp_path / "one").mkdir()
    rows = label(one, {"scale": [0, 5]}, ["a lesson", "buy now", "?"], {"5": ["lesson"], "0": ["buy"]})
    assert [row["answer"] for row in rows] == [5, 0, None]
    (two := tmp_path / "two").mkdir()
    several = {"sport": ["goal"], "law": ["court"]}
    rows = label(two, {"multi": ["law", "food", "sport"]}, ["goal in court", "a court", "oven"], several)
    assert [row["answer"] for row in rows] == ['["law","sport"]', '["law"]', None]


def test_other_words_are_asked_anew_and_the_same_are_not(tmp_path: Path) -> None:
    first = label(tmp_path, {"choice": ["a", "b"]}, ["one", "two"], {"a": ["one"]})
    again = api.label(tmp_path / "t.yaml", tmp_path / "store", paths=[str(tmp_path / "docs.jsonl")])
    assert [row["answer"] for row in first] == ["a", None]
    assert again.annotators[0].cached == 2
    label(tmp_path, {"choice": ["a", "b"]}, ["one", "two"], {"a": ["one"], "b": ["two"]})
    done = CliRunner().invoke(
        app, ["labels", "query", "SELECT answer FROM labels", "--json", "--store", str(tmp_path / "store")]
    )
    assert "b" in {row["answer"] for row in json.loads(done.stdout)}


def test_a_task_without_a_model_becomes_a_student(tmp_path: Path) -> None:
    draw = random.Random(0)
    truth = [draw.choice([*TOPICS]) for _ in range(400)]
    texts = [text_on(topic, draw, 40, 0.2) for topic in truth]
    functions = [{topic: words[i : i + 3] for topic, words in TOPICS.items()} for i in (0, 1, 3)]
    label(tmp_path, {"choice": [*TOPICS]}, texts, *functions)
    task = str(tmp_path / "t.yaml")
    table, report = api.aggregate_labels(task, tmp_path / "store")
    assert report["annotators"] == 3
    known = {row["id"]: row["answer"] for row in table.to_pylist()}
    assert sum(known[id] == truth[int(id)] for id in known) > 0.95 * len(known)
    report = api.distil(str(tmp_path / "s.bin"), task, tmp_path / "store")
    assert report["test"]["accuracy"] > 0.9


@pytest.mark.parametrize(
    ("answer", "words", "message"),
    [
        ({"choice": ["a", "b"]}, {"c": ["x"]}, "w0: words are given for no label of the task: 'c' is none of a, b"),
        ({"choice": ["a", "b"]}, {"a": ["re:("]}, r"w0: 're:\(' is no regular expression"),
        ({"schema": {"type": "object"}}, {"a": ["x"]}, "w0: words give labels, and the answers of this task are none"),
        ({"choice": ["a", "b"]}, {"a": []}, "words"),
        ({"choice": ["a", "b"]}, {}, "words"),
        ({"choice": ["a", "b"]}, {"a": [" "]}, "words"),
    ],
)
def test_words_that_make_no_sense_are_refused(
    tmp_path: Path, answer: dict[str, Any], words: dict[str, list[str]], message: str
) -> None:
    with pytest.raises(RecipeError, match=message):
        label(tmp_path, answer, ["x"], words)
