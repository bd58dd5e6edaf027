"""`gristmill label` and `gristmill labels` as people call them."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import Result
from typer.testing import CliRunner

from gristmill.pipelines.cli.main import app
from tests.pipelines.label.endpoint import Server, endpoint
from tests.pipelines.label.tasks import ANSWERS, task_file, topical, truth
from tests.support import write_jsonl


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with endpoint(answers=ANSWERS) as running:
        yield running


@pytest.fixture
def folder(tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a task and 60 documents, which is the current one."""
    make_task(tmp_path, server)
    write_jsonl(tmp_path / "docs.jsonl.gz", topical(60))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def make_task(folder: Path, server: Server, **keys: Any) -> None:
    task_file(folder, annotators=[{"name": "api", "engine": "http", "base_url": server.url, "model": "m"}], **keys)


def call(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments))


def test_label_then_look_at_the_labels(folder: Path) -> None:
    done = call("label", "task.yaml", "--input", "docs.jsonl.gz", "--yes")
    assert done.exit_code == 0, done.output
    assert "60 documents" in done.stderr, "the forecast"
    assert "60 texts of 60 answered" in done.stdout
    assert call("labels", "info").exit_code == 0
    exported = call("labels", "export", "task.yaml", "--out", "labels.jsonl")
    assert "60 rows in labels.jsonl" in exported.stdout
    rows = [json.loads(line) for line in Path("labels.jsonl").read_text().splitlines()]
    assert {row["id"]: row["answer"] for row in rows} == truth(topical(60))
    told = call("labels", "query", "SELECT answer, count(*) AS n FROM labels GROUP BY ALL ORDER BY answer", "--json")
    assert json.loads(told.stdout) == [{"answer": "biology", "n": 30}, {"answer": "physics", "n": 30}]
    again = call("label", "task.yaml", "--input", "docs.jsonl.gz")
    assert again.exit_code == 0, "nothing is asked, so nothing is to be confirmed"
    assert "60 known before" in again.stdout
    gold = [{"id": row["id"], "answer": truth(topical(60))[row["id"]]} for row in rows]
    write_jsonl(Path("gold.jsonl"), gold)
    assert call("labels", "import", "task.yaml", "gold.jsonl", "--annotator", "gold").exit_code == 0
    assert "answers to topic in 1 file" in call("labels", "compact", "task.yaml").stdout
    assert "120 rows" in call("labels", "export", "task.yaml", "--out", "all.csv").stdout


def test_one_thread_reads_ahead_of_an_endpoint(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[str] = []
    start = threading.Thread.start
    monkeypatch.setattr(threading.Thread, "start", lambda self: (started.append(self.name), start(self))[1])
    assert call("label", "task.yaml", "--input", "docs.jsonl.gz", "--yes").exit_code == 0
    assert started.count("label-pull") == 1
    assert "gristmill-questions" not in started


def test_labels_are_read_where_the_keys_of_annotators_are_not_known(
    folder: Path, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    api = {"name": "api", "engine": "http", "base_url": server.url, "model": "m", "api_key": "${LABEL_TEST_KEY}"}
    task_file(folder, annotators=[api])
    done = call("label", "task.yaml", "--input", "docs.jsonl.gz", "--yes")
    assert done.exit_code == 2
    assert "task.yaml:13: the environment variable LABEL_TEST_KEY is not set" in done.stderr
    monkeypatch.setenv("LABEL_TEST_KEY", "a-secret")
    assert call("label", "task.yaml", "--input", "docs.jsonl.gz", "--yes").exit_code == 0
    monkeypatch.delenv("LABEL_TEST_KEY")
    assert "60 rows" in call("labels", "export", "task.yaml", "--out", "labels.parquet").stdout
    assert call("labels", "info", "task.yaml").exit_code == 0
    assert not [path for path in (folder / "store").rglob("*") if path.is_file() and b"a-secret" in path.read_bytes()]


@pytest.mark.parametrize("sample", [None, {"documents": 5, "by": "cluster", "clusters": 3}])
def test_without_documents_it_is_told_why(folder: Path, server: Server, sample: Any) -> None:
    make_task(folder, server, sample=sample)
    done = call("label", "task.yaml", "--input", "docs.jsonl.gz", "--text", "body", "--yes")
    assert done.exit_code == 2
    assert "input has no documents to label: 60 records left out, such as" in done.stderr
    assert "body" in done.stderr.rpartition("such as")[2]


def test_nothing_is_asked_without_consent(folder: Path, server: Server) -> None:
    before = server.stats().requests
    done = call("label", "task.yaml", "--input", "docs.jsonl.gz")
    assert done.exit_code == 2
    assert "60 questions are about to be asked" in done.stderr
    assert "--yes" in done.stderr
    assert server.stats().requests == before


def test_json(folder: Path) -> None:
    done = call("label", "task.yaml", "--input", "docs.jsonl.gz", "--yes", "--json", "--quiet")
    told = json.loads(done.stdout)
    assert told["complete"]
    assert told["annotators"][0]["answered"] == told["spent"]["documents"] == 60


def test_import_labels_of_people(folder: Path) -> None:
    call("label", "task.yaml", "--input", "docs.jsonl.gz", "--yes")
    Path("gold.csv").write_text("id,answer\nd00000,physics\nd00001,physics\n")
    done = call("labels", "import", "task.yaml", "gold.csv", "--annotator", "gold")
    assert done.exit_code == 0, done.output
    assert "2 labels of gold" in done.stdout
    told = call("labels", "query", "SELECT count(*) AS n FROM labels WHERE annotator = 'gold'", "--json")
    assert json.loads(told.stdout) == [{"n": 2}]
    Path("wrong.csv").write_text("id,answer\nd00000,physics\nd00001,poetry\nnobody,physics\n")
    wrong = call("labels", "import", "task.yaml", "wrong.csv", "--annotator", "gold")
    assert wrong.exit_code == 2
    assert "wrong.csv:3" in wrong.stderr
    assert "wrong.csv:4" in wrong.stderr
    mixed = call("labels", "import", "task.yaml", "gold.csv", "--annotator", "api")
    assert mixed.exit_code == 2
    assert "another --annotator" in mixed.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["label", "task.yaml"], "--dataset NAME of the store, or --input GLOB"),
        (["label", "task.yaml", "--dataset", "web", "--input", "x"], "--dataset NAME of the store, or --input GLOB"),
        (["label", "nothing.yaml", "--input", "docs.jsonl.gz"], "nothing.yaml: there is no such task"),
        (["label", "task.yaml", "--input", "nothing/*"], "nothing matches"),
        (["label", "task.yaml", "--dataset", "web"], "nothing matches"),
        (["labels", "export", "task.yaml", "--out", "x.parquet"], "has no labels of this task"),
        (["labels", "query", "SELECT * FROM labels"], "has no labels"),
    ],
)
def test_what_is_wrong_is_told(folder: Path, arguments: list[str], message: str) -> None:
    done = call(*arguments)
    assert done.exit_code == 2
    assert message in done.stderr


def test_every_mistake_of_a_task_is_told_with_its_line(folder: Path) -> None:
    Path("bad.yaml").write_text(
        "version: 1\nname: bad\ninstruction: x\nanswer: {choice: [one]}\n"
        "annotators:\n  - {name: a, engine: htp, model: m}\n  - {name: b, engine: http, model: m, base_url: local}\n"
        "sample: {documents: 5, by: top}\nbudget: {cost: 1.0}\n"
    )
    done = call("label", "bad.yaml", "--input", "docs.jsonl.gz")
    assert done.exit_code == 2
    for line, what in (
        (4, "2 to 52 labels"),
        (6, "http, transformers, vllm, keywords, similarity"),
        (7, "base_url"),
        (8, "`score`"),
    ):
        assert any(f"bad.yaml:{line}" in told and what in told for told in done.stderr.splitlines()), (
            what,
            done.stderr,
        )


def test_no_model_tells_the_three_ways_to_one_before_anything_is_read(folder: Path) -> None:
    task_file(folder, annotators=[{"name": "small", "model": "./no-such-model"}])  # no engine: transformers
    done = call("label", "task.yaml", "--input", "docs.jsonl.gz", "--yes")
    assert done.exit_code == 2
    assert f"task.yaml:10: small: there is no folder {folder}/no-such-model" in done.stderr
    for way in ("gristmill[lm]", "engine: http", "engine: vllm"):
        assert way in done.stderr
    assert "scan" not in done.stderr


def test_an_endpoint_that_refuses_the_key_ends_the_run_at_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LABEL_KEY", "wrong-sesame")
    with endpoint(answers=ANSWERS, api_key="right-sesame") as server:
        annotator = {"name": "api", "engine": "http", "base_url": server.url, "model": "m", "api_key": "${LABEL_KEY}"}
        task_file(folder, annotators=[annotator])
        done = call("label", "task.yaml", "--input", "docs.jsonl.gz", "--yes")
    assert done.exit_code == 1
    assert "api_key" in done.stderr
    assert "wrong-sesame" not in done.output


def test_a_ceiling_is_told_and_is_no_failure(folder: Path, server: Server) -> None:
    make_task(folder, server, budget={"documents": 20})
    done = call("label", "task.yaml", "--input", "docs.jsonl.gz", "--yes")
    assert done.exit_code == 0
    assert "ceiling for documents" in done.stdout


def exported_texts(*more: str) -> dict[str, str]:
    assert call("labels", "export", "task.yaml", "--out", "labels.jsonl", *more).exit_code == 0
    return {row["id"]: row["text"] for row in map(json.loads, Path("labels.jsonl").read_text().splitlines())}


def test_an_export_may_have_the_texts(folder: Path) -> None:
    call("label", "task.yaml", "--input", "docs.jsonl.gz", "--yes", "-q")
    texts = {row["id"]: row["text"] for row in topical(60)}
    assert exported_texts("--text") == texts
    told = json.loads(call("labels", "export", "task.yaml", "--out", "l.parquet", "--text", "--json").stdout)
    assert told == {"rows": 60, "file": "l.parquet"}
    (folder / "docs.jsonl.gz").rename(folder / "moved.jsonl.gz")
    gone = call("labels", "export", "task.yaml", "--out", "l.jsonl", "--text")
    assert gone.exit_code == 2
    assert exported_texts("--input", "moved.jsonl.gz") == texts
    few = topical(60)[:7]
    write_jsonl(folder / "few.jsonl", few)
    assert {id: text for id, text in exported_texts("--input", "few.jsonl").items() if text} == {
        row["id"]: row["text"] for row in few
    }


def test_the_texts_of_a_dataset_are_found_in_the_dataset(folder: Path) -> None:
    recipe = {"version": 1, "name": "docs", "store": "./store", "sources": [{"name": "d", "path": "docs.jsonl.gz"}]}
    recipe |= {"transform": ["normalize_unicode"], "label": ["task.yaml"], "write": {"columns": ["id", "text"]}}
    (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe, sort_keys=False))
    done = call("run", "recipe.yaml", "--yes", "-q")
    assert done.exit_code == 0, done.output
    assert exported_texts("--text") == {row["id"]: row["text"] for row in topical(60)}


def test_a_classifier_is_trained_on_the_answers(folder: Path) -> None:
    write_jsonl(folder / "docs.jsonl.gz", topical(200))
    call("label", "task.yaml", "--input", "docs.jsonl.gz", "--yes", "-q")
    train = ("train", "quality", "--labels", "task.yaml", "--out", "m.bin", "--dim", "8", "--buckets", "1000")
    done = call(*train, "--good", "physics", "--json", "--min-count", "1", "--epochs", "20")
    assert done.exit_code == 0, done.output
    report = json.loads(done.stdout)
    sides = [report[side]["trained"] + report[side]["held_out"] for side in ("positive", "negative")]
    assert sides == [100, 100]
    assert report["auc"] > 0.9
    for arguments, told in (
        (train, "say which labels of topic are good: --good LABEL, of physics, biology"),
        ((*train, "--good", "phisics"), "did you mean physics"),
        ((*train, "--positive", "x"), "or --labels TASK"),
        (train[:2] + train[4:], "or --labels TASK"),
    ):
        refused = call(*arguments)
        assert refused.exit_code == 2
        assert told in " ".join(refused.stderr.split())


@pytest.mark.parametrize(("good", "positive"), [((), 3), (("--good", "5"), 1)])
def test_a_classifier_is_trained_on_a_scale(folder: Path, good: tuple[str, ...], positive: int) -> None:
    task_file(folder, answer={"scale": [0, 5]})
    write_jsonl(folder / "docs.jsonl.gz", topical(120))
    rows = [{"text": row["text"], "id": row["id"], "answer": i % 6} for i, row in enumerate(topical(120))]
    write_jsonl(folder / "gold.jsonl", rows)
    assert call("labels", "import", "task.yaml", "gold.jsonl", "--annotator", "gold").exit_code == 0
    train = ("train", "quality", "--labels", "task.yaml", "--out", "m.bin", "--dim", "4", "--buckets", "1000", *good)
    none = call(*train)
    assert none.exit_code == 2
    assert "does not say which files were labelled" in none.stderr
    done = call(*train, "--input", "docs.jsonl.gz", "--json", "--min-count", "1", "--holdout", "0.3")
    assert done.exit_code == 0, done.output
    report = json.loads(done.stdout)
    assert report["positive"]["trained"] + report["positive"]["held_out"] == 20 * positive
