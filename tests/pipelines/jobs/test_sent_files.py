"""Which files of a recipe go to a cluster, and what is said of those that do not."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from gristmill.operators.errors import RecipeError
from gristmill.pipelines.jobs import sent_files as module
from gristmill.pipelines.jobs.sent_files import SentFiles, sent_files
from gristmill.pipelines.planning.plan import make_plan
from gristmill.pipelines.recipe.recipe import load_recipe

MakeRecipe = Callable[..., Path]
FAR = {"store": "s3://bucket/store", "sources": [{"name": "docs", "path": "s3://bucket/docs/*"}]}
TASK = """
version: 1
name: edu
instruction: Is it one?
answer: {choice: ["yes", "no"]}
annotators:
  - {name: small, engine: transformers, model: ./tiny}
  - {name: api, engine: http, base_url: "${LABEL_URL}", api_key: "${LABEL_KEY}", model: large, tokenizer: tok.json}
  - {name: like, engine: similarity, corpus: "like/*.jsonl"}
sample: {documents: 1, by: random, import: ids.txt}
"""


def files(sent: SentFiles) -> list[str]:
    return sorted(sent.files)


def write(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(f"this is {name}\n")


def test_models_lists_and_targets_are_sent_as_they_lie_beside_each_other(
    tmp_path: Path, make_recipe: MakeRecipe, tokenizer_file: Path
) -> None:
    work = tmp_path / "work"
    write(work, "lists/bad.txt", "t/a.jsonl", "t/b.jsonl", "models/q.bin", "models/unused.bin", "data/big.jsonl")
    write(tmp_path, "common/soft.txt")
    (work / "limits.yaml").write_text("by: lang\nminimum: {gopher_words: {en: 60}}\n")
    shutil.copy(tokenizer_file, work / "tokenizer.json")
    recipe = make_recipe(
        work,
        **FAR,
        measure=[{"importance": {"target": "t/*"}}, {"quality": {"model": "models/q.bin"}}],
        decide=[
            {"url_rules": {"domains": "lists/bad.txt", "soft_words": "../common/soft.txt"}},
            {"thresholds": "limits.yaml"},
        ],
        write={"pack": {"tokenizer": "tokenizer.json", "length": 64}},
    )
    sent = sent_files(load_recipe(str(recipe)))
    named = ["limits.yaml", "lists/bad.txt", "models/q.bin", "recipe.yaml", "t/a.jsonl", "t/b.jsonl", "tokenizer.json"]
    assert files(sent) == ["common/soft.txt", *(f"work/{name}" for name in named)]
    assert sent.recipe == "work/recipe.yaml"
    assert sent.stay == ()
    assert (
        sent.told()
        == "work/recipe.yaml, work/t/a.jsonl, work/t/b.jsonl, work/models/q.bin, work/lists/bad.txt and 3 more (0.0 MB)"
    )
    sent.copy_to(tmp_path / "copy")
    assert (tmp_path / "copy" / "common" / "soft.txt").read_text() == "this is common/soft.txt\n"
    (tmp_path / "common").rename(tmp_path / "elsewhere")  # the copy names nothing outside of itself
    again = sent_files(load_recipe(str(tmp_path / "copy" / sent.recipe)))
    assert files(again) == files(sent)


def test_everything_that_a_plan_opens_is_sent(tmp_path: Path, packed_recipe: Path) -> None:
    """Beside the list of a plan, which is made otherwise: by the files that operators are given."""
    here = [f"store={tmp_path}/store", f"sources.docs.path={packed_recipe.parent}/data/docs-*"]
    loaded = load_recipe(str(packed_recipe), here)
    opened = {entry["url"] for entry in make_plan(loaded, False, False).resources().values()}
    assert opened
    assert opened == {*sent_files(loaded).files.values()} - {str(packed_recipe)}


def test_tasks_are_sent_with_the_models_and_files_that_they_name(
    tmp_path: Path, make_recipe: MakeRecipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LABEL_URL", "http://localhost:1/v1")
    monkeypatch.delenv("LABEL_KEY", raising=False)
    write(tmp_path, "tasks/tiny/config.json", "tasks/tiny/model.safetensors", "tasks/tok.json", "tasks/ids.txt")
    write(tmp_path, "tasks/like/a.jsonl")
    (tmp_path / "tasks" / "edu.yaml").write_text(TASK)
    sent = sent_files(load_recipe(str(make_recipe(tmp_path, **FAR, label=["tasks/edu.yaml"]))))
    assert files(sent) == [
        "recipe.yaml",
        "tasks/edu.yaml",
        "tasks/ids.txt",
        "tasks/like/a.jsonl",
        "tasks/tiny/config.json",
        "tasks/tiny/model.safetensors",
        "tasks/tok.json",
    ]
    assert sent.unset == ("LABEL_KEY",)


def test_data_and_a_store_beside_the_recipe_are_refused_with_the_way_out(
    tmp_path: Path, make_recipe: MakeRecipe
) -> None:
    recipe = make_recipe(tmp_path)
    with pytest.raises(RecipeError) as refused:
        sent_files(load_recipe(str(recipe)))
    told = str(refused.value)
    assert f"{recipe}:3: ./store: a job works in a copy" in told
    assert f"{recipe}:6: data/docs-*: a job works in a copy" in told
    shared = [told.split("--set ", n)[n].split(" where")[0] for n in (1, 2)]
    assert shared == [f"store={tmp_path}/store", f"sources.docs.path={tmp_path}/data/docs-*"]
    sent = sent_files(load_recipe(str(recipe), shared))
    assert sent.stay == (f"{tmp_path}/store", f"{tmp_path}/data/docs-*")
    assert files(sent) == ["recipe.yaml"]


def test_what_has_an_absolute_path_or_a_url_stays(tmp_path: Path, make_recipe: MakeRecipe) -> None:
    models = [
        {"quality": {"model": "/models/q.bin"}},
        {"quality": {"model": "s3://b/q.bin", "column": "other"}},
        "language",
    ]
    recipe = make_recipe(tmp_path, **{**FAR, "store": "${STORE_URL}"}, measure=models)
    sent = sent_files(load_recipe(str(recipe), resolves=False))
    assert files(sent) == ["recipe.yaml"]
    assert sent.stay == ("/models/q.bin",)  # and not the model of languages, which packages bring along
    assert sent.unset == ("STORE_URL",)


def test_files_that_are_not_there_are_named_with_their_lines(tmp_path: Path, make_recipe: MakeRecipe) -> None:
    recipe = make_recipe(tmp_path, **FAR, measure=[{"quality": {"model": "q.bin"}}, {"importance": {"target": "t/*"}}])
    with pytest.raises(RecipeError) as refused:
        sent_files(load_recipe(str(recipe)))
    assert f"there is no file {tmp_path}/q.bin" in str(refused.value)
    assert "t/*" in str(refused.value)
    assert str(refused.value).count(f"{recipe}:") == 2


def test_more_than_ray_takes_is_refused(
    tmp_path: Path, make_recipe: MakeRecipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MOST_BYTES", 5000)
    (tmp_path / "q.bin").write_bytes(b"0" * 6000)
    with pytest.raises(RecipeError, match=r"the largest is .*/q\.bin \(0 MB\)"):
        sent_files(load_recipe(str(make_recipe(tmp_path, **FAR, measure=[{"quality": {"model": "q.bin"}}]))))


def test_of_a_recipe_at_a_url_nothing_is_sent() -> None:
    from gristmill.pipelines.storage import files as storage

    recipe = b"version: 1\nname: t\nstore: ./store\nsources: [{name: docs, path: docs/*}]\nwrite: {}\n"
    storage.write_bytes("memory://sent/recipe.yaml", recipe)
    sent = sent_files(load_recipe("memory://sent/recipe.yaml"))
    assert (sent.recipe, sent.files) == ("memory://sent/recipe.yaml", {})
