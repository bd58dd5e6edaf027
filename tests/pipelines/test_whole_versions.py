"""A version of a dataset with an index is the whole dataset: whoever follows CURRENT reads all nights."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gristmill import api
from gristmill.operators.errors import StoreDamaged
from gristmill.pipelines.index import upkeep
from gristmill.pipelines.readers.open_dataset import OpenDataset
from gristmill.pipelines.report.query import query
from gristmill.pipelines.report.verify import verify
from gristmill.pipelines.sources.listing import discover_files
from gristmill.pipelines.stages.context import RunResult
from gristmill.pipelines.storage import files
from gristmill.pipelines.store.fuzzy_index import Index
from tests.pipelines.label.tasks import QUIET
from tests.pipelines.stages.test_run import execute
from tests.pipelines.test_cli import gristmill
from tests.pipelines.test_fuzzy_dedup import document
from tests.support import sentences, write_jsonl

MakeRecipe = Callable[..., Path]
WRITE = {"columns": ["id", "text", "tokens"], "shard_bytes": 20_000}


def add_night(folder: Path, night: int, shards: int = 3) -> list[str]:
    """Write shards of ten new documents; return their ids."""
    ids = []
    for shard in range(shards):
        numbers = range(100 * night + 10 * shard, 100 * night + 10 * shard + 10)
        made = [document(f"doc-{number}", sentences(number, 150)) for number in numbers]
        write_jsonl(folder / "data" / f"docs-{night}-{shard}.jsonl", made)
        ids += [str(row["id"]) for row in made]
    return ids


@pytest.fixture
def recipe(tmp_path: Path, make_recipe: MakeRecipe) -> Path:
    decide = [{"drop": "tokens > 100000"}, {"fuzzy_dedup": {"index": {"name": "web"}}}]
    return make_recipe(tmp_path, measure=["tokens"], decide=decide, write=WRITE)


@pytest.fixture
def nights(recipe: Path) -> tuple[Path, list[list[str]], list[RunResult]]:
    """Three nights: the recipe, the ids of each, the result of each."""
    ids, results = [], []
    for night in range(3):
        ids.append(add_night(recipe.parent, night))
        results.append(execute(recipe))
    return recipe, ids, results


def store_of(recipe: Path) -> str:
    return str(recipe.parent / "store")


def opened(recipe: Path, version: str | None = None, only_new: bool = False) -> OpenDataset:
    return api.open_dataset(f"{store_of(recipe)}/datasets/test", version, only_new=only_new)


def manifest_of(recipe: Path) -> dict[str, Any]:
    folder = recipe.parent / "store" / "datasets" / "test"
    manifest: dict[str, Any] = json.loads(
        (folder / (folder / "CURRENT").read_text().strip() / "manifest.json").read_text()
    )
    return manifest


def whole(recipe: Path) -> list[str]:
    return sorted(opened(recipe).arrow().to_table()["id"].to_pylist())


def check(recipe: Path, expected: list[str]) -> None:
    """All ways of reading give the documents expected, each once, and the manifest counts them."""
    assert whole(recipe) == sorted(expected)
    found = query(store_of(recipe), "SELECT id, tokens FROM test ORDER BY id").to_pylist()
    assert [row["id"] for row in found] == sorted(expected)
    manifest = manifest_of(recipe)
    assert manifest["rows"] == len(expected) == sum(file["rows"] for file in manifest["files"])
    assert manifest["tokens"] == sum(row["tokens"] for row in found)
    folder = recipe.parent / "store" / "datasets" / "test"
    texts = pa.concat_tables([pq.read_table(folder / file["path"], columns=["text"]) for file in manifest["files"]])
    assert manifest["text_bytes"] == sum(len(text.encode()) for text in texts["text"].to_pylist())
    assert manifest["bytes"] == sum((folder / file["path"]).stat().st_size for file in manifest["files"])
    parts = [manifest["new"], *manifest["nights"]]
    for what in ("rows", "bytes", "text_bytes", "tokens"):
        assert manifest[what] == sum(part[what] for part in parts)
    assert not verify(store_of(recipe), None, False, QUIET).findings


def test_whoever_follows_current_reads_all_nights(nights: tuple[Path, list[list[str]], list[RunResult]]) -> None:
    recipe, ids, results = nights
    everything = sorted(id for night in ids for id in night)
    check(recipe, everything)
    folder = recipe.parent / "store" / "datasets" / "test"
    paths = [str(folder / file["path"]) for file in manifest_of(recipe)["files"]]
    assert len({Path(path).parent for path in paths}) == 3
    plain = duckdb.sql(f"SELECT id FROM read_parquet({paths})").fetchall()
    assert sorted(id for (id,) in plain) == everything
    source = [file.url for file in discover_files(str(folder))]
    assert sorted(source) == sorted(paths)
    assert sorted(opened(recipe).paths) == sorted(paths)
    # the night's own part, and the versions before
    added = opened(recipe, only_new=True).arrow().to_table()
    assert sorted(added["id"].to_pylist()) == sorted(ids[2])
    assert query(store_of(recipe), "SELECT count(*) AS n FROM test_new").to_pylist() == [{"n": 30}]
    second = opened(recipe, Path(results[1].dataset).name).arrow().to_table()
    assert sorted(second["id"].to_pylist()) == sorted(ids[0] + ids[1])
    listed = query(store_of(recipe), "SELECT rows, new_rows, files FROM datasets ORDER BY version").to_pylist()
    assert [(row["rows"], row["new_rows"]) for row in listed] == [(30, 30), (60, 30), (90, 30)]
    assert [result.whole for result in results] == [30, 60, 90]


def test_what_a_run_prints_tells_the_whole(recipe: Path) -> None:
    for night in range(2):
        add_night(recipe.parent, night)
        shown = gristmill("run", recipe)
        assert ("in all   60 documents of this and of earlier nights" in shown.stdout) == (night == 1)
    assert "in all   60 documents" in gristmill("run", recipe).stdout


def test_files_of_earlier_nights_are_written_once(recipe: Path) -> None:
    add_night(recipe.parent, 0)
    first = execute(recipe)
    before = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in Path(first.dataset).iterdir()}
    add_night(recipe.parent, 1)
    second = execute(recipe)
    assert {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in Path(first.dataset).iterdir()} == before
    held = sum(pq.read_metadata(path).num_rows for path in Path(second.dataset).glob("*.parquet"))
    assert held == 30, "the folder of a version holds what is new"
    assert execute(recipe).dataset == second.dataset, "where nothing is new no version is made"


@pytest.mark.parametrize("night", [0, 2])
def test_shards_that_are_decided_again_are_there_once(
    nights: tuple[Path, list[list[str]], list[RunResult]], night: int
) -> None:
    recipe, ids, results = nights
    everything = [id for of_night in ids for id in of_night]
    index = Index(store_of(recipe), "web")
    upkeep.remove_generation(store_of(recipe), "web", index.generations[night].name)
    check(recipe, everything)
    again = execute(recipe, f"sources.docs.path=data/docs-{night}-0*")
    assert (again.shards, again.funnel.kept, again.whole) == (1, 10, 90)
    check(recipe, everything)
    written = {path.name for path in Path(again.dataset).glob("*.parquet")}
    assert any(name.startswith(f"data-{Path(results[night].dataset).name}-") for name in written), "without that shard"
    rest = execute(recipe)
    assert (rest.shards, rest.funnel.kept, rest.whole) == (2, 20, 90)
    check(recipe, everything)
    assert Path(results[night].dataset).name not in {entry["version"] for entry in manifest_of(recipe)["nights"]}
    ids.append(add_night(recipe.parent, 3))
    execute(recipe)
    check(recipe, everything + ids[3])


def strip(recipe: Path) -> None:
    """Write all manifests as they were when a version listed the files in its own folder."""
    for path in (recipe.parent / "store" / "datasets" / "test").glob("*/manifest.json"):
        manifest = files.read_record(str(path))
        own = [file for file in manifest["files"] if "night" not in file]
        plain = [{name: value for name, value in file.items() if name not in ("path", "shards")} for file in own]
        added = manifest["new"]
        left = {name: value for name, value in manifest.items() if name not in ("new", "nights", "columns_changed")}
        files.write_record(str(path), {**left, **added, "files": plain})


def test_a_store_of_an_earlier_version_is_whole_after_its_next_run(
    nights: tuple[Path, list[list[str]], list[RunResult]],
) -> None:
    recipe, ids, _ = nights
    everything = [id for of_night in ids for id in of_night]
    strip(recipe)
    assert whole(recipe) == sorted(ids[2])
    result = execute(recipe)
    assert (result.cached, result.whole) == (True, 90)
    check(recipe, everything)
    assert [path.name for path in Path(result.dataset).iterdir()] == ["manifest.json"]
    added = opened(recipe, only_new=True).arrow().to_table()
    assert sorted(added["id"].to_pylist()) == sorted(ids[2])
    assert execute(recipe).dataset == result.dataset
    strip_but_one = add_night(recipe.parent, 3)
    execute(recipe)
    check(recipe, everything + strip_but_one)


def test_shards_of_an_earlier_version_are_decided_again(
    nights: tuple[Path, list[list[str]], list[RunResult]],
) -> None:
    recipe, ids, _ = nights
    strip(recipe)
    index = Index(store_of(recipe), "web")
    upkeep.remove_generation(store_of(recipe), "web", index.generations[1].name)
    execute(recipe, "sources.docs.path=data/docs-1-1*")
    check(recipe, [id for of_night in ids for id in of_night])


def test_documents_of_a_night_whose_records_are_lost_stay(recipe: Path) -> None:
    ids = add_night(recipe.parent, 0) + add_night(recipe.parent, 1)
    execute(recipe)
    shutil.rmtree(recipe.parent / "store" / "runs")
    ids += add_night(recipe.parent, 2)
    execute(recipe)
    assert whole(recipe) == sorted(ids)
    ids += add_night(recipe.parent, 3)
    execute(recipe)
    assert whole(recipe) == sorted(ids)


def test_columns_that_came_later_are_null_in_earlier_nights(recipe: Path) -> None:
    first = add_night(recipe.parent, 0)
    execute(recipe)
    second = add_night(recipe.parent, 1)
    execute(recipe, "write.columns=[id, text, tokens, gopher_words]")
    third = add_night(recipe.parent, 2)
    execute(recipe, "write.columns=[id, text, tokens, gopher_words]")
    rows = opened(recipe).arrow().to_table().to_pylist()
    assert {row["id"] for row in rows if row["gopher_words"] is None} == {*first}
    assert {row["id"] for row in rows if row["gopher_words"] is not None} == {*second, *third}
    counted = query(store_of(recipe), "SELECT count(*) AS n, count(gopher_words) AS known FROM test").to_pylist()
    assert counted == [{"n": 90, "known": 60}]
    check(recipe, first + second + third)


def test_a_night_that_keeps_nothing_changes_nothing_for_readers(recipe: Path) -> None:
    ids = add_night(recipe.parent, 0)
    execute(recipe)
    add_night(recipe.parent, 1)
    result = execute(recipe, "decide.drop.when=tokens > 0")
    assert (result.funnel.kept, result.whole) == (0, 30)
    check(recipe, ids)
    ids += add_night(recipe.parent, 2)
    execute(recipe)
    check(recipe, ids)


def test_a_file_of_an_earlier_night_that_is_damaged_is_told(
    nights: tuple[Path, list[list[str]], list[RunResult]],
) -> None:
    recipe, _, results = nights
    path = sorted(Path(results[0].dataset).glob("*.parquet"))[0]
    content = path.read_bytes()
    path.write_bytes(content[:-20] + bytes(20))
    with pytest.raises(StoreDamaged, match=f"{path.name} is damaged"):
        query(store_of(recipe), "SELECT count(*) FROM test")


def test_without_an_index_a_version_is_what_its_run_kept(recipe: Path) -> None:
    add_night(recipe.parent, 0)
    execute(recipe, "decide=[exact_dedup]")
    ids = add_night(recipe.parent, 1)
    execute(recipe, "decide=[exact_dedup]", "sources.docs.path=data/docs-1*")
    assert whole(recipe) == sorted(ids)
    assert "nights" not in manifest_of(recipe)
    with_index = execute(recipe, "sources.docs.path=data/docs-1*")
    assert with_index.whole == 30, "what was written without the index is no night of it"
