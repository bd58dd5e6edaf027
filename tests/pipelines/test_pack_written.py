"""Another packing of texts that are written already: no text is written or read from its source again."""

from __future__ import annotations

import json
import shutil
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import tokenizers
from rich.console import Console

import gristmill
from gristmill.pipelines.config.tuning import tuned
from gristmill.pipelines.engine.base import Engine
from gristmill.pipelines.report.console.run import show_result
from gristmill.pipelines.report.verify import verify
from gristmill.pipelines.shard_tasks import pack as packing
from gristmill.pipelines.shard_tasks import pack_written, write
from gristmill.pipelines.stages.context import RunResult
from gristmill.pipelines.storage import files
from gristmill.pipelines.store.datasets import Dataset
from gristmill.pipelines.store.run_records import RunRecords
from gristmill.pipelines.versions.retention import collect, judge, retention
from tests.pipelines.engine.work import Killing
from tests.pipelines.label.tasks import QUIET
from tests.pipelines.stages.test_run import execute
from tests.pipelines.test_pack import check, manifest_of
from tests.pipelines.test_whole_versions import MakeRecipe

REWRITING = {
    "transform": ["normalize_unicode"],
    "decide": [
        {"paragraph_dedup": {"limit": 2, "by": "line"}},
        {"drop": "gopher_words < 30"},
    ],
}


def written(result: RunResult) -> dict[str, bytes]:
    """All files that the manifest of a version lists, by name."""
    version = Path(result.dataset)
    manifest = json.loads((version / "manifest.json").read_text())
    shards = manifest.get("packed", {"shards": []})["shards"]
    listed = [*manifest["files"], *(file for shard in shards for file in shard["files"])]
    return {file["name"]: (version.parent / file["path"]).read_bytes() for file in listed}


def told(result: RunResult) -> dict[str, Any]:
    """The manifest of a version, without the folders that its files lie in and the version before it."""

    def plain(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: plain(held) for name, held in value.items() if name not in ("path", "parent", "seal")}
        return [plain(held) for held in value] if isinstance(value, list) else value

    manifest: dict[str, Any] = plain(json.loads((Path(result.dataset) / "manifest.json").read_text()))
    return manifest


def sources_are_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(write, "read_texts", lambda *a: pytest.fail("a source is read again"))
    monkeypatch.setattr(write, "write_dataset_file", lambda *a: pytest.fail("texts are written again"))


@pytest.fixture
def other_tokenizer(packed_recipe: Path) -> str:
    """The tokenizer without half of its merges."""
    value = json.loads((packed_recipe.parent / "tokenizer.json").read_text())
    value["model"]["merges"] = value["model"]["merges"][:150]
    (packed_recipe.parent / "other.json").write_text(json.dumps(value))
    tokenizers.Tokenizer.from_file(str(packed_recipe.parent / "other.json"))
    return "other.json"


CHANGES = (
    ("write.pack=null",),
    (),
    ("write.pack.length=32",),
    ("write.pack.split=concat", "write.pack.seed=9"),
    ("write.pack.eos=false", "write.pack.split=documents"),
    ("write.pack.tokenizer=other.json",),
)


@pytest.mark.parametrize(
    "rules",
    [{"decide": ["exact_dedup"]}, pytest.param(REWRITING, marks=pytest.mark.slow)],
    ids=["plain", "rewritten"],
)
def test_any_packing_after_any_other_is_what_it_is_from_nothing(
    packed_recipe: Path, make_recipe: MakeRecipe, other_tokenizer: str, rules: dict[str, Any]
) -> None:
    folder = packed_recipe.parent
    pack = {"tokenizer": "tokenizer.json", "length": 64, "seed": 5}
    recipe = make_recipe(folder, write={"shard_bytes": 40_000, "pack": pack}, **rules)
    fresh = [execute(recipe, f"store={folder}/fresh-{i}", *changes) for i, changes in enumerate(CHANGES)]
    assert [result.texts for result in fresh] == [None] * len(CHANGES)
    for first in (0, 3):
        store = f"{folder}/store-{first}"
        began = execute(recipe, f"store={store}", *CHANGES[first])
        shared = {"version": Path(began.dataset).name, "files": len(told(began)["files"])}
        with pytest.MonkeyPatch.context() as monkeypatch, tuned(exchanged_tokens=700, exchange_blocks=0):
            sources_are_not_read(monkeypatch)
            for i, (changes, expected) in enumerate(zip(CHANGES, fresh, strict=True)):
                result = execute(recipe, f"store={store}", *changes)
                assert written(result) == written(expected)
                assert told(result) == told(expected)
                assert result.packed == expected.packed
                assert i == first or {**shared, "bytes": result.texts["bytes"]} == result.texts  # type: ignore[index]
        again = execute(recipe, f"store={store}", *changes)
        assert (again.cached, again.dataset, again.texts) == (True, result.dataset, result.texts)
        assert not verify(store, None, False, QUIET).findings
        assert len([*Path(store).rglob("data-*.parquet")]) == shared["files"]
    assert not [*folder.rglob("_receipts")]


def test_all_that_reads_a_version_finds_its_texts(packed_recipe: Path, tokenizer_file: Path) -> None:
    store, first = packed_recipe.parent / "store", execute(packed_recipe, "write.pack=null")
    result = execute(packed_recipe)
    check(store, tokenizer_file)
    rows = gristmill.open_dataset(str(store / "datasets" / "test"))
    assert rows.version == Path(result.dataset).name
    assert rows.rows == rows.arrow().count_rows() == 360
    assert len(gristmill.open_packed(store / "datasets" / "test")) == manifest_of(store)["packed"]["sequences"]
    console = Console(record=True, width=200)
    show_result(result, [], console)
    assert f"texts    4 files of {Path(first.dataset).name} (" in console.export_text()


def test_texts_without_a_column_of_texts_are_read_from_the_sources(packed_recipe: Path) -> None:
    without = "write.columns=[id]"
    first, second = execute(packed_recipe, without, "write.pack=null"), execute(packed_recipe, without)
    assert (first.texts, second.texts) == (None, None)
    assert execute(packed_recipe, without, "write.pack.seed=6").texts is None
    assert execute(packed_recipe, without, "write.shard_bytes=30000").texts is None


def test_texts_that_are_damaged_are_not_used_and_are_found(packed_recipe: Path, tokenizer_file: Path) -> None:
    store = packed_recipe.parent / "store"
    first, second = execute(packed_recipe, "write.pack=null"), execute(packed_recipe)
    whole, damaged = written(second), sorted(store.rglob("data-*.parquet"))[2]
    damaged.write_bytes(damaged.read_bytes()[:-1] + b"\xff")
    third = execute(packed_recipe, "write.pack.seed=6")
    assert third.texts is None, "another version's texts are damaged"
    assert execute(packed_recipe).texts == {**second.texts, "version": Path(third.dataset).name}  # type: ignore[dict-item]
    assert written(execute(packed_recipe)) == whole
    found = verify(str(store), "test", False, QUIET).findings
    assert [(Path(f.path).name, f.problem) for f in found] == [(damaged.name, "damaged")]
    assert execute(packed_recipe, "write.pack=null").dataset == first.dataset
    assert execute(packed_recipe).cached
    check(store, tokenizer_file)


def test_texts_that_another_version_lists_are_never_removed(packed_recipe: Path, tokenizer_file: Path) -> None:
    store = packed_recipe.parent / "store"
    first, _, third = (execute(packed_recipe, f"write.pack.seed={seed}") for seed in (1, 2, 3))
    kept = {
        of.version: of.kept_by
        for of in judge(RunRecords(str(store)), Dataset(str(store), "test"), retention(nightly=1)).versions
    }
    assert kept[Path(first.dataset).name] == (f"files of {Path(third.dataset).name} lie in it",)
    collection = collect(RunRecords(str(store)), "test", retention(nightly=1), lambda found: True)
    assert [of.version[:6] for of in collection.going] == ["000002"]
    check(store, tokenizer_file)
    assert execute(packed_recipe, "write.pack.seed=3").cached
    assert len([*RunRecords(str(store)).finished()]) == 2
    assert execute(packed_recipe, "write.pack.seed=4").texts["version"] == Path(first.dataset).name  # type: ignore[index]


def test_texts_whose_version_lost_its_records_stay_while_another_lists_them(packed_recipe: Path) -> None:
    store, first = packed_recipe.parent / "store", execute(packed_recipe, "write.pack=null")
    second = execute(packed_recipe)
    whole = written(second)
    (Path(first.dataset) / "manifest.json").unlink()
    shutil.rmtree(store / "runs" / first.run)
    assert execute(packed_recipe, "write.pack.seed=6").texts is None
    assert written(second) == whole, "what is swept as never committed has no file that a version lists"


@pytest.mark.parametrize("place", ["tokens", "pack", "manifest"])
def test_a_run_that_is_ended_goes_on(
    packed_recipe: Path, tokenizer_file: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    store, done = packed_recipe.parent / "store", list[str]()
    expected = written(execute(packed_recipe, f"store={store}-fresh"))
    execute(packed_recipe, "write.pack=null")
    send, pack, write_record = pack_written.PackWritten.run, packing.write_packed, files.write_record

    def sending(task: Any) -> Any:
        if place == "tokens" and len(done) == 2:
            raise ValueError("the machine burns")
        done.append(str(task))
        return send(task)

    def packed(*arguments: Any) -> Any:
        if place == "pack" and any("tokens-" in name for name in done):
            raise ValueError("the machine burns")
        done.append(arguments[2])
        return pack(*arguments)

    def recorded(url: str, value: Any) -> None:
        if place == "manifest" and url.endswith("manifest.json"):
            raise ValueError("the machine burns")
        write_record(url, value)

    with monkeypatch.context() as burning:
        burning.setattr(pack_written.PackWritten, "run", sending)
        burning.setattr(packing, "write_packed", packed)
        burning.setattr(files, "write_record", recorded)
        with pytest.raises(ValueError, match="the machine burns"):
            execute(packed_recipe, workers=1)
    assert not [f for f in verify(str(store), None, False, QUIET).findings if f.problem == "foreign"]
    if place == "pack":
        monkeypatch.setattr(pack_written, "sending", lambda *a: pytest.fail("texts are read again"))
    sources_are_not_read(monkeypatch)
    result = execute(packed_recipe)
    assert written(result) == expected
    assert result.texts is not None
    check(store, tokenizer_file)


@pytest.mark.slow
@pytest.mark.ray
def test_ray_and_killed_workers_give_the_same(packed_recipe: Path, ray_engine: Engine, tmp_path: Path) -> None:
    store = packed_recipe.parent / "store"
    expected = written(execute(packed_recipe))
    marks = tmp_path / "killed"
    marks.mkdir()
    faults = {"pack_written": partial(Killing, folder=marks, after=True, most=1)}
    execute(packed_recipe, f"store={store}-ray", "write.pack=null")
    result = execute(packed_recipe, f"store={store}-ray", engine="ray", faults=faults)
    assert [mark.name.split("-")[0] for mark in marks.iterdir()] == ["pack_written"]
    assert result.texts is not None
    assert written(result) == expected
    shutil.rmtree(f"{store}-ray")
