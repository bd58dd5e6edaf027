"""Many small files of a source: read together, without a change to what they come to or to what is known of each."""

from __future__ import annotations

import csv
import gzip
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gristmill.operators.errors import RecipeError, ShardError
from gristmill.pipelines.engine.local import LocalEngine
from gristmill.pipelines.label.documents import scan
from gristmill.pipelines.progress.reporter import Reporter
from gristmill.pipelines.report.explain import explain
from gristmill.pipelines.report.query import query
from gristmill.pipelines.sources import discover as discovering
from gristmill.pipelines.sources.read import read_documents
from gristmill.pipelines.sources.spec import Source
from gristmill.pipelines.store.registry import Registry
from tests.pipelines.stages.test_run import execute, rows
from tests.reliability.command import ROOT
from tests.support import make_documents

FILES = 90
MakeRecipe = Callable[..., Path]


def lines(documents: list[dict[str, Any]]) -> bytes:
    return "".join(json.dumps(d, ensure_ascii=False) + "\n" for d in documents).encode()


def write(folder: Path, name: str, documents: list[dict[str, Any]]) -> None:
    """Documents in the format that the name tells."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    if name.endswith(".parquet"):
        pq.write_table(pa.Table.from_pylist(documents), path)
    elif name.endswith(".csv"):
        with path.open("w", newline="") as file:
            table = csv.DictWriter(file, list(documents[0]), lineterminator="\n")
            table.writeheader()
            table.writerows(documents)
    elif name.endswith(".json"):
        path.write_text(json.dumps(documents))
    elif name.endswith(".gz"):
        path.write_bytes(gzip.compress(lines(documents), mtime=0))
    else:
        path.write_bytes(lines(documents))


def fill(folder: Path, extension: str = "jsonl", first: int = 0, files: int = FILES) -> None:
    """So many files of one to three documents."""
    documents = make_documents(3 * (first + files))
    for i in range(first, first + files):
        write(folder / "data", f"docs-{i:04d}.{extension}", documents[3 * i : 3 * i + 1 + i % 3])


@pytest.fixture
def recipe(tmp_path: Path, make_recipe: MakeRecipe) -> Path:
    fill(tmp_path)
    return make_recipe(tmp_path, decide=[{"drop": "gopher_words < 30"}, {"exact_dedup": "longest"}])


@pytest.mark.parametrize("extension", ["jsonl", "jsonl.gz", "parquet", "csv", "json"])
def test_the_dataset_is_that_of_the_files_read_one_by_one(
    tmp_path: Path, make_recipe: MakeRecipe, monkeypatch: pytest.MonkeyPatch, extension: str
) -> None:
    fill(tmp_path, extension)
    rules = [{"drop": "gopher_words < 30"}, {"exact_dedup": "longest"}]
    columns = ("id", "text", "lang", "gopher_words")
    together = execute(make_recipe(tmp_path, decide=rules))
    assert together.shards == 1
    monkeypatch.setattr(discovering, "FEW_FILES", 1 << 30)
    alone = execute(make_recipe(tmp_path, decide=rules, store="./other"))
    assert alone.shards == FILES
    assert rows(together, *columns) == rows(alone, *columns) != []
    assert [rule.dropped for rule in together.funnel.rules] == [rule.dropped for rule in alone.funnel.rules]


def test_few_files_are_shards_of_their_own_and_large_ones_stay_alone(tmp_path: Path, make_recipe: MakeRecipe) -> None:
    fill(tmp_path, files=discovering.FEW_FILES)
    recipe = make_recipe(tmp_path)
    assert execute(recipe).shards == discovering.FEW_FILES
    write(tmp_path / "data", "docs-9997.jsonl", make_documents(1))
    write(tmp_path / "data", "docs-9998.jsonl", make_documents(2500))
    write(tmp_path / "data", "docs-9999.jsonl", make_documents(2))
    assert (tmp_path / "data" / "docs-9998.jsonl").stat().st_size > discovering.SMALL_BYTES
    result = execute(recipe)
    assert (result.shards, result.measured_now) == (discovering.FEW_FILES + 2, 2), "the small new files are one group"


def test_new_files_disturb_no_group(tmp_path: Path, recipe: Path) -> None:
    assert (execute(recipe).shards, Registry(str(tmp_path / "store")).specs[0].count('"url"')) == (1, FILES)
    fill(tmp_path, first=FILES, files=10)
    write(tmp_path / "data", "docs-0000a.jsonl", [{"id": "between", "text": "a text between the others"}])
    second = execute(recipe)
    assert (second.shards, second.measured_now) == (2, 1)
    assert execute(recipe).cached
    (tmp_path / "data" / "docs-0000a.jsonl").unlink()
    third = execute(recipe)
    assert (third.shards, third.measured_now) == (2, 1), "of the second group, what is left is measured again"
    (tmp_path / "data" / "docs-0003.jsonl").write_bytes(lines([{"id": "changed", "text": "another text"}]))
    fourth = execute(recipe)
    assert (fourth.shards, fourth.measured_now) == (2, 1)
    assert explain(str(tmp_path / "store"), "changed")[0]["file"] == "data/docs-0003.jsonl"
    assert execute(recipe).cached


def test_what_was_read_one_by_one_stays_so(tmp_path: Path, recipe: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(discovering, "FEW_FILES", 1 << 30)
        assert execute(recipe).shards == FILES
    assert execute(recipe).cached
    fill(tmp_path, first=FILES, files=5)
    result = execute(recipe)
    assert (result.shards, result.measured_now) == (FILES + 1, 1)


def test_an_index_that_holds_a_broken_group_decides_none_of_it_again(tmp_path: Path, make_recipe: MakeRecipe) -> None:
    fill(tmp_path)
    recipe = make_recipe(tmp_path, decide=[{"fuzzy_dedup": {"index": {"name": "web"}}}])
    first = execute(recipe)
    (tmp_path / "data" / "docs-0007.jsonl").unlink()
    write(tmp_path / "data", "docs-0500.jsonl", make_documents(2, seed=9))
    second = execute(recipe)
    assert (second.shards, second.funnel.documents, second.funnel.kept) == (1, 2, 2)
    assert first.funnel.documents == 2 * FILES


@pytest.mark.parametrize("extension", ["jsonl.gz", "parquet"])
def test_a_damaged_file_is_named_and_its_group_goes_on(tmp_path: Path, make_recipe: MakeRecipe, extension: str) -> None:
    fill(tmp_path, extension)
    damaged = [tmp_path / "data" / f"docs-{i:04d}.{extension}" for i in (4, 61)]
    whole = [path.read_bytes() for path in damaged]
    for path, content in zip(damaged, whole, strict=True):
        path.write_bytes(content[: len(content) // 2])
    recipe = make_recipe(tmp_path)
    with pytest.raises(ShardError, match="2 of 3 shards cannot be read"):
        execute(recipe)
    with pytest.raises(ShardError, match="2 of 3 shards cannot be read"):
        execute(recipe)
    result = execute(recipe, "limits.unreadable_shards=2")
    assert result.measured_now == 0, "the others were measured and kept"
    assert [message.split()[0] for message in result.unreadable] == [f"data/{path.name}" for path in damaged]
    assert result.funnel.documents == 2 * FILES - (1 + 4 % 3) - (1 + 61 % 3)
    damaged[0].write_bytes(whole[0])
    damaged[1].unlink()
    mended = execute(recipe)
    assert (mended.shards, mended.measured_now) == (2, 1)
    assert mended.funnel.documents == 2 * FILES - (1 + 61 % 3)


def test_documents_and_rejects_are_found_by_their_own_files(tmp_path: Path, recipe: Path) -> None:
    path = tmp_path / "data" / "docs-0050.jsonl"
    path.write_text('\n{"id": "good", "text": "a good text"}\nnot json\n{"id": "last", "text": "the last"}\n')
    execute(recipe)
    store = str(tmp_path / "store")
    (found,) = explain(store, "last")
    assert (found["file"], found["row"]) == ("data/docs-0050.jsonl", 2)
    (found,) = explain(store, "data/docs-0050.jsonl:3")
    assert found["quarantined"]["reason"] == "malformed"
    told = query(store, "SELECT file, line, file_row, row > 90 AS later FROM quarantine").to_pylist()
    assert told == [{"file": "data/docs-0050.jsonl", "line": 3, "file_row": 1, "later": True}]


def test_small_inputs_beside_the_corpus_are_named_by_their_own_files(tmp_path: Path) -> None:
    fill(tmp_path)
    found = read_documents("data", base=str(tmp_path))
    assert sum(batch.num_rows for batch in found) == 2 * FILES
    (tmp_path / "data" / "docs-0050.jsonl").write_text('{"id": "a", "text": "a"}\nnot json\n')
    with pytest.raises(RecipeError, match=r"data/docs-0050\.jsonl:2: "):
        list(read_documents("data", base=str(tmp_path)))
    source = Source(name="docs", path=str(tmp_path / "data"))
    scanned = scan(source, str(tmp_path), LocalEngine(1), Reporter(quiet=True))
    assert scanned.rejects == 1
    assert "/docs-0050.jsonl:2: " in scanned.first_reject


@pytest.mark.ray
@pytest.mark.usefixtures("ray_engine")
def test_threads_and_ray_give_the_same(tmp_path: Path, make_recipe: MakeRecipe) -> None:
    fill(tmp_path, "jsonl.gz")
    write(tmp_path / "data", "docs-0040.jsonl.gz", [{"no": "text"}])
    (tmp_path / "data" / "docs-0041.jsonl.gz").write_bytes(b"\x1f\x8b and then nothing")
    local, ray = (
        execute(make_recipe(tmp_path, store=f"./{engine}"), "limits.unreadable_shards=1", engine=engine)
        for engine in ("local", "ray")
    )
    assert local.unreadable == ray.unreadable
    assert local.funnel.to_json() == ray.funnel.to_json()
    assert rows(local, "id", "text") == rows(ray, "id", "text")


PEAK = """
import resource, sys
from gristmill.pipelines.cli.main import main
sys.argv[:] = ["gristmill", "run", sys.argv[1], "--quiet"]
try:
    main()
except SystemExit as end:
    assert not end.code, end.code
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


@pytest.mark.slow
def test_memory_does_not_grow_with_the_number_of_files(tmp_path: Path, make_recipe: MakeRecipe) -> None:
    peaks = []
    for files in (2_000, 20_000):
        folder = tmp_path / str(files)
        (folder / "data").mkdir(parents=True)
        for i in range(files):
            line = json.dumps({"id": str(i), "text": f"a short text, the {i}th"}) + "\n"
            (folder / "data" / f"docs-{i:06d}.jsonl").write_text(line)
        recipe = make_recipe(folder, sources=[{"name": "docs", "path": "data"}])
        done = subprocess.run(
            [sys.executable, "-c", PEAK, str(recipe)],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            check=True,
        )
        peaks.append(int(done.stdout.split()[-1]) * 1024)
    assert peaks[1] - peaks[0] < 18_000 * 4_000, "bytes a file: its name, size and state, and no more"
