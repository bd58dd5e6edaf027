"""The commands of the how-to guides, as they are printed there, on stores that hold what they speak of."""

from __future__ import annotations

import csv
import random
import re
import shutil
import webbrowser
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

import gristmill
from tests.docs.blocks import code
from tests.docs.shell import sh
from tests.pipelines.label.endpoint import endpoint
from tests.pipelines.test_fuzzy_dedup import near_copy
from tests.pipelines.train.topics import text_on
from tests.support import sentences, write_jsonl

pytestmark = pytest.mark.xdist_group("guides")  # the stores are made once


@pytest.fixture(scope="module")
def guides(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the store of three datasets: docs with near copies, web of three nights, quickstart twice."""
    folder = tmp_path_factory.mktemp("guides")
    documents = [{"id": f"doc-{i}", "text": sentences(i, 60)} for i in range(40)]
    documents[17]["text"] = near_copy(documents[16]["text"])
    write_jsonl(folder / "texts" / "docs.jsonl", documents)
    (folder / "old").mkdir()
    old = [{"id": f"old-{i}", "text": sentences(900 + i, 60)} for i in range(5)]
    pq.write_table(pa.Table.from_pylist(old), folder / "old" / "old.parquet")
    make(folder, "docs.yaml", name="docs", decide=["exact_dedup", {"fuzzy_dedup": {"threshold": 0.75}}])
    nightly = {"exact_dedup": "longest"}, {"fuzzy_dedup": {"index": {"name": "web"}}}
    make(folder, "web.yaml", name="web", sources=["crawl-6", "crawl-7"], decide=[*nightly])
    make(folder, "quickstart.yaml", name="quickstart", decide=["exact_dedup"], refresh={})
    for night in range(3):
        for name in ("crawl-6", "crawl-7"):
            new = [
                {"id": f"{name}-{night}-{i}", "text": sentences(1000 * night + 10 * i + int(name[-1]), 60)}
                for i in range(5)
            ]
            write_jsonl(folder / name / f"{night}.jsonl", [*new, *documents[16:18]] if name == "crawl-6" else new)
        sh(folder, "gristmill run web.yaml")
    sh(folder, "gristmill datasets tag web train-2026-11 2")
    sh(folder, "gristmill run quickstart.yaml; gristmill run quickstart.yaml --set 'decide=[{drop: \"tokens < 80\"}]'")
    sh(folder, "gristmill run docs.yaml")  # last: commands that name no dataset speak of it
    shutil.copy(folder / "quickstart.yaml", folder / "recipe.yaml")
    return folder


def make(folder: Path, file: str, sources: Iterable[str] = ("texts",), **keys: Any) -> None:
    """Write a recipe over folders of texts."""
    listed = [{"name": name, "path": f"{name}/*.jsonl"} for name in sources]
    recipe = {"version": 1, "store": "./store", "sources": listed, "write": {}, **keys}
    (folder / file).write_text(yaml.safe_dump(recipe, sort_keys=False))


@pytest.fixture
def apart(guides: Path, tmp_path: Path) -> Path:
    """A copy of that folder, for commands that change what others speak of."""
    return shutil.copytree(guides, tmp_path / "guides", dirs_exist_ok=True)


def test_dedup(apart: Path) -> None:
    clusters, index = code("docs/dedup.md", "bash")
    printed = sh(apart, clusters.text)
    assert "doc-17 dropped as a near-duplicate of doc-16" in printed
    (generation,) = re.findall(r"\b000002-[0-9a-f]{12}\b", index.text)
    info, compact, *others = index.text.splitlines()
    shutil.copy(apart / "web.yaml", apart / "recipe.yaml")
    sources, by_name = (line for line in others if "remove" in line)
    others = [line for line in others if "remove" not in line]
    sh(apart, sources)
    names = re.findall(r"\b0000\d\d-[0-9a-f]{12}\b", sh(apart, info))
    printed = sh(apart, "\n".join([by_name.replace(generation, names[1]), *others, compact, info]))
    assert "old (1)" in printed
    assert (apart / "web.parquet").is_file()


def test_versions(apart: Path) -> None:
    look, spoken, publish, nights = code("docs/versions.md", "bash")
    assert "dropped by drop now" in sh(apart, look.text)
    assert "  quickstart: dropped by drop: tokens < 80" in sh(apart, spoken.text)
    printed = sh(apart, publish.text)
    assert "readers of quickstart take 000002-" in printed
    write_jsonl(apart / "texts" / "more.jsonl", [{"id": "new", "text": sentences(800, 90)}])
    assert "readers have 000003-" in sh(apart, nights.text)


def test_the_store_and_reports(guides: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (verify,) = code("docs/store.md", "bash")
    assert sh(guides, verify.text).count("all as they were written") == 3
    opened: list[str] = []
    monkeypatch.setattr(webbrowser, "open", lambda url: bool(opened.append(url) or True))
    (report,) = code("docs/reports.md", "bash")
    assert "gristmill report 12 " in report.text
    printed = sh(guides, report.text.replace("report 12 ", "report 2 "))
    assert printed.count("the report is in") == 4
    assert opened
    assert (guides / "report.html").is_file()


def test_starting(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "texts" / "a.jsonl", [{"id": f"{i}", "text": sentences(i, 90)} for i in range(30)])
    (start,) = code("docs/starting.md", "bash")
    printed = sh(tmp_path, start.text, HOME=str(tmp_path))
    assert "wrote recipe.yaml" in printed


def test_thresholds(tmp_path: Path) -> None:
    documents = [{"id": f"{i}", "text": sentences(i, 20 + i % 30), "lang": "en"} for i in range(1000)]
    write_jsonl(tmp_path / "texts" / "a.jsonl", documents)
    listed = [{"name": "texts", "path": "texts/*.jsonl", "metadata": ["lang"]}]
    recipe = {"version": 1, "name": "sample", "store": "./store", "sources": listed, "measure": ["gopher"], "write": {}}
    (tmp_path / "sample.yaml").write_text(yaml.safe_dump(recipe))
    (derive,) = code("docs/rules.md", "bash")
    sh(tmp_path, derive.text)
    assert [*yaml.safe_load((tmp_path / "thresholds.yaml").read_text())["minimum"]["gopher_words"]] == ["en"]


@pytest.fixture
def answered(tmp_path: Path) -> Iterator[Path]:
    """A folder with a dataset, a task whose endpoint answers, and tables of labels from elsewhere."""
    draw = random.Random(0)
    topics = [draw.choice(("law", "food")) for _ in range(200)]
    documents = [{"id": f"{i}", "text": text_on(topic, draw, 50)} for i, topic in enumerate(topics)]
    write_jsonl(tmp_path / "texts" / "docs.jsonl", documents)
    with endpoint(answers={"court": "5", "judge": "4", "verdict": "4", "oven": "0", "butter": "1"}) as server:
        model = {"name": "m", "engine": "http", "base_url": server.url, "model": "m"}
        task = {"version": 1, "name": "edu", "instruction": "Rate.", "answer": {"scale": [0, 5]}, "annotators": [model]}
        (tmp_path / "task.yaml").write_text(yaml.safe_dump(task))
        make(tmp_path, "web.yaml", name="web", label=["task.yaml"])
        sh(tmp_path, "gristmill run web.yaml --yes")
        with (tmp_path / "gold.csv").open("w") as file:
            csv.writer(file).writerows([["id", "answer"], *([i, 4 if topics[i] == "law" else 1] for i in range(40))])
        with (tmp_path / "votes.csv").open("w") as file:
            votes = [[doc, who, draw.choice("123")] for doc in range(30) for who in "abc"]
            csv.writer(file).writerows([["doc", "who", "stars"], *votes])
        with (tmp_path / "pairs.csv").open("w") as file:
            pairs = [[a, b, a] for a in range(10) for b in range(a)]
            csv.writer(file).writerows([["left", "right", "better"], *pairs])
        with (tmp_path / "grades.csv").open("w") as file:
            rows = [[d["id"], d["text"], 4 if t == "law" else 1] for d, t in zip(documents, topics, strict=True)]
            csv.writer(file).writerows([["id", "text", "grade"], *rows])
        yield tmp_path


def test_labelling(answered: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    label, aggregate, feed = code("docs/labelling.md", "bash")
    first, *others = label.text.splitlines()
    gold = next(line for line in others if "labels import" in line)
    script = "\n".join([f"{first.partition('#')[0]} --yes", gold, *(line for line in others if line != gold)])
    assert "1,0" not in sh(answered, script)
    sh(answered, aggregate.text)
    for line in feed.text.splitlines():
        sh(answered, line)
        assert list((answered / "feed").glob("train.*"))
        shutil.rmtree(answered / "feed")
    (learn,) = code("docs/labelling.md", "python")
    monkeypatch.chdir(answered)
    known: dict[str, Any] = {"gristmill": gristmill}
    exec(compile(learn.text, learn.name, "exec"), known)
    assert known["model"].score(*known["feed"].arrays("test")[:2]) > 0.4  # of six grades
