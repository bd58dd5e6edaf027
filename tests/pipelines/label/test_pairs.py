"""Tasks about pairs of texts: which are asked about, what the model sees, and the scores that come of it."""

from __future__ import annotations

import json
import random
from collections.abc import Generator, Iterable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from gristmill import api
from gristmill.operators.errors import RecipeError
from gristmill.operators.label.contract import Completion, Question, Reply
from gristmill.operators.label.pairs import drawn_pairs, joined, parted
from gristmill.operators.label.prompt import BETWEEN, Estimate, Prompt
from gristmill.operators.label.task import TaskQuestion
from gristmill.pipelines.cli.main import app
from gristmill.pipelines.engine import open_engine
from gristmill.pipelines.label.documents import source_of
from gristmill.pipelines.label.result import LabelResult
from gristmill.pipelines.label.run import label, scan_some
from gristmill.pipelines.label.task import load_task
from gristmill.pipelines.progress.reporter import Reporter
from gristmill.pipelines.train.evaluation import spearman
from tests.pipelines.label.endpoint import endpoint
from tests.support import make_documents, write_jsonl


@given(st.text(), st.text())
def test_joined_texts_are_parted_again(first: str, second: str) -> None:
    assert parted(joined(first, second)) == (first, second)


@given(st.integers(1, 60), st.integers(1, 12), st.integers(0, 3))
def test_each_text_is_in_as_many_pairs_and_no_pair_comes_twice(n: int, comparisons: int, seed: int) -> None:
    words = np.random.default_rng(n).integers(1 << 62, size=(n, 2)).astype(np.uint64)
    pairs = drawn_pairs(words, comparisons, seed)
    assert (pairs[:, 0] != pairs[:, 1]).all()
    assert len({frozenset(pair) for pair in pairs.tolist()}) == len(pairs)
    counts = np.bincount(pairs.ravel(), minlength=n)
    if n > 2:
        wanted = min(2 * ((comparisons + 1) // 2), 2 * ((n - 1) // 2))
        assert counts.tolist() == [wanted] * n
    order = np.random.default_rng(1).permutation(n)
    again = order[drawn_pairs(words[order], comparisons, seed)]
    assert {tuple(pair) for pair in again.tolist()} == {tuple(pair) for pair in pairs.tolist()}


def test_either_place_is_as_frequent() -> None:
    words = np.random.default_rng(0).integers(1 << 62, size=(500, 2)).astype(np.uint64)
    first = np.bincount(drawn_pairs(words, 10, 0)[:, 0], minlength=500)
    assert first.mean() == 5
    assert first.min() > 0
    assert first.max() < 10


class Judge:
    """An annotator that prefers texts with a larger number, with some noise, and knows ties."""

    revision, tokenizer = "one", Estimate()

    def __init__(self, strengths: dict[str, float], soft: bool = False) -> None:
        self.strengths, self.soft, self.seen = strengths, soft, list[str]()
        self._draw = random.Random(0)

    def answer(self, batches: Iterable[Sequence[Question]]) -> Generator[Sequence[Reply]]:
        for questions in batches:
            yield [self._reply(question) for question in questions]

    def close(self) -> None:
        pass

    def _reply(self, question: Question) -> Reply:
        self.seen.append(question.document)
        first, second = (self.strengths[text] for text in question.document.split(BETWEEN))
        chance = 1 / (1 + np.exp(second - first))
        if self.soft:
            slot = {"A": float(np.log(0.9 * chance)), "B": float(np.log(0.9 * (1 - chance))), "C": float(np.log(0.1))}
            best = max(slot, key=slot.__getitem__)
            return Reply(question.key, Completion(best, (slot,), slot[best], 0, 0))
        code = "C" if abs(first - second) < 0.2 else "A" if self._draw.random() < chance else "B"
        return Reply(question.key, Completion(code, None, None, 0, 0))


def asked(folder: Path, judge: Judge, texts: Sequence[str], **sample: Any) -> LabelResult:
    """A task put to texts."""
    write_jsonl(folder / "docs.jsonl", [{"id": f"d{i}", "text": text} for i, text in enumerate(texts)])
    annotator = {"name": "judge", "engine": "keywords", "words": {"first": ["x"]}}
    task = {"version": 1, "name": "better", "instruction": "Compare.", "answer": {"pair": "teaches more"}}
    task |= {"annotators": [annotator], "sample": {"documents": len(texts), **sample}}
    (folder / "task.yaml").write_text(yaml.safe_dump(task))
    with closing(open_engine("local", None)) as engine:
        quiet = Reporter(quiet=True)
        source = source_of(str(folder / "docs.jsonl"), "input", "text", "id", None)
        documents = scan_some(source, engine, quiet)
        loaded = load_task(str(folder / "task.yaml"))
        return label(loaded, str(folder / "store"), documents, quiet, lambda plan: True, lambda *_: judge, {})


def strengths(n: int) -> dict[str, float]:
    draw = random.Random(1)
    return {document["text"]: draw.gauss(0, 2) for document in make_documents(n)}


@pytest.mark.parametrize("soft", [False, True])
def test_scores_are_in_the_order_of_the_truth(tmp_path: Path, soft: bool) -> None:
    truth = strengths(150)
    judge = Judge(truth, soft)
    result = asked(tmp_path, judge, list(truth), comparisons=12)
    texts = len(truth)
    assert result.texts == len(judge.seen) == 6 * texts
    table, report = api.aggregate_labels(str(tmp_path / "task.yaml"), tmp_path / "store")
    assert report["comparisons"] == 6 * texts
    assert table["comparisons"].unique().to_pylist() == [12]
    assert table["score"].to_pylist() == sorted(table["score"].to_pylist(), reverse=True)
    rows = {row["id"]: row["score"] for row in table.to_pylist()}
    ids = [f"d{i}" for i in range(texts)]
    rank = spearman(np.array([rows[id] for id in ids]), np.array([*truth.values()]))
    assert rank is not None
    assert rank > (0.98 if soft else 0.9)
    again = asked(tmp_path, judge, list(truth), comparisons=12)
    assert again.annotators[0].cached == 6 * texts  # nothing is asked twice
    more = asked(tmp_path, judge, list(truth), comparisons=14)
    assert more.annotators[0].cached == 6 * texts
    assert len(judge.seen) == 7 * texts


def test_a_long_pair_is_cut_on_both_sides_and_its_structure_is_broken() -> None:
    asks = TaskQuestion.model_validate(
        {"instruction": "Compare.", "answer": {"pair": "teaches more"}, "text": {"max_tokens": 100}}
    )
    from gristmill.pipelines.label.questions import Preparer

    long = joined("one " * 5000, f"two </document> {'three ' * 5000}")
    question = Preparer(asks, Estimate()).question(b"k" * 16, long)
    first, second = question.document.split(BETWEEN)
    assert first.startswith("one one")
    assert second.startswith("two ")
    assert "</document>" not in second
    assert max(len(first), len(second)) < 1500
    assert question.cut_tokens > 5000
    (turn,) = Prompt(asks).messages(question.document)
    assert turn["content"].count("<document>") == 3  # one of them in the sentence about it
    assert "Which one teaches more?" in turn["content"]
    assert "Each document stands between" in turn["content"]


def test_the_commands_ask_and_score(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    documents = make_documents(40)
    write_jsonl(tmp_path / "docs.jsonl", documents)
    with endpoint(answers={"a": "A", "the": "B"}, plan={"wrong_label": 0.1}) as server:
        task = {"version": 1, "name": "better", "instruction": "Compare.", "answer": {"pair": "teaches more"}}
        task["annotators"] = [{"name": "m", "engine": "http", "base_url": server.url, "model": "m"}]
        Path("task.yaml").write_text(yaml.safe_dump(task))
        done = CliRunner().invoke(app, ["label", "task.yaml", "--input", "docs.jsonl", "--yes", "--quiet"])
        assert done.exit_code == 0, done.output
    done = CliRunner().invoke(app, ["labels", "aggregate", "task.yaml", "--json", "--out", "scores.parquet"])
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["method"] == "bradley_terry"
    assert Path("scores.parquet").exists()
    shown = CliRunner().invoke(app, ["labels", "aggregate", "task.yaml"])
    assert shown.exit_code == 0, shown.output


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"examples": [{"text": "x", "answer": "first"}]}, "an example has one text"),
        ({"answer": {"pair": ""}}, "pair"),
        ({"answer": {"choice": ["a", "b"]}, "sample": {"documents": 5, "comparisons": 4}}, "go with answers of pairs"),
    ],
)
def test_what_makes_no_sense_is_refused(tmp_path: Path, changed: dict[str, Any], message: str) -> None:
    task = {"version": 1, "name": "t", "instruction": "i", "answer": {"pair": "teaches more"}}
    task["annotators"] = [{"name": "m", "engine": "http", "base_url": "http://x", "model": "m"}]
    (tmp_path / "t.yaml").write_text(yaml.safe_dump({**task, **changed}))
    with pytest.raises(RecipeError, match=message):
        load_task(str(tmp_path / "t.yaml"))


def test_pairs_are_no_labels_of_texts(tmp_path: Path) -> None:
    truth = strengths(60)
    asked(tmp_path, Judge(truth), list(truth), comparisons=2)
    with pytest.raises(RecipeError, match="its answers are no labels"):
        api.distil(str(tmp_path / "m.bin"), str(tmp_path / "task.yaml"), tmp_path / "store")
    recipe = {"version": 1, "name": "r", "store": "./store", "sources": [{"name": "d", "path": "docs.jsonl"}]}
    (tmp_path / "r.yaml").write_text(yaml.safe_dump({**recipe, "label": ["task.yaml"], "write": {}}))
    with pytest.raises(RecipeError, match="pairs of texts, which give no columns"):
        api.plan(str(tmp_path / "r.yaml"))
