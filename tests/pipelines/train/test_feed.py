"""`gristmill labels feed`: labelled texts in splits that share no near copy."""

from __future__ import annotations

import json
import random
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from gristmill import api
from gristmill.operators.errors import RecipeError
from gristmill.pipelines.cli.main import app
from gristmill.pipelines.train.fasttext import TrainingArguments, train_model
from gristmill.pipelines.train.feed import SPLITS
from tests.pipelines.label.tasks import task_file
from tests.pipelines.readers.folders import make_dataset
from tests.pipelines.train.topics import examples, table
from tests.support import write_jsonl


def with_copies(n: int = 300, seed: int = 0) -> list[dict[str, Any]]:
    """Texts on topics; a third of them have one to four copies with a word or two changed, some with another label."""
    draw, made = random.Random(seed), []
    for row in examples(n, seed):
        made.append({**row, "sure": draw.choice([0.5, 0.75, 1.0])})
        for _ in range(draw.randrange(1, 5) if draw.random() < 0.33 else 0):
            words = row["text"].split(" ")
            for _ in range(draw.randrange(1, 3)):
                words[draw.randrange(len(words))] = f"changed{draw.randrange(1000)}"
            label = "law" if draw.random() < 0.1 else row["label"]
            made.append({"text": " ".join(words), "label": label, "sure": 1.0})
    draw.shuffle(made)
    return made


@pytest.fixture(scope="module")
def made() -> list[dict[str, Any]]:
    return with_copies()


@pytest.fixture(scope="module")
def path(made: list[dict[str, Any]], tmp_path_factory: pytest.TempPathFactory) -> str:
    return table(tmp_path_factory.mktemp("feed") / "labels.parquet", made)


def shingles(text: str) -> set[tuple[str, ...]]:
    words = text.split()
    return {tuple(words[i : i + 5]) for i in range(len(words) - 4)}


def similarity(a: set[Any], b: set[Any]) -> float:
    return len(a & b) / len(a | b)


def test_no_near_copy_is_in_another_split_and_every_text_in_one(path: str, made: list[dict[str, Any]]) -> None:
    feed = api.classifier_feed(table=path, validation=0.2, test=0.2)
    texts = {name: feed.arrays(name)[0] for name in SPLITS}
    assert sorted(text for of_split in texts.values() for text in of_split) == sorted({row["text"] for row in made})
    sets = {name: [shingles(text) for text in of_split] for name, of_split in texts.items()}
    for a, b in (("train", "validation"), ("train", "test"), ("validation", "test")):
        assert max(similarity(*pair) for pair in product(sets[a], sets[b])) < 0.65
    within = [similarity(a, b) for i, a in enumerate(sets["train"]) for b in sets["train"][:i]]
    assert sum(value > 0.65 for value in within) > 50, "there are near copies"
    clusters = [{*feed.splits[name]["cluster"].to_pylist()} for name in SPLITS]
    assert not (clusters[0] & clusters[1] | clusters[0] & clusters[2] | clusters[1] & clusters[2])
    for name, shares in (("validation", 0.2), ("test", 0.2), ("train", 0.6)):
        assert feed.report["splits"][name]["clusters"] == pytest.approx(300 * shares, abs=3)


def test_what_is_told_is_what_there_is(path: str, made: list[dict[str, Any]], tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["labels", "feed", "--table", path, "--out", str(tmp_path), "--json"])
    told = json.loads(done.stdout)
    report = json.loads((tmp_path / "feed.json").read_text())
    assert told == {**{name: value for name, value in report.items() if name != "format"}, "folder": str(tmp_path)}
    together = []
    for name in SPLITS:
        rows = pq.read_table(tmp_path / f"{name}.parquet").to_pylist()
        of_split = report["splits"][name]
        assert (of_split["texts"], sum(of_split["labels"].values())) == (len(rows), len(rows))
        assert all(of_split["labels"][label] == sum(row["label"] == label for row in rows) for label in ("law", "food"))
        clusters = [row["cluster"] for row in rows]
        together += [clusters.count(cluster) for cluster in {*clusters} if clusters.count(cluster) > 1]
    kept = report["kept_together"]
    assert (kept["clusters"], kept["texts"]) == (len(together), sum(together))
    assert [cluster["texts"] for cluster in kept["largest"]] == sorted(together, reverse=True)[:20]
    assert report["texts"] == len({row["text"] for row in made})
    assert {row["id"].rsplit(":", 1)[0] for row in rows} == {path}
    shown = CliRunner().invoke(app, ["labels", "feed", "--table", path, "--out", str(tmp_path)]).output
    assert f"{kept['clusters']} clusters of near copies, {kept['texts']:,} texts, kept together" in shown
    assert [line.split() for line in shown.splitlines() if line.startswith("food")] == [
        ["food", *(str(report["splits"][name]["labels"]["food"]) for name in SPLITS)]
    ]


def test_the_same_examples_give_the_same_splits_in_any_order(made: list[dict[str, Any]], tmp_path: Path) -> None:
    paths = [tmp_path / "a.parquet", tmp_path / "b.parquet"]
    feeds = [api.classifier_feed(table=table(path, made[::step])) for path, step in zip(paths, (1, -1), strict=True)]
    for name in SPLITS:
        first, second = (feed.splits[name].drop_columns(["id"]) for feed in feeds)
        assert first.equals(second)
    assert not api.classifier_feed(table=str(paths[0]), seed=1).splits["test"].equals(feeds[0].splits["test"])


def test_weights(path: str, made: list[dict[str, Any]]) -> None:
    plain = api.classifier_feed(table=path, probability="sure").splits
    sure = {row["text"]: row["sure"] for row in made}
    for row in plain["train"].to_pylist():
        assert row["weight"] == row["probability"] == pytest.approx(sure[row["text"]])
    texts, labels, weights = api.classifier_feed(table=path, probability="sure", balance=True).arrays("train")
    assert texts == plain["train"]["text"].to_pylist()
    totals = [weights[np.array(labels) == label].sum() for label in ("food", "law", "sport")]
    assert totals == pytest.approx([sum(plain["train"]["weight"].to_pylist()) / 3] * 3)


def test_fasttext_reads_and_learns_it(tmp_path: Path) -> None:
    import fasttext

    path, made = tmp_path / "t.parquet", [{**row, "label": f"on {row['label']}"} for row in with_copies(400)]
    for i, row in enumerate(made):
        row["text"] = f"__label__spam {row['text']}\n</s> tail\u2028of\0it __label__{i}"
    feed = api.classifier_feed(table=table(path, made), test=0.3, out=str(tmp_path), format="fasttext")
    for name in SPLITS:
        lines = (tmp_path / f"{name}.txt").read_text().split("\n")[:-1]
        labels = [line.split(" ")[0] for line in lines]
        assert labels == [f"__label__{label.replace(' ', '%20')}" for label in feed.arrays(name)[1]]
        assert all(line.endswith(" tail of it") and line.count("__label__") == 1 for line in lines)
    arguments = TrainingArguments(16, 1, 25, 0.5, 1, 1000, 0, 1)
    train_model(tmp_path / "train.txt", tmp_path / "model.bin", arguments)
    model = fasttext.load_model(str(tmp_path / "model.bin"))
    assert {*model.labels} == {"__label__on%20sport", "__label__on%20law", "__label__on%20food"}
    n, precision, _ = model.test(str(tmp_path / "test.txt"))
    assert n == feed.report["splits"]["test"]["texts"]
    assert precision > 0.75


def test_hugging_face_reads_it(path: str, tmp_path: Path) -> None:
    import datasets

    feed = api.classifier_feed(table=path, out=str(tmp_path / "feed"))
    found = datasets.load_dataset(str(tmp_path / "feed"), cache_dir=str(tmp_path / "cache"))
    assert {name: split.num_rows for name, split in found.items()} == {
        name: of_split["texts"] for name, of_split in feed.report["splits"].items()
    }
    assert found["test"]["text"][:] == feed.arrays("test")[0]


def test_scikit_learn_learns_from_it(path: str) -> None:
    from sklearn.feature_extraction.text import CountVectorizer
    from sklearn.naive_bayes import MultinomialNB

    feed = api.classifier_feed(table=path, probability="sure", test=0.3)
    words = CountVectorizer()
    texts, labels, weights = feed.arrays("train")
    model = MultinomialNB().fit(words.fit_transform(texts), labels, sample_weight=weights)
    texts, labels, _ = feed.arrays("test")
    assert model.score(words.transform(texts), labels) > 0.75


def test_a_dataset_whose_columns_are_labels(tmp_path: Path) -> None:
    rows = [{"id": str(i), "text": row["text"], "edu_answer": i % 4, "edu_probability": 0.5 + i % 2 / 4}
            for i, row in enumerate(examples(200))]  # fmt: skip
    rows += [{"id": "none", "text": "nobody looked at this", "edu_answer": None, "edu_probability": None}]
    tables = [pa.Table.from_pylist(rows[:90]), pa.Table.from_pylist(rows[90:])]
    make_dataset(str(tmp_path / "store"), "web", [tables], group=50)
    wanted = {"label": "edu_answer", "probability": "edu_probability", "scale": True}
    feed = api.classifier_feed(store=tmp_path / "store", dataset="web", **wanted)
    found = {row["text"]: row for table in feed.splits.values() for row in table.to_pylist()}
    assert {text: (row["id"], row["label"], row["weight"]) for text, row in found.items()} == {
        row["text"]: (row["id"], row["edu_answer"], row["edu_probability"]) for row in rows[:200]
    }
    assert [*feed.report["splits"]["train"]["labels"]] == ["0", "1", "2", "3"]


def test_the_answers_to_a_task(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    answer = {"multi": {"sport": "", "law": "", "food": ""}}
    documents = [{"id": str(i), "text": row["text"]} for i, row in enumerate(examples(90))]
    fits = [[], ["law"], ["food", "sport"]]
    write_jsonl(tmp_path / "docs.jsonl", documents)
    write_jsonl(tmp_path / "gold.jsonl", [{**row, "answer": fits[i % 3]} for i, row in enumerate(documents)])
    task = task_file(tmp_path, answer=answer)
    done = CliRunner().invoke(app, ["labels", "import", "task.yaml", "gold.jsonl", "--annotator", "gold"])
    assert done.exit_code == 0, done.output
    feed = api.classifier_feed(task, inputs=["docs.jsonl"], out="feed", format="fasttext")
    assert feed.report["texts"] == 90
    assert sum(split["without_a_label"] for split in feed.report["splits"].values()) == 30
    found = {row["id"]: row["label"] for table in feed.splits.values() for row in table.to_pylist()}
    assert {id: {*labels} for id, labels in found.items()} == {str(i): {*fits[i % 3]} for i in range(90)}
    line = next(line for line in (tmp_path / "feed/train.txt").read_text().split("\n") if "food" in line)
    assert line.startswith(("__label__food __label__sport ", "__label__sport __label__food "))
    with pytest.raises(RecipeError, match="balance makes labels weigh alike"):
        api.classifier_feed(task, inputs=["docs.jsonl"], balance=True)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "name the labels: a TASK"),
        ({"table": "t", "dataset": "d"}, "name the labels: a TASK"),
        ({"validation": 0.5, "test": 0.5}, "together less than 1, not 0.5 and 0.5"),
        ({"format": "csv"}, "there is no format csv; take parquet or fasttext"),
        ({"label": "lable"}, "has no field lable"),
    ],
)
def test_wrong_options_are_told(path: str, options: dict[str, Any], message: str) -> None:
    given = options if {"table", "dataset"} & {*options} or not options else {"table": path, **options}
    with pytest.raises(RecipeError, match=message):
        api.classifier_feed(**given)
