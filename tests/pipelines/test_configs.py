"""The recipes under configs/ run as they are, on small data."""

from __future__ import annotations

import json
import random
import shutil
from pathlib import Path
from typing import Any

import fasttext
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from gristmill import open_packed
from gristmill.pipelines.cli.main import app
from tests.operators.measures.fasttext_models import THREADS
from tests.pipelines.label.endpoint import endpoint
from tests.pipelines.train.topics import TOPICS, text_on
from tests.support import make_documents, sentences, write_jsonl

CONFIGS = Path(__file__).parents[2] / "configs"


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    """The folder configs/ of a place where there is nothing else."""
    made = shutil.ignore_patterns("data", "store", "target", "models")  # by `make demo`
    shutil.copytree(CONFIGS, tmp_path / "configs", ignore=made)
    return tmp_path / "configs"


def gristmill(*arguments: str | Path) -> Any:
    """The JSON that a command prints; it must succeed."""
    done = CliRunner().invoke(app, [*map(str, arguments), "--json"])
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


def dropped(result: Any) -> dict[str, int]:
    return {rule["name"]: rule["dropped"] for rule in result["funnel"]["rules"]}


def test_every_recipe_is_tested() -> None:
    tested = {"dedup", "distilled", "fuzzy", "gopher", "label", "nightly", "pack", "paragraphs", "quickstart"}
    assert {path.stem for path in CONFIGS.glob("*.yaml")} == tested
    assert {path.stem for path in CONFIGS.glob("tasks/*.yaml")} == {"edu"}


def test_dedup(copied: Path) -> None:
    write_jsonl(copied / "data" / "a.jsonl", make_documents(100))
    assert dropped(gristmill("run", copied / "dedup.yaml")) == {"exact_dedup": 10}


def test_fuzzy(copied: Path) -> None:
    documents = make_documents(100)
    near = [{**d, "id": f"near {i}", "text": d["text"] + " and more"} for i, d in enumerate(documents) if i % 20 == 5]
    boilerplate = [{**documents[50], "id": f"b {i}", "text": documents[50]["text"] + f" {i}"} for i in range(1001)]
    write_jsonl(copied / "data" / "a.jsonl", documents + near + boilerplate)
    result = gristmill("run", copied / "fuzzy.yaml")
    assert dropped(result) == {"exact_dedup": 10, "fuzzy_dedup": 5 + 1001, "boilerplate": 1}
    table = pq.read_table(sorted(Path(result["dataset"]).glob("*.parquet")))
    assert table.column_names == ["id", "text", "source", "fuzzy_dedup_size"]
    sizes = dict(zip(table["id"].to_pylist(), table["fuzzy_dedup_size"].to_pylist(), strict=True))
    assert {id for id, size in sizes.items() if size == 2} == {d["id"] for d in near}
    assert {*sizes.values()} == {None, 2}


def test_nightly(copied: Path) -> None:
    write_jsonl(copied / "data" / "a.jsonl", make_documents(100))
    first = gristmill("refresh", copied / "nightly.yaml", "--date", "2026-11-01")
    assert first["published"]
    assert first["documents"] == [0, first["run"]["funnel"]["kept"]]
    write_jsonl(copied / "data" / "b.jsonl", make_documents(100, seed=1))
    second = gristmill("refresh", copied / "nightly.yaml", "--date", "2026-11-02")
    assert {guard["guard"]: guard["passes"] for guard in second["guards"]} == dict.fromkeys(
        ["kept", "rejects", "source_loss", "drift.psi"], True
    )
    assert second["documents"][1] == second["documents"][0] + second["run"]["funnel"]["kept"]


def test_gopher(copied: Path) -> None:
    documents = [{**d, "url": f"http://example.org/{i % 90}"} for i, d in enumerate(make_documents(200))]
    documents += [{**d, "id": f"again {i}", "url": f"http://example.com/{i}"} for i, d in enumerate(documents)]
    (copied / "data").mkdir()
    pq.write_table(pa.Table.from_pylist(documents), copied / "data" / "a.parquet")
    result = gristmill("run", copied / "gopher.yaml")
    assert list(dropped(result)) == ["gopher_rules", "exact_dedup", "same_url"]
    assert all(dropped(result).values())
    table = pq.read_table(sorted(Path(result["dataset"]).glob("*.parquet")), columns=["url", "gopher_words"])
    assert len(set(table["url"].to_pylist())) == table.num_rows == result["funnel"]["kept"]
    assert min(table["gopher_words"].to_pylist()) >= 50


def test_pack(copied: Path, tokenizer_file: Path) -> None:
    write_jsonl(copied / "data" / "a.jsonl", make_documents(300))
    (copied / "models").mkdir()
    shutil.copy(tokenizer_file, copied / "models" / "tokenizer.json")
    result = gristmill("run", copied / "pack.yaml")
    packed = result["packed"]
    assert (packed["documents"], packed["length"], packed["eos"]) == (270, 512, 1)
    opened = open_packed(copied / "store" / "datasets" / "pack")
    assert sum(len(sequence.tokens) for sequence in opened.feed(seed=1)) == packed["tokens"]


def test_label(copied: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    documents = make_documents(200)
    write_jsonl(copied / "data" / "a.jsonl", documents)
    with endpoint(answers={"river": "4", "stone": "1", "a": "2"}) as server:
        for name, value in {"LABEL_URL": server.url, "LABEL_KEY": "sesame", "LABEL_MODEL": "m"}.items():
            monkeypatch.setenv(name, value)
        result = gristmill("run", copied / "label.yaml", "--yes")
    assert dropped(result) == {"exact_dedup": 20}
    assert result["labels"][0]["complete"]
    table = pq.read_table(sorted(Path(result["dataset"]).glob("*.parquet")))
    assert table.column_names == ["id", "text", "source", "edu_answer", "edu_probability", "edu_entropy"]
    assert {*table["edu_answer"].to_pylist()} <= {1, 2, 4, None}
    assert table["edu_answer"].null_count == result["labels"][0]["annotators"][0]["quarantined"] < 60


def test_distilled(copied: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    draw = random.Random(0)
    teaches = [draw.random() < 0.4 for _ in range(900)]
    texts = [text_on("law" if good else "food", draw, 60, share=0.3) for good in teaches]
    write_jsonl(copied / "data" / "a.jsonl", [{"id": str(i), "text": text} for i, text in enumerate(texts)])
    faults = {"reset": 0.03, "error_text": 0.03, "rate_limited": 0.03, "wrong_label": 0.03, "prose": 0.03}
    answers = dict.fromkeys(TOPICS["law"], "4") | dict.fromkeys(TOPICS["food"], "1")
    with endpoint(answers=answers, plan=faults) as server:
        for name, value in {"LABEL_URL": server.url, "LABEL_KEY": "sesame", "LABEL_MODEL": "m"}.items():
            monkeypatch.setenv(name, value)
        loop = ["loop", copied / "tasks" / "edu.yaml", "--recipe", copied / "dedup.yaml", "--rounds", "2"]
        made = gristmill(*loop, "--budget", "300", "--out", copied / "models" / "edu.bin", "--yes")
        seen = server.stats().documents.values()
    assert len(seen) == made["rounds"][-1]["asked"] <= 300
    assert max(document.asked_after_success for document in seen) == 0
    assert sum(document.asked - document.succeeded for document in seen) > 10  # it failed, and was asked again
    assert made["student"]["test"]["spearman"] > 0.6
    result = gristmill("run", copied / "distilled.yaml")
    kept = pq.read_table(sorted(Path(result["dataset"]).glob("*.parquet")))
    assert kept.column_names == ["id", "text", "source", "edu"]
    assert 0.1 * 900 < kept.num_rows < 0.35 * 900
    assert sum(teaches[int(id)] for id in kept["id"].to_pylist()) > 0.95 * kept.num_rows


def test_paragraphs(copied: Path) -> None:
    documents = make_documents(200)
    notice = "\n\nSubscribe to our weekly letter."
    with_notice = [{**d, "text": d["text"] + notice if i % 10 < 4 else d["text"]} for i, d in enumerate(documents)]
    write_jsonl(copied / "data" / "a.jsonl", with_notice)
    result = gristmill("run", copied / "paragraphs.yaml")
    assert dropped(result) == {"exact_dedup": 20, "paragraph_dedup": 0}
    table = pq.read_table(sorted(Path(result["dataset"]).glob("*.parquet")))
    assert table.column_names == ["id", "text", "source", "paragraph_dedup_removed"]
    assert table["paragraph_dedup_removed"].to_pylist().count(1) == 80 - 10
    assert sum(notice in text for text in table["text"].to_pylist()) == 10


def test_quickstart(copied: Path, tmp_path: Path) -> None:
    write_jsonl(copied / "data" / "docs-0.jsonl.gz", make_documents(300))
    write_jsonl(copied / "target" / "a.jsonl.gz", make_documents(20, seed=5))
    (copied / "models").mkdir()
    train_model(copied / "models" / "quality.bin", tmp_path / "lines.txt")
    result = gristmill("run", copied / "quickstart.yaml", "--set", "decide.select.documents=40")
    assert list(dropped(result)) == ["drop", "exact_dedup", "low_quality", "select"]
    assert result["funnel"]["kept"] == 40
    table = pq.read_table(sorted(Path(result["dataset"]).glob("*.parquet")))
    assert table.column_names == ["id", "text", "source", "quality", "importance"]


def train_model(path: Path, lines: Path) -> None:
    """A classifier that tells one half of made-up lines from the other."""
    texts = ((f"__label__{'hq' if i % 2 else 'lq'}", sentences(i, 30).replace("\n", " ")) for i in range(200))
    lines.write_text("".join(f"{label} {text}\n" for label, text in texts))
    fasttext.train_supervised(str(lines), dim=8, verbose=0, thread=THREADS).save_model(str(path))
