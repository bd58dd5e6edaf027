"""Tasks in a recipe: what was kept is labelled, and the answers are columns of the dataset."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gristmill import api
from gristmill.operators.errors import RecipeError
from gristmill.operators.measures.content_id import content_ids
from gristmill.pipelines.engine.local import LocalEngine
from gristmill.pipelines.label.importing import import_labels
from gristmill.pipelines.label.store import LabelStore
from gristmill.pipelines.label.task import load_task
from gristmill.pipelines.planning.state import plan_run
from gristmill.pipelines.recipe.recipe import load_recipe
from gristmill.pipelines.report import query
from gristmill.pipelines.stages.context import RunResult
from gristmill.pipelines.stages.label import keys_after
from gristmill.pipelines.stages.run import run
from tests.pipelines.label.endpoint import Server, endpoint
from tests.pipelines.label.tasks import ANSWERS, QUIET, TOPICS, task_file, topical
from tests.support import write_jsonl

MakeRecipe = Callable[..., Path]


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with endpoint(answers=ANSWERS, delay=0.001) as running:
        yield running


@pytest.fixture
def folder(tmp_path: Path, server: Server) -> Path:
    """A corpus of topical documents in two files, and a task."""
    rows = topical(200)
    write_jsonl(tmp_path / "data" / "docs-0.jsonl.gz", rows[:90])
    write_jsonl(tmp_path / "data" / "docs-1.jsonl.gz", rows[90:])
    make_task(tmp_path, server)
    return tmp_path


def make_task(folder: Path, server: Server, **keys: Any) -> Path:
    annotator = {"name": "api", "engine": "http", "base_url": server.url, "model": "m"}
    return task_file(folder, annotators=[annotator], **keys)


def go(recipe: Path, yes: bool = True) -> RunResult:
    return run(load_recipe(str(recipe)), lambda: LocalEngine(2), QUIET, confirm=lambda plan: yes)


def dataset(result: RunResult) -> pa.Table:
    return pq.read_table(sorted(str(path) for path in Path(result.dataset).glob("*.parquet")))


def asked(server: Server) -> int:
    return server.stats().requests


def test_answers_become_columns(folder: Path, make_recipe: MakeRecipe, server: Server) -> None:
    recipe = make_recipe(
        folder, sources=[{"name": "docs", "path": "data/docs-*"}], decide=[{"drop": "tokens < 20"}], label=["task.yaml"]
    )
    result = go(recipe)
    table = dataset(result)
    assert 0 < table.num_rows < 200
    assert [name for name in table.column_names if name.startswith("topic_")] == [
        "topic_answer",
        "topic_probability",
        "topic_annotator",
        "topic_entropy",
    ]
    for row in table.to_pylist():
        assert row["topic_answer"] == next(topic for topic in TOPICS if topic in row["text"])
        assert row["topic_probability"] == pytest.approx(0.9)
        assert row["topic_annotator"] == "api"
        assert row["topic_entropy"] == pytest.approx(0.325, abs=1e-3)
    assert result.labels[0].annotators[0].answered == table.num_rows
    found = query.query(str(folder / "store"), "SELECT count(topic_answer) AS n FROM documents").to_pylist()
    assert found == [{"n": table.num_rows}]


def test_a_second_run_asks_nothing_and_writes_nothing(folder: Path, make_recipe: MakeRecipe, server: Server) -> None:
    recipe = make_recipe(
        folder, transform=["normalize_unicode"], sources=[{"name": "docs", "path": "data/docs-*"}], label=["task.yaml"]
    )
    first = go(recipe)
    before = asked(server)
    second = go(recipe)
    assert asked(server) == before
    assert second.dataset == first.dataset


def test_a_sample_goes_by_measures_and_leaves_the_others_null(
    folder: Path, make_recipe: MakeRecipe, server: Server
) -> None:
    make_task(folder, server, sample={"documents": 25, "by": "top", "score": "tokens"})
    table = dataset(go(make_recipe(folder, sources=[{"name": "docs", "path": "data/docs-*"}], label=["task.yaml"])))
    labelled = [row["tokens"] for row in table.to_pylist() if row["topic_answer"] is not None]
    others = [row["tokens"] for row in table.to_pylist() if row["topic_answer"] is None]
    assert len(labelled) == 25
    assert min(labelled) >= max(others)


def test_what_a_dataset_was_labelled_with_is_known_in_the_recipe(
    folder: Path, make_recipe: MakeRecipe, server: Server
) -> None:
    from gristmill.pipelines.label.documents import source_of
    from gristmill.pipelines.label.run import label_source

    recipe = make_recipe(
        folder, transform=["normalize_unicode"], sources=[{"name": "docs", "path": "data/docs-*"}], label=["task.yaml"]
    )
    go(recipe)
    before = asked(server)
    task = load_task(str(folder / "task.yaml"))
    source = source_of(str(folder / "store" / "datasets" / "test"), "test", "text", "id", None)
    result = label_source(task, str(folder / "store"), source, LocalEngine(1), QUIET, lambda plan: True)
    assert result.annotators[0].cached == result.texts == 200
    assert asked(server) == before


@pytest.mark.parametrize(("written", "source"), [({}, "docs"), ({"columns": ["id", "text"]}, "test")])
def test_documents_of_a_dataset_have_the_source_that_it_says(
    folder: Path, make_recipe: MakeRecipe, server: Server, written: dict[str, Any], source: str
) -> None:
    go(make_recipe(folder, sources=[{"name": "docs", "path": "data/docs-*"}], write=written))
    make_task(folder, server)
    api.label(folder / "task.yaml", folder / "store", dataset="test")
    fingerprint = load_task(str(folder / "task.yaml")).fingerprint
    assert LabelStore(str(folder / "store"), fingerprint).documents()["source"].unique().to_pylist() == [source]


def test_labels_of_people_come_before_those_of_models(folder: Path, make_recipe: MakeRecipe) -> None:
    recipe = make_recipe(folder, sources=[{"name": "docs", "path": "data/docs-*"}], label=["task.yaml"])
    first = go(recipe)
    (folder / "gold.csv").write_text("id,answer\nd00000,biology\nd00001,biology\n")
    task = load_task(str(folder / "task.yaml"))
    import_labels(
        LabelStore(str(folder / "store"), task.fingerprint), task.task.answer, str(folder / "gold.csv"), "gold", "x"
    )
    second = go(recipe)
    assert second.dataset != first.dataset
    rows = {row["id"]: row for row in dataset(second).to_pylist()}
    assert (rows["d00000"]["topic_answer"], rows["d00000"]["topic_annotator"]) == ("biology", "gold")
    assert rows["d00002"]["topic_annotator"] == "api"


def test_scales_are_numbers_and_several_labels_are_lists(folder: Path, make_recipe: MakeRecipe, server: Server) -> None:
    annotator = {"name": "api", "engine": "http", "base_url": server.url, "model": "m"}
    task_file(folder, "level.yaml", name="level", answer={"scale": [0, 5]}, annotators=[annotator])
    task_file(folder, "tags.yaml", name="tags", answer={"multi": ["a", "b"]}, annotators=[annotator])
    recipe = make_recipe(folder, sources=[{"name": "docs", "path": "data/docs-*"}], label=["level.yaml", "tags.yaml"])
    try:
        server.change(answers={"physics": "3", "biology": "5"})
        answers = go(recipe, yes=True)
    finally:
        server.change(answers=ANSWERS)
    table = dataset(answers)
    assert table.schema.field("level_answer").type == pa.int64()
    assert {row["level_answer"] for row in table.to_pylist()} == {3, 5}
    assert table.schema.field("tags_answer").type == pa.list_(pa.string())
    assert answers.labels[1].annotators[0].quarantined == 200  # the endpoint answers with numbers


def test_without_consent_the_dataset_has_what_is_known(folder: Path, make_recipe: MakeRecipe, server: Server) -> None:
    before = asked(server)
    result = go(make_recipe(folder, sources=[{"name": "docs", "path": "data/docs-*"}], label=["task.yaml"]), yes=False)
    assert asked(server) == before
    assert dataset(result)["topic_answer"].null_count == 200


def test_removed_paragraphs_are_not_shown_and_make_another_text(
    folder: Path, make_recipe: MakeRecipe, server: Server
) -> None:
    rows = topical(30)
    for row in rows:
        row["text"] += "\n\n" + "Subscribe to our newsletter for more of this, every day and every night. " * 3
    write_jsonl(folder / "boiler" / "docs.jsonl", rows)
    recipe = make_recipe(
        folder,
        sources=[{"name": "docs", "path": "boiler"}],
        decide=[{"paragraph_dedup": {"limit": 3}}],
        label=["task.yaml"],
    )
    table = dataset(go(recipe))
    shown = [body["messages"][-1]["content"] for body in server.stats().bodies]
    assert sum("newsletter" in text for text in shown[-30:]) == 3  # as often as it may occur
    assert table["topic_answer"].null_count == 0
    before = asked(server)
    go(recipe)
    assert asked(server) == before


def test_keys_tell_texts_with_something_removed_from_whole_ones() -> None:
    keys = pa.chunked_array([content_ids(pa.array(["a", "b", "c"], pa.large_string()))])
    positions = pa.chunked_array([pa.array([[], [0, 2], None], pa.list_(pa.uint32()))])
    after = keys_after(keys, positions)
    assert after[0].as_py() == keys[0].as_py()
    assert after[2].as_py() == keys[2].as_py()
    assert after[1].as_py() != keys[1].as_py()
    assert keys_after(keys, positions).equals(after)


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"label": ["nowhere.yaml"]}, "nowhere.yaml: there is no such task"),
        ({"label": ["task.yaml"], "write": {"columns": ["id", "topic_answr"]}}, "did you mean topic_answer"),
        ({"label": ["task.yaml"], "measure": ["text_id"], "transform": ["normalize_unicode"]}, None),
    ],
)
def test_what_is_wrong_is_told_before_anything_runs(
    folder: Path, make_recipe: MakeRecipe, keys: dict[str, Any], message: str | None
) -> None:
    recipe = make_recipe(folder, sources=[{"name": "docs", "path": "data/docs-*"}], **keys)
    if message is None:
        plan_run(load_recipe(str(recipe)))
        return
    with pytest.raises(RecipeError, match=message):
        plan_run(load_recipe(str(recipe)))


def test_a_mistake_in_a_task_has_the_line_of_its_file_and_is_told_alone(folder: Path, make_recipe: MakeRecipe) -> None:
    (folder / "task.yaml").write_text("version: 1\nname: t\ninstruction: x\nanswer: {scale: [5, 0]}\nannotators: []\n")
    sources = [{"name": "docs", "path": "data/docs-*"}]
    recipe = make_recipe(folder, sources=sources, label=["task.yaml"], write={"columns": ["id", "t_answer"]})
    with pytest.raises(RecipeError, match=r"task\.yaml:4: answer") as told:
        plan_run(load_recipe(str(recipe)))
    assert "t_answer" not in str(told.value)
