"""With an index each shard is decided once; the labels that its night left unanswered come all the same."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from gristmill import api
from gristmill.pipelines.engine.local import LocalEngine
from gristmill.pipelines.progress.reporter import Reporter
from gristmill.pipelines.recipe.recipe import load_recipe
from gristmill.pipelines.report.query import query
from gristmill.pipelines.report.verify import verify
from gristmill.pipelines.stages.context import RunResult
from gristmill.pipelines.stages.run import run
from gristmill.pipelines.store.datasets import Dataset
from gristmill.pipelines.store.run_records import RunRecords
from tests.pipelines.label.endpoint import Server, endpoint
from tests.pipelines.label.tasks import ANSWERS, QUIET, Told, task_file, topical, truth
from tests.support import write_jsonl


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with endpoint(answers=ANSWERS) as running:
        yield running


@pytest.fixture
def recipe(tmp_path: Path, server: Server) -> Path:
    """Forty documents of a first night, and a recipe with an index and a task that stops after fifteen answers."""
    write_jsonl(tmp_path / "data" / "docs-0.jsonl", topical(40))
    with_ceiling(tmp_path, server, 15)
    path = tmp_path / "recipe.yaml"
    told = {
        "version": 1,
        "name": "night",
        "store": "./store",
        "sources": [{"name": "docs", "path": "data/docs-*"}],
        "decide": ["exact_dedup", {"fuzzy_dedup": {"index": {"name": "web"}}}],
        "label": ["task.yaml"],
        "write": {"columns": ["id", "text", "topic_answer", "fuzzy_dedup_cluster"]},
    }
    path.write_text(yaml.safe_dump(told, sort_keys=False))
    return path


def with_ceiling(folder: Path, server: Server, documents: int | None, **keys: Any) -> None:
    annotator = {"name": "api", "engine": "http", "base_url": server.url, "model": "m", "concurrency": 4}
    budget = {} if documents is None else {"budget": {"documents": documents}}
    task_file(folder, annotators=[annotator], **budget, **keys)


def go(recipe: Path, yes: bool = True, reporter: Reporter = QUIET) -> RunResult:
    return run(load_recipe(str(recipe)), lambda: LocalEngine(2), reporter, confirm=lambda plan: yes)


def all_nights(recipe: Path) -> list[dict[str, Any]]:
    """The dataset as its readers take it."""
    return api.open_dataset(recipe.parent / "store/datasets/night").arrow().to_table().to_pylist()


def labels(recipe: Path) -> dict[str, str]:
    return {row["id"]: row["topic_answer"] for row in all_nights(recipe) if row["topic_answer"] is not None}


def check(recipe: Path, documents: list[dict[str, Any]]) -> None:
    """Every document is there once, with its label, wherever one looks."""
    store = str(recipe.parent / "store")
    assert sorted(row["id"] for row in all_nights(recipe)) == sorted(row["id"] for row in documents)
    assert labels(recipe) == truth(documents)
    found = query(store, "SELECT id, topic_answer FROM documents").to_pylist()
    assert {row["id"]: row["topic_answer"] for row in found} == truth(documents)
    assert query(store, "SELECT count(*) AS n FROM decisions").to_pylist() == [{"n": len(documents)}]
    assert not verify(store, None, False, QUIET).findings


def test_what_a_night_left_is_asked_by_the_next_run_and_reaches_the_data(recipe: Path, server: Server) -> None:
    first = go(recipe)
    before = {path: path.read_bytes() for path in Path(first.dataset).iterdir()}
    assert len(labels(recipe)) == 15
    with_ceiling(recipe.parent, server, None)
    second = go(recipe)
    assert not second.cached
    assert second.labels[0].annotators[0].answered == 40
    assert second.dataset != first.dataset
    assert Dataset(str(recipe.parent / "store"), "night").current == Path(second.dataset).name
    assert {path: path.read_bytes() for path in Path(first.dataset).iterdir()} == before, "a version never changes"
    check(recipe, topical(40))
    asked = server.stats().requests
    assert go(recipe).cached
    assert server.stats().requests == asked


def test_nights_are_gone_on_with_in_their_order_and_new_ones_come_after(recipe: Path, server: Server) -> None:
    go(recipe)
    store = str(recipe.parent / "store")
    write_jsonl(recipe.parent / "data" / "docs-1.jsonl", topical(30, seed=1))
    with_ceiling(recipe.parent, server, 25)
    second = go(recipe)  # ten answers more for the first night, none for its own
    assert [labelled.annotators[0].answered for labelled in second.labels] == [25, 0]
    assert len(labels(recipe)) == 25
    assert len(RunRecords(store).standing()) == 2
    write_jsonl(recipe.parent / "data" / "docs-2.jsonl", topical(20, seed=2))
    with_ceiling(recipe.parent, server, None)
    third = go(recipe)
    documents = topical(40) + topical(30, seed=1) + topical(20, seed=2)
    assert {row["text"]: row["topic_answer"] for row in all_nights(recipe)} == {
        row["text"]: truth([row])[row["id"]] for row in documents
    }
    assert Dataset(store, "night").current == Path(third.dataset).name
    assert len(list(RunRecords(store).finished())) == 6
    assert len(RunRecords(store).standing()) == 3
    assert go(recipe).cached
    assert Dataset(store, "night").current == Path(third.dataset).name


def test_labels_of_an_old_night_reach_readers_and_the_newest_stays(recipe: Path, server: Server) -> None:
    go(recipe)
    path = yaml.safe_load(recipe.read_text())
    recipe.write_text(yaml.safe_dump({**path, "label": []} | {"write": {"columns": ["id", "text"]}}, sort_keys=False))
    write_jsonl(recipe.parent / "data" / "docs-1.jsonl", topical(30, seed=1))
    newest = go(recipe)
    recipe.write_text(yaml.safe_dump(path, sort_keys=False))
    with_ceiling(recipe.parent, server, None)
    go(recipe)
    dataset = Dataset(str(recipe.parent / "store"), "night")
    assert dataset.named(str(dataset.current)).manifest["completes"] == Path(newest.dataset).name
    assert len(all_nights(recipe)) == 70
    assert sum(row.get("topic_answer") is not None for row in all_nights(recipe)) == 40


def test_a_run_that_only_completes_labels_leaves_a_page(recipe: Path, server: Server) -> None:
    first = go(recipe)
    with_ceiling(recipe.parent, server, None)
    done = api.run(recipe, reporter=QUIET)
    assert done.report is not None
    page = Path(done.report).read_text()
    assert f"completes the labels of <code>{first.run}</code>" in page
    assert Path(done.report).parent.name == RunRecords(str(recipe.parent / "store")).newest("night").name != first.run
    assert api.run(recipe, reporter=QUIET).report is None
    assert Path(api.report("night", recipe.parent / "store")) == Path(done.report)
    assert "completes labels" in Path(done.report).read_text(), "among the versions"


def test_without_new_answers_nothing_is_written(recipe: Path, server: Server) -> None:
    first = go(recipe)
    asked = server.stats().requests
    again = go(recipe)
    assert (again.cached, again.dataset) == (True, first.dataset)
    assert again.labels[0].reached == "documents"
    assert server.stats().requests == asked
    assert len(list(RunRecords(str(recipe.parent / "store")).finished())) == 1


def test_a_night_without_consent_is_asked_the_next_time(recipe: Path, server: Server) -> None:
    with_ceiling(recipe.parent, server, None)
    go(recipe, yes=False)
    assert labels(recipe) == {}
    go(recipe)
    check(recipe, topical(40))


@pytest.mark.parametrize("change", ["rule", "task", "source"])
def test_what_cannot_be_gone_on_with_is_said(recipe: Path, server: Server, change: str) -> None:
    go(recipe)
    with_ceiling(recipe.parent, server, None, **({"instruction": "Another one?"} if change == "task" else {}))
    told = yaml.safe_load(recipe.read_text())
    if change == "rule":
        told["decide"].insert(0, {"drop": "bytes < 10"})
    if change == "source":
        shutil.move(recipe.parent / "data" / "docs-0.jsonl", recipe.parent / "docs-0.jsonl")
        write_jsonl(recipe.parent / "data" / "docs-1.jsonl", topical(20, seed=1))
    recipe.write_text(yaml.safe_dump(told, sort_keys=False))
    reporter = Told()
    go(recipe, reporter=reporter)
    why = {"rule": "another decide now", "task": "ask something else now", "source": "no longer among the sources"}
    assert any(why[change] in line for line in reporter.warned)
