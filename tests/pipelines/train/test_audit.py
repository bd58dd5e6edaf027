"""`gristmill labels audit`: planted errors, what the list and the page say of them, corrections that come back."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from gristmill import api
from gristmill.operators.errors import RecipeError
from gristmill.pipelines.cli.main import app
from tests.pipelines.train.topics import TOPICS, table, text_on
from tests.support import write_jsonl


def planted(n: int = 600, share: float = 0.1, seed: int = 0) -> tuple[list[dict[str, Any]], list[str]]:
    """Texts of whose labels a share is wrong, and the right ones."""
    draw, made, right = random.Random(seed), [], []
    for _ in range(n):
        topic = draw.choice([*TOPICS])
        label = draw.choice([other for other in TOPICS if other != topic]) if draw.random() < share else topic
        made.append({"text": text_on(topic, draw, 40, 0.15), "label": label})
        right.append(topic)
    return made, right


def test_planted_errors_are_listed_with_reasons(tmp_path: Path) -> None:
    made, right = planted()
    out = tmp_path / "review.parquet"
    suspected, report = api.audit_labels(table=table(tmp_path / "t.parquet", made), out=str(out), budget=40)
    wrong = {i for i, (row, topic) in enumerate(zip(made, right, strict=True)) if row["label"] != topic}
    rows = suspected.to_pylist()
    places = [int(row["id"].rsplit(":", 1)[1]) for row in rows]
    assert len(wrong & {*places}) >= 0.95 * len(places) >= 0.8 * len(wrong)
    assert [row["wrong"] for row in rows] == sorted((row["wrong"] for row in rows), reverse=True)
    for place, row in zip(places, rows, strict=True):
        assert (row["text"], row["answer"]) == (made[place]["text"], made[place]["label"])
        assert row["suggested"] == right[place] or place not in wrong
        by_words, noise, nearest = row["reasons"]
        assert by_words.startswith(f"by its words {row['suggested']} (")
        assert f"{row['suggested']} is called {row['answer']}" in noise
        assert nearest.startswith("the nearest texts are ")
    assert report["wrong"] == pytest.approx(len(wrong) / 600, abs=0.02)
    assert report["suspected"] == len(rows)
    assert pq.read_table(out).equals(suspected)
    page = (tmp_path / "review.md").read_text()
    assert f"{len(rows)} of 600 labels are more probably wrong than right" in page
    assert rows[0]["reasons"][0] in page
    again = (tmp_path / "review.ids.txt").read_text().split("\n")[:-1]
    assert len(again) == report["budget"]["texts"] == 40
    assert {*again} <= {row["id"] for row in rows}
    assert 0.5 < report["budget"]["fixes"] / report["budget"]["of"] < 1


def test_gold_is_right(tmp_path: Path) -> None:
    made, right = planted()
    for row, topic in zip(made, right, strict=True):
        row["gold"] = row["label"] if row["label"] != topic else None
    suspected, report = api.audit_labels(table=table(tmp_path / "t.parquet", made), gold="gold", budget=10)
    assert report["gold"] == sum(row["gold"] is not None for row in made)
    assert suspected.num_rows < 5


def test_the_nearest_texts_are_those_with_the_rarest_words_in_common(tmp_path: Path) -> None:
    made, _ = planted(80, 0.0)
    made[3] = {"text": "zyzzyva quixotic xylem goal match league striker coach", "label": "law"}
    made[50] = {"text": "zyzzyva quixotic xylem goal season", "label": "sport"}
    suspected, _ = api.audit_labels(table=table(tmp_path / "t.parquet", made))
    (row,) = [row for row in suspected.to_pylist() if row["id"].endswith(":3")]
    assert row["reasons"][2].endswith("t.parquet:50")
    assert "sport" in row["reasons"][2]


def test_labels_far_off_come_first_on_a_scale(tmp_path: Path) -> None:
    draw = random.Random(3)
    made = []
    for i in range(700):
        grade = draw.randrange(5)
        given = (4 if grade < 2 else 0) if i % 10 == 0 else grade
        made.append({"text": text_on("law", draw, 80, share=grade / 8), "label": given})
    suspected, report = api.audit_labels(table=table(tmp_path / "t.parquet", made), scale=True, budget=30)
    rows = suspected.to_pylist()
    planted_ones = [int(row["id"].rsplit(":", 1)[1]) % 10 == 0 for row in rows]
    assert np.mean(planted_ones[:20]) > 0.8
    assert rows[0]["reasons"][0].startswith("by its words ")
    assert "give or take" in rows[0]["reasons"][0]
    assert all(row["answer"] in "01234" for row in rows)
    assert report["budget"]["texts"] == 30


def test_labels_in_a_tree_are_worth_more_to_mend_the_farther_they_are_off(tmp_path: Path) -> None:
    draw = random.Random(5)
    names = {"sport": "leisure/sport", "food": "leisure/food", "law": "law"}
    made = []
    for i in range(600):
        topic = draw.choice([*TOPICS])
        given = {"sport": "food", "food": "sport"}.get(topic, "law") if i % 12 == 0 else topic
        given = "law" if i % 12 == 6 else given
        made.append({"text": text_on(topic, draw, 40, 0.2), "label": names[given]})
    suspected, _ = api.audit_labels(table=table(tmp_path / "t.parquet", made))
    fixes: dict[bool, list[float]] = {True: [], False: []}
    for row in suspected.to_pylist():
        fixes[(row["answer"] == "law") == (row["suggested"] == "law")].append(row["fix"])
    assert np.mean(fixes[False]) > 1.6 * np.mean(fixes[True])


def task_with_answers(
    folder: Path, answer: dict[str, Any], answers: dict[str, list[Any]], texts: list[str]
) -> list[str]:
    """A task and the answers that annotators gave; the arguments of a command that name both."""
    task = {"version": 1, "name": "topic", "instruction": "What is it about?", "answer": answer}
    task["annotators"] = [{"name": "m", "engine": "http", "model": "m", "base_url": "http://127.0.0.1:9/v1"}]
    (folder / "task.yaml").write_text(json.dumps(task))
    write_jsonl(folder / "docs.jsonl", [{"id": f"d{i}", "text": text} for i, text in enumerate(texts)])
    named = [str(folder / "task.yaml"), "--store", str(folder / "store")]
    for name, given in answers.items():
        import_answers(folder, name, dict(enumerate(given)), texts)
    return [*named, "--input", str(folder / "docs.jsonl")]


def import_answers(folder: Path, name: str, given: dict[int, Any], texts: list[str]) -> None:
    rows = [{"id": f"d{i}", "text": texts[i], "answer": value} for i, value in given.items()]
    write_jsonl(folder / f"{name}.jsonl", rows)
    command = ["labels", "import", str(folder / "task.yaml"), str(folder / f"{name}.jsonl"), "--annotator", name]
    done = CliRunner().invoke(app, [*command, "--store", str(folder / "store")])
    assert done.exit_code == 0, done.output


def test_answers_to_a_task_are_audited_and_corrections_come_back(tmp_path: Path) -> None:
    made, right = planted(300)
    texts = [row["text"] for row in made]
    ann = [row["label"] for row in made]
    bob = [topic if i % 3 == 0 else given for i, (given, topic) in enumerate(zip(ann, right, strict=True))]
    command = task_with_answers(tmp_path, {"choice": [*TOPICS]}, {"ann": ann, "bob": bob}, texts)
    out = str(tmp_path / "review.parquet")
    done = CliRunner().invoke(app, ["labels", "audit", *command, "--out", out, "--budget", "5"], env={"COLUMNS": "250"})
    assert done.exit_code == 0, done.output
    rows = pq.read_table(out).to_pylist()
    assert rows
    assert all(row["id"].startswith("d") for row in rows)
    first = rows[0]
    place = int(first["id"][1:])
    assert first["reasons"][-1] == f"its annotators: ann {ann[place]}; bob {bob[place]}"
    assert f"{first['id']}: {first['answer']}, rather {first['suggested']}" in done.output
    assert "review.ids.txt to ask about again" in done.output
    mended = {int(row["id"][1:]): right[int(row["id"][1:])] for row in rows}
    import_answers(tmp_path, "reviewer", mended, texts)
    suspected, report = api.audit_labels(command[0], command[2], inputs=[command[4]], gold="reviewer")
    assert report["gold"] == len(mended)
    assert not {row["id"] for row in rows} & {*suspected["id"].to_pylist()}


def test_of_several_labels_the_most_doubtful_is_told(tmp_path: Path) -> None:
    draw = random.Random(9)
    texts, given = [], []
    for i in range(400):
        topics = [topic for topic in TOPICS if draw.random() < 0.4]
        texts.append(" ".join([text_on("law", draw, 20, 0.0), *(text_on(topic, draw, 30, 0.3) for topic in topics)]))
        wrong = draw.choice([*TOPICS]) if i % 8 == 0 else None
        given.append([topic for topic in TOPICS if (topic in topics) != (topic == wrong)])
    command = task_with_answers(tmp_path, {"multi": [*TOPICS]}, {"ann": given}, texts)
    suspected, report = api.audit_labels(command[0], command[2], inputs=[command[4]])
    rows = suspected.to_pylist()
    found = {int(row["id"][1:]) for row in rows}
    assert len(found & {*range(0, 400, 8)}) > 0.8 * max(50, len(found))
    assert all("fit" in row["reasons"][0] for row in rows)
    assert report["confusions"] == []


def test_a_page_shows_hostile_texts_as_they_are(tmp_path: Path) -> None:
    made, _ = planted(300, 0.15)
    for row in made:
        row["text"] = f"<script>alert(1)</script>\n```\n# {row['text']}"
    api.audit_labels(table=table(tmp_path / "<b>.parquet", made), out=str(tmp_path / "r.parquet"))
    lines = (tmp_path / "r.md").read_text().split("\n")
    inside = False
    for line in lines:
        inside ^= line in ("```text", "```")
        assert "<" not in line or inside
    assert not inside
    assert any(line.startswith("<script>alert(1)</script> ''' # ") for line in lines)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "name what to learn from"),
        (["--table", "{t}", "--out", "review.csv"], "end the name in .parquet"),
        (["--table", "{t}", "--budget", "-1"], "budget is a number of texts, not -1"),
        (["--table", "{few}"], "an audit needs 50 texts or more"),
        (["--table", "{t}", "--label", "grade"], "has no field grade"),
    ],
)
def test_what_is_wrong_is_told(tmp_path: Path, arguments: list[str], message: str) -> None:
    made, _ = planted(60)
    paths = {name: table(tmp_path / f"{name}.parquet", rows) for name, rows in {"t": made, "few": made[:20]}.items()}
    done = CliRunner().invoke(app, ["labels", "audit", *(a.format(**paths) for a in arguments)], env={"COLUMNS": "250"})
    assert done.exit_code == 2
    assert message in done.output


def test_nothing_is_written_where_the_name_is_wrong(tmp_path: Path) -> None:
    made, _ = planted(60)
    with pytest.raises(RecipeError, match=r"end the name in \.parquet"):
        api.audit_labels(table=table(tmp_path / "t.parquet", made), out=str(tmp_path / "review"))
    assert [path.name for path in tmp_path.iterdir()] == ["t.parquet"]
