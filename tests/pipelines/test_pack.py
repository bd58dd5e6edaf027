"""Runs that pack tokens: what the files hold, whatever engine, kills, nights and changes there were."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import tokenizers

import gristmill
from gristmill.operators.errors import FatalError, RecipeError
from gristmill.pipelines.config.tuning import tuned
from gristmill.pipelines.exchange import merged_blocks
from gristmill.pipelines.index import upkeep
from gristmill.pipelines.report.verify import verify
from gristmill.pipelines.shard_tasks import pack as packing
from gristmill.pipelines.shard_tasks import write as writing
from gristmill.pipelines.store.fuzzy_index import Index
from tests.pipelines.label.tasks import QUIET
from tests.pipelines.stages.test_run import execute
from tests.pipelines.test_whole_versions import MakeRecipe, add_night
from tests.support import make_documents, write_jsonl

EOS = "<|endoftext|>"


def manifest_of(store: Path, name: str = "test") -> dict[str, Any]:
    folder = store / "datasets" / name
    manifest: dict[str, Any] = json.loads(
        (folder / (folder / "CURRENT").read_text().strip() / "manifest.json").read_text()
    )
    return manifest


def packed_documents(store: Path, name: str = "test") -> dict[int, list[int]]:
    """The tokens of each document, by address, put together of the pieces in the Parquet files; each is whole."""
    folder, pieces, whole = store / "datasets" / name, dict[int, dict[int, list[int]]](), dict[int, int]()
    for shard in manifest_of(store, name)["packed"]["shards"]:
        path = next(file["path"] for file in shard["files"] if file["path"].endswith(".parquet"))
        for row in pq.read_table(folder / path).to_pylist():
            for piece in row["documents"]:
                tokens = row["tokens"][piece["start"] : piece["start"] + piece["tokens"]]
                assert piece["offset"] not in pieces.setdefault(piece["address"], {})
                pieces[piece["address"]][piece["offset"]] = tokens
                whole[piece["address"]] = piece["document_tokens"]
    documents = {}
    for address, parts in pieces.items():
        documents[address] = [token for at in sorted(parts) for token in parts[at]]
        assert [*np.cumsum([0, *(len(parts[at]) for at in sorted(parts))])] == [*sorted(parts), whole[address]]
    return documents


def expected_documents(store: Path, tokenizer_file: Path, name: str = "test") -> list[list[int]]:
    """The tokens of the texts of the dataset, by the tokenizers library."""
    library = tokenizers.Tokenizer.from_file(str(tokenizer_file))
    folder = store / "datasets" / name
    found = [pq.read_table(folder / file["path"])["text"].to_pylist() for file in manifest_of(store, name)["files"]]
    return [[*library.encode(text).ids, library.token_to_id(EOS)] for texts in found for text in texts]


def check(store: Path, tokenizer_file: Path, name: str = "test") -> dict[str, Any]:
    """Every token of every document once, and what the manifest says of them; return the latter."""
    documents = packed_documents(store, name)
    assert sorted(documents.values()) == sorted(expected_documents(store, tokenizer_file, name))
    manifest = manifest_of(store, name)
    packed: dict[str, Any] = manifest["packed"]
    assert packed["documents"] == len(documents) == manifest["rows"]
    assert packed["tokens"] == sum(map(len, documents.values()))
    assert packed["padding"] == packed["sequences"] * packed["length"] - packed["tokens"]
    for count in ("documents", "tokens", "sequences", "padding", "pieces", "truncated"):
        assert packed[count] == sum(shard[count] for shard in packed["shards"])
    assert not verify(str(store), None, False, QUIET).findings
    return packed


def token_files(store: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(store.rglob("tokens/*"))}


@pytest.mark.parametrize("split", ["documents", "concat", "best_fit"])
def test_every_token_of_every_kept_document_is_there_once(
    packed_recipe: Path, tokenizer_file: Path, split: str
) -> None:
    store = packed_recipe.parent / "store"
    result = execute(packed_recipe, f"write.pack.split={split}")
    packed = check(store, tokenizer_file)
    assert result.packed == {name: value for name, value in packed.items() if name != "shards"}
    assert (packed["documents"], packed["dtype"], packed["eos"]) == (360, "uint16", 1)
    assert len(packed["shards"]) == 6
    again = execute(packed_recipe, f"write.pack.split={split}")
    assert (again.cached, again.packed) == (True, result.packed)
    if split != "best_fit":
        execute(packed_recipe, "write.pack.split=best_fit")
        fitted = check(store, tokenizer_file)
        assert fitted["truncated_fitting"] == 0
        assert fitted["cut_off"] <= packed["cut_off"]


def test_documents_are_shuffled_by_seed_and_content(packed_recipe: Path, tokenizer_file: Path) -> None:
    store = packed_recipe.parent / "store"
    execute(packed_recipe, "write.pack.split=documents")
    order = [*packed_documents(store)]
    assert sorted(order) != order
    assert abs(np.corrcoef(np.argsort(np.argsort(order)), np.arange(len(order)))[0, 1]) < 0.2
    execute(packed_recipe, "write.pack.split=documents", "write.pack.seed=6")
    assert [*packed_documents(store)] != order
    check(store, tokenizer_file)


def test_another_packing_measures_nothing_and_leaves_the_other_version(packed_recipe: Path) -> None:
    first = execute(packed_recipe, "write.pack=null")
    assert first.packed is None
    second, third = execute(packed_recipe), execute(packed_recipe, "write.pack.length=32")
    assert [first.measured_now, second.measured_now, third.measured_now] == [4, 0, 0]
    assert len({first.dataset, second.dataset, third.dataset}) == 3
    assert execute(packed_recipe).dataset == second.dataset


def test_an_interrupted_run_goes_on_from_what_was_written(
    packed_recipe: Path, tokenizer_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, begun = packed_recipe.parent / "store", list[str]()
    write_packed = packing.write_packed

    def stopping(ready: Any, folder: str, name: str, documents: Any) -> Any:
        begun.append(name)
        if len(begun) == 3:
            raise ValueError("the machine burns")
        return write_packed(ready, folder, name, documents)

    monkeypatch.setattr(packing, "write_packed", stopping)
    with pytest.raises(ValueError, match="the machine burns"):
        execute(packed_recipe, workers=1)
    assert not [*store.rglob("manifest.json")]
    assert not [f for f in verify(str(store), None, False, QUIET).findings if f.problem == "foreign"]
    monkeypatch.setattr(writing, "sending", lambda *a: pytest.fail("texts are read again"))
    done, first = {path.stem for path in store.rglob("_receipts/tokens-*.json")}, len(begun)
    execute(packed_recipe)
    assert len(done) >= 2
    assert len(begun) - first == 6 - len(done), "shards that were written are not written again"
    check(store, tokenizer_file)
    assert not [*store.rglob("_receipts")]


def test_an_exchange_in_two_steps_gives_the_same_files_also_where_the_second_was_killed(
    packed_recipe: Path, tokenizer_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = packed_recipe.parent / "store"
    execute(packed_recipe)
    plain, merge, begun = token_files(store), merged_blocks._Merge.run, list[str]()
    shutil.rmtree(store)

    def stopping(task: Any) -> Any:
        if "_receipts" in task.target:  # not of exact_dedup
            begun.append(task.target)
        if len(begun) == 3:
            raise ValueError("the machine burns")
        return merge(task)

    small = {"exchange_blocks": 0, "exchange_group": 2, "exchange_bytes": 4000, "exchanged_tokens": 500}
    with tuned(exchange_block_bytes=1 << 30, **small):
        monkeypatch.setattr(merged_blocks._Merge, "run", stopping)
        with pytest.raises(ValueError, match="the machine burns"):
            execute(packed_recipe, workers=1)
        assert not [f for f in verify(str(store), None, False, QUIET).findings if f.problem == "foreign"]
        monkeypatch.setattr(writing, "sending", lambda *a: pytest.fail("texts are read again"))
        execute(packed_recipe)
    assert len({*begun}) > 3
    assert token_files(store) == plain
    check(store, tokenizer_file)
    assert not [*store.rglob("_receipts")]


def test_a_damaged_file_of_tokens_is_found_and_written_again(packed_recipe: Path, tokenizer_file: Path) -> None:
    store = packed_recipe.parent / "store"
    execute(packed_recipe)
    plain = token_files(store)
    damaged, gone = sorted(store.rglob("tokens/*.bin"))[0], sorted(store.rglob("tokens/*.idx"))[1]
    damaged.write_bytes(damaged.read_bytes()[:-1] + b"\xff")
    gone.unlink()
    found = verify(str(store), "test", False, QUIET).findings
    assert [(Path(f.path).name, f.problem) for f in found] == [(damaged.name, "damaged"), (gone.name, "gone")]
    assert "packed tokens of a dataset. The next run of its recipe makes it again" in found[0].meaning
    execute(packed_recipe)
    assert token_files(store) == plain
    check(store, tokenizer_file)


def test_lost_tokens_stop_the_run(packed_recipe: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    received = packing.PackPartition._received
    monkeypatch.setattr(packing.PackPartition, "_received", lambda task: received(task).slice(1))
    with pytest.raises(FatalError, match=r"tokens of 354 documents were packed, .* of 360 were written; nothing is"):
        execute(packed_recipe)
    assert not [*(packed_recipe.parent / "store").rglob("manifest.json")]


def test_without_an_end_of_text_token(packed_recipe: Path, tokenizer_file: Path) -> None:
    folder = packed_recipe.parent
    write_jsonl(folder / "data" / "docs-9.jsonl", [{"id": "empty", "text": "", "lang": "en"}, *make_documents(3, 9)])
    library = tokenizers.Tokenizer.from_file(str(tokenizer_file))
    bare = json.loads(library.to_str())
    bare["added_tokens"] = [token for token in bare["added_tokens"] if token["content"] != EOS]
    bare["model"]["vocab"]["end"] = bare["model"]["vocab"].pop(EOS)
    (folder / "tokenizer.json").write_text(json.dumps(bare))
    with pytest.raises(RecipeError, match=r"recipe.yaml:\d+: .* has no end-of-text token .* write eos: false"):
        execute(packed_recipe)
    execute(packed_recipe, "write.pack.eos=false")
    packed = manifest_of(folder / "store")["packed"]
    assert (packed["eos"], packed["fill"], packed["empty"], packed["documents"]) == (None, 0, 1, 364)
    expected = [tokens[:-1] for tokens in expected_documents(folder / "store", tokenizer_file) if tokens[:-1]]
    assert sorted(packed_documents(folder / "store").values()) == sorted(expected)


def two_nights(folder: Path, make_recipe: MakeRecipe, tokenizer_file: Path, **pack: Any) -> Path:
    """A recipe with an index that packs tokens, and two nights of it."""
    shutil.copy(tokenizer_file, folder / "tokenizer.json")
    write = {"shard_bytes": 20_000, "pack": {"tokenizer": "tokenizer.json", "length": 64, **pack}}
    path = make_recipe(folder, decide=[{"fuzzy_dedup": {"index": {"name": "web"}}}], write=write)
    for night in range(2):
        add_night(folder, night)
        execute(path)
    return path


@pytest.fixture
def nightly(tmp_path: Path, make_recipe: MakeRecipe, tokenizer_file: Path) -> Path:
    """A recipe with an index and two nights."""
    return two_nights(tmp_path, make_recipe, tokenizer_file)


def test_tokens_of_earlier_nights_are_listed_and_written_once(nightly: Path, tokenizer_file: Path) -> None:
    store = nightly.parent / "store"
    packed = check(store, tokenizer_file)
    assert packed["documents"] == 60
    folders = {file["path"].split("/")[0] for shard in packed["shards"] for file in shard["files"]}
    assert len(folders) == 2
    assert len(gristmill.open_packed(store / "datasets" / "test")) == packed["sequences"]
    assert execute(nightly).packed["documents"] == 60  # type: ignore[index]
    for change in ("length=32", "split=concat", "eos=false"):
        with pytest.raises(RecipeError, match=r"recipe.yaml:\d+: earlier nights of test are packed otherwise"):
            execute(nightly, f"write.pack.{change}")


def test_shards_taken_out_of_the_index_are_packed_once(nightly: Path, tokenizer_file: Path) -> None:
    store = nightly.parent / "store"
    before = packed_documents(store)
    upkeep.remove_generation(str(store), "web", Index(str(store), "web").generations[0].name)
    again = execute(nightly, "sources.docs.path=data/docs-0-0*")
    assert (again.shards, again.whole) == (1, 60)
    assert packed_documents(store) == before
    check(store, tokenizer_file)
    execute(nightly)
    check(store, tokenizer_file)
    assert packed_documents(store) == before
    add_night(nightly.parent, 2)
    execute(nightly)
    assert check(store, tokenizer_file)["documents"] == 90
