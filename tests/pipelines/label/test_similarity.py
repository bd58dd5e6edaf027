"""The backend `similarity`: it learns words of labels from a corpus, abstains, and depends on the texts alone."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from gristmill import api
from gristmill.operators.errors import RecipeError
from gristmill.pipelines.cli.main import app
from gristmill.pipelines.label.store import LabelStore
from gristmill.pipelines.label.task import load_task
from tests.pipelines.train.topics import TOPICS, text_on
from tests.support import write_jsonl

#: The definitions have one word of each topic; texts mostly have the others.
DEFINED = {topic: words[0] for topic, words in TOPICS.items()}
SHARED = Path(__file__).parents[4] / "shared" / "data" / "labelled"


class Labelled:
    """A task with such an annotator, put to texts."""

    def __init__(self, folder: Path, n: int = 600, answer: dict[str, Any] | None = None, **options: Any) -> None:
        draw = random.Random(0)
        self.folder, self.truth = folder, [draw.choice([*TOPICS]) for _ in range(n)]
        self.texts = [text_on(topic, draw, 40, 0.2) for topic in self.truth]
        rows = [{"id": str(i), "text": text} for i, text in enumerate(self.texts)]
        write_jsonl(folder / "docs.jsonl", rows)
        draw.shuffle(rows)
        write_jsonl(folder / "corpus" / "a.jsonl", rows[: n // 2])
        write_jsonl(folder / "corpus" / "b.jsonl", rows[n // 2 :])
        annotator = {"name": "near", "engine": "similarity", "corpus": "corpus/*", **options}
        task = {"version": 1, "name": "t", "instruction": "Which?", "answer": answer or {"choice": DEFINED}}
        (folder / "t.yaml").write_text(json.dumps(task | {"annotators": [annotator]}))

    def answers(self, store: str = "store") -> dict[str, str | None]:
        task, place = self.folder / "t.yaml", self.folder / store
        api.label(task, place, paths=[str(self.folder / "docs.jsonl")])
        found = LabelStore(str(place), load_task(str(task)).fingerprint)
        ids = dict(zip(*(found.documents()[name].to_pylist() for name in ("content_id", "id")), strict=True))
        rows = found.rows()
        return {
            ids[key]: answer
            for key, answer in zip(rows["content_id"].to_pylist(), rows["answer"].to_pylist(), strict=True)
        }


def right(labelled: Labelled, answers: dict[str, str | None]) -> float:
    said = {id: answer for id, answer in answers.items() if answer is not None}
    return sum(labelled.truth[int(id)] == answer for id, answer in said.items()) / len(said)


def test_labels_take_on_words_of_the_nearest_texts_and_it_abstains(tmp_path: Path) -> None:
    labelled = Labelled(tmp_path)
    answers = labelled.answers()
    assert len(answers) == 600
    assert right(labelled, answers) > 0.97
    assert 0.15 * 600 < list(answers.values()).count(None) < 0.25 * 600
    # texts without any word of the definitions are answered as well, and rightly
    others = [
        i
        for i, text in enumerate(labelled.texts)
        if not {word for words in TOPICS.values() for word in words[:1]} & {*text.split()}
    ]
    said = [i for i in others if answers[str(i)] is not None]
    assert len(said) > 10
    assert sum(labelled.truth[i] == answers[str(i)] for i in said) > 0.9 * len(said)


def test_answers_depend_on_the_texts_of_the_corpus_alone(tmp_path: Path) -> None:
    labelled = Labelled(tmp_path)
    first = labelled.answers()
    texts = sorted((tmp_path / "corpus").glob("*"))
    rows = [json.loads(line) for path in texts for line in path.read_text().splitlines()]
    for path in texts:
        path.unlink()
    write_jsonl(tmp_path / "corpus" / "all.jsonl.gz", [*rows, *rows[:20]][::-1])
    again = api.label(tmp_path / "t.yaml", tmp_path / "store", paths=[str(tmp_path / "docs.jsonl")])
    assert again.annotators[0].cached == 600  # the same revision
    assert labelled.answers("other") == first
    write_jsonl(tmp_path / "corpus" / "more.jsonl", [{"id": "x", "text": "another text of the corpus"}])
    anew = api.label(tmp_path / "t.yaml", tmp_path / "store", paths=[str(tmp_path / "docs.jsonl")])
    assert anew.annotators[0].cached == 0


def test_nothing_is_left_out_where_it_may_not_abstain(tmp_path: Path) -> None:
    labelled = Labelled(tmp_path, abstain=0.0)
    answers = labelled.answers()
    assert list(answers.values()).count(None) < 6  # texts without a word that says anything
    assert right(labelled, answers) > 0.9


def test_abstentions_are_told_apart_from_invalid_answers(tmp_path: Path) -> None:
    answers = Labelled(tmp_path).answers()
    done = CliRunner().invoke(app, ["labels", "info", "--store", str(tmp_path / "store"), "--json"])
    (annotator,) = json.loads(done.stdout)[0]["annotators"]
    assert annotator["invalid"] == 0
    assert annotator["abstained"] == list(answers.values()).count(None)
    shown = CliRunner().invoke(app, ["labels", "info", "--store", str(tmp_path / "store")])
    assert "abstained" in shown.output


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"answer": {"scale": [0, 5]}}, "near: similarity gives one label of several; the answer must be a choice"),
        ({"n": 90}, "has 90 different texts; meanings of labels take 100 or more"),
        ({"corpus": "nowhere/*"}, "nowhere"),
        ({"field": "body"}, "body"),
        ({"abstain": 1.0}, "abstain"),
    ],
)
def test_what_cannot_be_is_refused(tmp_path: Path, changed: dict[str, Any], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        Labelled(tmp_path, **changed).answers()


@pytest.mark.skipif(not SHARED.exists(), reason="needs the labelled texts of the shared data")
def test_it_is_right_about_news_without_a_label(tmp_path: Path) -> None:
    definitions = {
        "World": "international politics, governments, wars, elections, countries, ministers and presidents",
        "Sports": "games, matches, teams, players, coaches, championships and scores",
        "Business": "companies, markets, stocks, profits, oil prices, economy and banks",
        "Sci/Tech": "science, technology, computers, software, internet, space and research",
    }
    labelled = Labelled(tmp_path, answer={"choice": definitions}, corpus=str(SHARED / "agnews_train.parquet"))
    table = pq.read_table(SHARED / "agnews_test.parquet").slice(0, 2000)
    labelled.truth, labelled.texts = table["label_name"].to_pylist(), table["text"].to_pylist()
    write_jsonl(tmp_path / "docs.jsonl", [{"id": str(i), "text": text} for i, text in enumerate(labelled.texts)])
    answers = labelled.answers()
    assert 0.7 < sum(answer is not None for answer in answers.values()) / len(answers) < 0.9
    assert right(labelled, answers) > 0.78
