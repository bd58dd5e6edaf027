"""Whole runs of url_rules: what is dropped, what the funnel and explain say of it, what is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from gristmill.operators.errors import RecipeError
from gristmill.pipelines.planning.state import plan_run
from gristmill.pipelines.recipe.recipe import load_recipe
from gristmill.pipelines.report.explain import explain
from gristmill.pipelines.report.funnel import remarks
from tests.pipelines.stages.test_run import execute
from tests.support import sentences, write_jsonl

MakeRecipe = Callable[..., Path]
RULE = {"url_rules": {"domains": "lists/domains.txt", "words": "lists/words.txt", "subwords": "lists/subwords.txt"}}
URLS = [
    "https://www.bad.example/a",
    "http://fine.example/casino/1",
    "http://fine.example/c-a-s-i-n-o",
    "http://fine.example/",
    None,
    "http://more.bad.example",
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_jsonl(
        tmp_path / "data" / "docs.jsonl",
        [{"id": f"page-{i}", "text": sentences(i, 60), "link": url} for i, url in enumerate(URLS)],
    )
    (tmp_path / "lists").mkdir()
    (tmp_path / "lists" / "domains.txt").write_text("bad.example\n")
    (tmp_path / "lists" / "words.txt").write_text("casino\n")
    (tmp_path / "lists" / "subwords.txt").write_text("asin\n")
    return tmp_path


def sources(**more: object) -> list[dict[str, object]]:
    return [{"name": "web", "path": "data/docs.jsonl", **more}]


def test_the_funnel_names_the_lists_and_explain_the_entry(folder: Path, make_recipe: MakeRecipe) -> None:
    recipe = make_recipe(folder, sources=sources(url="link"), measure=[], decide=[RULE])
    result = execute(recipe)
    (rule,) = result.funnel.rules
    by_list = {"domain": 2, "word": 1, "subword": 1}
    assert rule.details["conditions"] == {f"url_listed = '{name}'": n for name, n in by_list.items()}
    assert remarks(rule) == ["2 by url_listed = 'domain', 1 by url_listed = 'word', 1 by url_listed = 'subword'"]
    store = load_recipe(str(recipe)).store
    (document,) = explain(store, "page-2")
    assert (document["url_listed"], document["url_match"]) == ("subword", "asin")
    assert document["fates"][0]["condition"] == "url_listed = 'subword'"
    assert [explain(store, f"page-{i}")[0]["fates"][0]["kept"] for i in range(6)] == [False] * 3 + [True] * 2 + [False]


def test_another_content_of_a_list_is_another_measure(folder: Path, make_recipe: MakeRecipe) -> None:
    recipe = make_recipe(folder, sources=sources(url="link"), measure=[], decide=[RULE])
    assert execute(recipe).funnel.kept == 2
    (folder / "lists" / "domains.txt").write_text("# none\nelse.example\n")
    assert execute(recipe).funnel.kept == 4


def test_a_source_without_urls_is_refused_with_the_remedy(folder: Path, make_recipe: MakeRecipe) -> None:
    recipe = make_recipe(folder, sources=sources(), measure=[], decide=[RULE])
    told = "there is no column url, which url_lists looks at; name the field that holds it in the source: `url: FIELD`"
    with pytest.raises(RecipeError, match=rf"recipe\.yaml:\d+: {told}"):
        plan_run(load_recipe(str(recipe)))
    listed = make_recipe(folder, sources=sources(), measure=[{"url_lists": RULE["url_rules"]}], decide=[])
    with pytest.raises(RecipeError, match=told):
        plan_run(load_recipe(str(listed)))
    written = make_recipe(folder, sources=sources(), measure=[], decide=[], write={"columns": ["id", "url"]})
    with pytest.raises(RecipeError, match="there is no column url; name the field"):
        plan_run(load_recipe(str(written)))


def test_a_list_that_is_not_there_is_told_with_the_rule(folder: Path, make_recipe: MakeRecipe) -> None:
    (folder / "lists" / "words.txt").unlink()
    recipe = make_recipe(folder, sources=sources(url="link"), measure=[], decide=["exact_dedup", RULE])
    line = 1 + recipe.read_text().split("\n").index(next(x for x in recipe.read_text().split("\n") if "words.txt" in x))
    with pytest.raises(RecipeError, match=rf"recipe\.yaml:{line}: there is no file .*words\.txt"):
        plan_run(load_recipe(str(recipe)))


def test_a_rule_without_lists_is_refused(folder: Path, make_recipe: MakeRecipe) -> None:
    recipe = make_recipe(folder, sources=sources(url="link"), measure=[], decide=["url_rules"])
    with pytest.raises(RecipeError, match="name at least one list"):
        load_recipe(str(recipe))


def test_the_columns_do_not_come_without_lists(folder: Path, make_recipe: MakeRecipe) -> None:
    decide = [{"drop": "url_listed is not null"}]
    recipe = make_recipe(folder, sources=sources(url="link"), measure=[], decide=decide)
    with pytest.raises(RecipeError, match="there is no column url_listed"):
        plan_run(load_recipe(str(recipe)))
