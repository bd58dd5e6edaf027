"""Files that are gone or other ones now: their documents leave the dataset, each with a row that says so."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gristmill import api
from gristmill.operators.errors import RecipeError
from gristmill.pipelines.progress.reporter import Reporter
from gristmill.pipelines.report.explain import sentence
from gristmill.pipelines.report.verify import verify
from gristmill.pipelines.store.fuzzy_index import Index
from tests.pipelines.stages.test_run import execute
from tests.pipelines.test_fuzzy_dedup import document
from tests.support import sentences, write_jsonl

MakeRecipe = Callable[..., Path]
INDEX = [{"drop": "gopher_words < 5"}, {"fuzzy_dedup": {"index": {"name": "web"}}}]
PLAIN = [{"drop": "gopher_words < 5"}]
WITHDRAW = {"vanished": "withdraw", "changed": "withdraw"}


def write(folder: Path, name: str, first: int, n: int = 4) -> list[str]:
    made = [document(f"{name}-{i}", sentences(first + i, 80)) for i in range(n)]
    write_jsonl(folder / "data" / f"{name}.jsonl", made)
    return [str(row["id"]) for row in made]


@pytest.fixture(params=["index", "plain"])
def recipe(request: pytest.FixtureRequest, tmp_path: Path, make_recipe: MakeRecipe) -> Path:
    """Two nights of two files each."""
    decide = INDEX if request.param == "index" else PLAIN
    sources = [{"name": "docs", "path": "data/*.jsonl"}]
    path = make_recipe(tmp_path, sources=sources, decide=decide, refresh=WITHDRAW, write={"columns": ["id", "text"]})
    for i, name in enumerate("ab"):
        write(tmp_path, name, 100 * i)
    execute(path)
    for i, name in enumerate("cd"):
        write(tmp_path, name, 1000 + 100 * i)
    execute(path)
    return path


def store_of(recipe: Path) -> str:
    return str(recipe.parent / "store")


def ids(recipe: Path) -> set[str]:
    found = api.open_dataset(store_of(recipe), "test").to_table()["id"].to_pylist()
    assert len(found) == len({*found})
    return {*found}


def of(*names: str) -> set[str]:
    return {f"{name}-{i}" for name in names for i in range(4)}


def fate(recipe: Path, id: str) -> str:
    (*_, last) = api.explain(store_of(recipe), id)
    return sentence(last["fates"][0])


def check(recipe: Path) -> None:
    """The store is whole, and to do it again changes nothing."""
    assert execute(recipe).cached
    assert not verify(store_of(recipe), None, False, Reporter(quiet=True)).findings


def test_documents_of_a_file_that_is_gone_leave(recipe: Path) -> None:
    (recipe.parent / "data" / "b.jsonl").unlink()
    done = execute(recipe)
    assert done.withdrawn == 4
    assert ids(recipe) == of("a", "c", "d")
    assert fate(recipe, "b-2") == "withdrawn: data/b.jsonl is gone"
    check(recipe)
    write(recipe.parent, "e", 2000)  # nights later it is still told
    assert execute(recipe).withdrawn == 0
    assert ids(recipe) == of("a", "c", "d", "e")
    assert fate(recipe, "b-2") == "withdrawn: data/b.jsonl is gone"
    assert fate(recipe, "e-1") == fate(recipe, "a-1") == "kept"
    check(recipe)


def test_a_file_that_is_another_one_now_takes_the_place_of_the_old(recipe: Path) -> None:
    write(recipe.parent, "b", 100, n=3)  # the first three as they were
    done = execute(recipe)
    assert done.withdrawn == 4
    assert ids(recipe) == of("a", "b", "c", "d") - {"b-3"}
    assert fate(recipe, "b-3") == "withdrawn: data/b.jsonl is another file now"
    assert fate(recipe, "b-1") == "kept"
    rows = api.query(store_of(recipe), "SELECT kept, rule FROM decisions WHERE id = 'b-1' ORDER BY kept").to_pylist()
    assert rows == [{"kept": False, "rule": "withdrawn"}, {"kept": True, "rule": None}]
    check(recipe)


def test_a_file_that_comes_back_is_decided_again(recipe: Path) -> None:
    file = recipe.parent / "data" / "b.jsonl"
    aside = file.rename(recipe.parent / "b.jsonl")
    execute(recipe)
    aside.rename(file)
    done = execute(recipe)
    assert done.withdrawn == 0
    assert ids(recipe) == of("a", "b", "c", "d")
    assert fate(recipe, "b-2") == "kept"
    check(recipe)


def test_nothing_is_resolved_against_what_was_withdrawn(tmp_path: Path, make_recipe: MakeRecipe) -> None:
    sources = [{"name": "docs", "path": "data/*.jsonl"}]
    recipe = make_recipe(tmp_path, sources=sources, decide=INDEX, refresh=WITHDRAW)
    write(tmp_path, "a", 0)
    write(tmp_path, "b", 100)
    execute(recipe)
    (tmp_path / "data" / "a.jsonl").unlink()
    copies = [document(f"copy-{i}", sentences(i, 80)) for i in range(4)]
    write_jsonl(tmp_path / "data" / "c.jsonl", copies)
    execute(recipe)
    assert ids(recipe) == {*of("b"), *of("copy")}
    assert len(Index(store_of(recipe), "web").held) == 2
    check(recipe)


def test_what_is_to_be_kept_stays(tmp_path: Path, make_recipe: MakeRecipe) -> None:
    sources = [{"name": "docs", "path": "data/*.jsonl"}]
    recipe = make_recipe(tmp_path, sources=sources, decide=INDEX, refresh={"changed": "withdraw"})
    for i, name in enumerate("abc"):
        write(tmp_path, name, 100 * i)
    execute(recipe)
    (tmp_path / "data" / "a.jsonl").unlink()
    write(tmp_path, "b", 5000)
    done = execute(recipe)
    assert done.withdrawn == 4
    assert ids(recipe) == of("a", "b", "c")
    assert fate(recipe, "a-1") == "kept"
    check(recipe)


def test_without_an_index_nothing_that_is_gone_can_be_kept(tmp_path: Path, make_recipe: MakeRecipe) -> None:
    write(tmp_path, "a", 0)
    sources = [{"name": "docs", "path": "data/*.jsonl"}]
    recipe = make_recipe(tmp_path, sources=sources, decide=PLAIN, refresh={"vanished": "keep"})
    with pytest.raises(RecipeError, match=r"recipe.yaml:\d+: without an index"):
        execute(recipe)


@pytest.mark.parametrize("decide", [INDEX, PLAIN], ids=["index", "plain"])
def test_of_a_group_of_small_files_the_others_stay(tmp_path: Path, make_recipe: MakeRecipe, decide: list[Any]) -> None:
    sources = [{"name": "docs", "path": "data/*.jsonl"}]
    recipe = make_recipe(tmp_path, sources=sources, decide=decide, refresh=WITHDRAW)
    names = [f"f{i:02d}" for i in range(70)]
    for i, name in enumerate(names):
        write(tmp_path, name, 100 * i, n=2)
    assert execute(recipe).shards == 1
    (tmp_path / "data" / "f33.jsonl").unlink()
    write(tmp_path, "f40", 100 * 40, n=1)
    done = execute(recipe)
    assert done.withdrawn == 4
    expected = {f"{name}-{i}" for name in names for i in range(2)} - {"f33-0", "f33-1", "f40-1"}
    assert ids(recipe) == expected
    assert fate(recipe, "f33-1").startswith("withdrawn: data/f33.jsonl is gone")
    assert fate(recipe, "f50-1") == "kept"
    check(recipe)


def test_files_of_nights_that_are_not_looked_at_are_there(tmp_path: Path, make_recipe: MakeRecipe) -> None:
    from datetime import date

    sources = [{"name": "docs", "path": "data/{date}-*.jsonl"}]
    recipe = make_recipe(tmp_path, sources=sources, decide=INDEX, refresh=WITHDRAW)
    for day in (1, 2, 3):
        write(tmp_path, f"2026-11-0{day}-x", 100 * day)
        done = api.refresh(str(recipe), date(2026, 11, day), engine="local")
        assert done.documents == (4 * (day - 1), 4 * day)
    (tmp_path / "data" / "2026-11-02-x.jsonl").unlink()
    write(tmp_path, "2026-11-04-x", 400)
    assert api.refresh(str(recipe), date(2026, 11, 4), engine="local").documents == (12, 16)
    seen = api.refresh(str(recipe), date(2026, 11, 4), date(2026, 11, 1), engine="local")
    assert (seen.documents, seen.run.withdrawn) == ((16, 12), 4)


def test_a_rule_may_not_be_called_so(tmp_path: Path, make_recipe: MakeRecipe) -> None:
    recipe = make_recipe(tmp_path, decide=[{"drop": {"when": "tokens < 1", "name": "withdrawn"}}])
    with pytest.raises(RecipeError, match="give the rule another name"):
        api.load_recipe(recipe)
