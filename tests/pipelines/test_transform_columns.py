"""Columns that a transform gives: measured with the documents, read by rules, kept, planned, asked for."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gristmill import api
from gristmill.operators.errors import RecipeError
from gristmill.operators.transforms.clean_lines import CleanLines
from gristmill.pipelines.engine import EngineName
from gristmill.pipelines.planning.state import plan_run
from gristmill.pipelines.recipe.recipe import load_recipe
from gristmill.pipelines.report.explain import explain
from gristmill.pipelines.report.plan import to_json
from tests.operators.transforms.line_rules_reference import clean_lines_reference
from tests.pipelines.stages.test_run import content, execute, rows
from tests.support import make_documents, write_jsonl

MakeRecipe = Callable[..., Path]
CLEAN = [{"clean_lines": "dclm"}]


@pytest.fixture
def noisy(tmp_path: Path) -> Path:
    """A folder with two shards of documents of which some have many lines of navigation."""
    documents = make_documents(60)
    for i, document in enumerate(documents):
        document["text"] += "\nmenu\n3 likes\n\n\n\nRead more..." * (i % 4)
    for k in range(2):
        write_jsonl(tmp_path / "data" / f"docs-{k}.jsonl", documents[k::2])
    return tmp_path


def references(**options: Any) -> dict[str, tuple[str, float]]:
    operator = CleanLines(rules="dclm", **options)
    documents = make_documents(60)
    results = {}
    for i, document in enumerate(documents):
        reference = clean_lines_reference(operator, document["text"] + "\nmenu\n3 likes\n\n\n\nRead more..." * (i % 4))
        results[document["id"]] = (reference.text, reference.removed_words)
    return results


def test_a_rule_drops_by_it_and_the_dataset_has_it(noisy: Path, make_recipe: MakeRecipe) -> None:
    result = execute(make_recipe(noisy, transform=CLEAN, decide=[{"drop": "removed_words > 0.05"}]))
    expected = {id: value for id, value in references().items() if value[1] <= 0.05}
    assert 0 < len(expected) < 60
    assert {id: (text, share) for id, text, share in rows(result, "id", "text", "removed_words")} == expected
    (rule,) = result.funnel.rules
    assert rule.dropped == 60 - len(expected) == sum(rule.details["conditions"].values())


def test_the_preset_is_the_same_and_says_what_fired(noisy: Path, make_recipe: MakeRecipe) -> None:
    recipe = make_recipe(noisy, transform=CLEAN, decide=["dclm_rules"])
    result = execute(recipe)
    assert result.funnel.kept == sum(share <= 0.05 for _, share in references().values())
    (dropped, *_) = [id for id, (_, share) in references().items() if share > 0.05]
    (told,) = explain(str(noisy / "store"), dropped)
    assert told["removed_words"] == references()[dropped][1]
    assert (told["fates"][0]["condition"], told["fates"][0]["limit"]) == ("removed_words > 0.05", 0.05)
    sql = "SELECT count(*) AS n FROM documents WHERE removed_words > 0.05"
    assert api.query(str(noisy / "store"), sql).to_pylist() == [{"n": result.funnel.documents - result.funnel.kept}]


def test_it_is_cached_and_follows_what_the_transform_depends_on(noisy: Path, make_recipe: MakeRecipe) -> None:
    recipe = make_recipe(noisy, transform=CLEAN, decide=[{"drop": "removed_words > 0.05"}])
    first = execute(recipe)
    assert (first.measured_now, execute(recipe).measured_now) == (2, 0)
    assert execute(recipe, "decide.drop.when=removed_words > 0.5").measured_now == 0
    assert execute(recipe, "transform.clean_lines={rules: dclm, min_words: 5}").measured_now == 2
    assert execute(recipe, "measure=[gopher]").measured_now == 2  # the measure alone
    assert execute(recipe).dataset == first.dataset


@pytest.mark.ray
@pytest.mark.usefixtures("ray_engine")
def test_both_engines_write_the_same_bytes(noisy: Path, make_recipe: MakeRecipe) -> None:
    engines: tuple[EngineName, ...] = ("local", "ray")
    recipe = make_recipe(noisy, transform=CLEAN, decide=["dclm_rules", "exact_dedup"])
    one, other = (content(execute(recipe, f"store=./{engine}", engine=engine)) for engine in engines)
    assert one == other


def test_the_plan_shows_it(noisy: Path, make_recipe: MakeRecipe) -> None:
    recipe = make_recipe(noisy, transform=["normalize_unicode", *CLEAN], decide=["c4_rules"])
    plan = to_json(plan_run(load_recipe(str(recipe))))
    column = {"name": "removed_words", "type": "double"}
    assert plan["transform"] == [
        {"name": "normalize_unicode", "columns": []},
        {"name": "clean_lines", "columns": [column]},
    ]
    document, page, _ = plan["measure"]
    assert column in document["columns"]
    assert (page["name"], page["needed_by"]) == ("page_statistics", "c4_rules")
    assert column in plan["write"]["columns"]


def test_two_give_columns_of_their_own(noisy: Path, make_recipe: MakeRecipe) -> None:
    second = {"clean_lines": {"rules": "c4", "column": "more"}}
    recipe = make_recipe(noisy, transform=[*CLEAN, second], write={"columns": ["id", "removed_words", "more"]})
    first = {id: share for id, (_, share) in references().items()}
    assert {id: share for id, share, _ in rows(execute(recipe), "id", "removed_words", "more")} == first
    with pytest.raises(RecipeError, match=r"there is a column removed_words already \(by clean_lines\); .* `column`"):
        load_recipe(str(make_recipe(noisy, transform=[*CLEAN, *CLEAN])))


@pytest.mark.parametrize("decide", [["dclm_rules"], [{"drop": "removed_words > 0.05"}]])
def test_a_rule_that_reads_it_says_which_transform_gives_it(
    noisy: Path, make_recipe: MakeRecipe, decide: list[Any]
) -> None:
    message = "no column removed_words; the transform clean_lines gives it: list it under transform with its rules"
    with pytest.raises(RecipeError, match=message):
        plan_run(load_recipe(str(make_recipe(noisy, decide=decide))))


def test_it_has_the_type_that_rules_are_checked_by(noisy: Path, make_recipe: MakeRecipe) -> None:
    wrong = make_recipe(noisy, transform=CLEAN, decide=[{"drop": "removed_words = 'much'"}])
    with pytest.raises(RecipeError, match="much"):
        plan_run(load_recipe(str(wrong)))
