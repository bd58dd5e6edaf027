"""The commands and the recipe of docs/distilling.md are run as they stand."""

from __future__ import annotations

import random
import shlex
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from typer.testing import CliRunner

from gristmill import api
from gristmill.pipelines.cli.main import app
from tests.docs.blocks import code
from tests.pipelines.label.endpoint import endpoint
from tests.pipelines.train.topics import TOPICS, text_on
from tests.support import write_jsonl

COMMANDS, LOOP = (block.text for block in code("docs/distilling.md", "bash"))
(SECTIONS,) = (block.text for block in code("docs/distilling.md", "yaml"))


def run(command: str) -> str:
    done = CliRunner().invoke(app, shlex.split(command, comments=True)[1:])
    assert done.exit_code == 0, f"{command}: {done.output}"
    return done.output


def test_the_page_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    draw = random.Random(0)
    taught = [draw.random() < 0.5 for _ in range(300)]
    texts = [text_on("law" if teaches else "food", draw, 50) for teaches in taught]
    documents = [{"id": str(i), "text": text} for i, text in enumerate(texts)]
    write_jsonl(tmp_path / "docs.jsonl", documents)
    with endpoint(answers={"court": "5", "judge": "4", "oven": "0", "butter": "1"}) as server:
        model = {"name": "m", "engine": "http", "base_url": server.url, "model": "m"}
        task = {"version": 1, "name": "edu", "instruction": "Rate.", "answer": {"scale": [0, 5]}, "annotators": [model]}
        (tmp_path / "edu.yaml").write_text(yaml.safe_dump(task))
        run("gristmill label edu.yaml --input docs.jsonl --yes --quiet")
    gold = [{"id": str(i), "answer": 4 if taught[i] else 1} for i in range(60)]
    write_jsonl(tmp_path / "gold.jsonl", gold)
    run("gristmill labels import edu.yaml gold.jsonl --annotator gold")
    columns = {"text": texts, "grade": ["good" if t else "bad" for t in taught], "source": ["a", "b"] * 150}
    pq.write_table(pa.table(columns), tmp_path / "labels.parquet")
    (tmp_path / "models").mkdir()
    commands = COMMANDS.strip().splitlines()
    assert len(commands) == 4
    printed = [run(command) for command in commands[:3]]
    assert "alpha" in printed[0]
    assert "more probably wrong than right" in printed[1]
    assert "rank correlation" in printed[2]
    assert len((tmp_path / "review.ids.txt").read_text().split()) == 50
    recipe = {"version": 1, "name": "taught", "store": "./store", "write": {"columns": ["id", "edu"]}}
    recipe |= {"sources": [{"name": "docs", "path": "docs.jsonl"}], **yaml.safe_load(SECTIONS)}
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    result = api.run("recipe.yaml")
    kept = {int(id) for id in api.open_dataset("./store/datasets/taught").arrow().to_table()["id"].to_pylist()}
    assert 100 < result.funnel.kept < 200
    assert sum(taught[i] for i in kept) > 0.9 * len(kept)
    assert "score of " in run("gristmill explain 0 --score edu")
    assert "source" in run(commands[3])


def test_the_loop_of_the_page_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    draw = random.Random(0)
    taught = [draw.random() < 0.1 for _ in range(2500)]
    texts = [text_on("law" if teaches else "food", draw, 40) for teaches in taught]
    write_jsonl(tmp_path / "docs.jsonl", [{"id": str(i), "text": text} for i, text in enumerate(texts)])
    recipe = {"version": 1, "name": "corpus", "store": "./store", "sources": [{"name": "docs", "path": "docs.jsonl"}]}
    (tmp_path / "corpus.yaml").write_text(yaml.safe_dump({**recipe, "decide": ["exact_dedup"], "write": {}}))
    (tmp_path / "models").mkdir()
    with endpoint(answers=dict.fromkeys(TOPICS["law"], "4") | dict.fromkeys(TOPICS["food"], "1")) as server:
        model = {"name": "m", "engine": "http", "base_url": server.url, "model": "m"}
        task = {"version": 1, "name": "edu", "instruction": "Rate.", "answer": {"scale": [0, 5]}, "annotators": [model]}
        (tmp_path / "edu.yaml").write_text(yaml.safe_dump(task))
        printed = run(LOOP.strip())
        assert len(server.stats().documents) <= 2000
    assert "by the sampler" in printed
    for name in ("rounds.md", "rounds.svg"):
        assert (tmp_path / "models" / "edu.bin.loop" / name).exists()
