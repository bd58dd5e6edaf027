"""The plan: what is there, what is cached, the schema after each stage."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from gristmill.operators.errors import RecipeError
from gristmill.pipelines.planning.state import StoreState, plan_run
from gristmill.pipelines.recipe.recipe import load_recipe
from gristmill.pipelines.report.plan import to_json
from tests.pipelines.stages.test_run import execute
from tests.support import make_documents, write_jsonl

MakeRecipe = Callable[..., Path]


def planned(recipe: Path, *overrides: str) -> StoreState:
    return plan_run(load_recipe(str(recipe), overrides))


def cached(state: StoreState) -> dict[str, int]:
    """Shards by measure for which it is in the store."""
    return {m["name"]: m["cached_shards"] for m in to_json(state)["measure"]}


def test_what_is_cached_follows_what_a_measure_depends_on(corpus: Path, make_recipe: MakeRecipe) -> None:
    recipe = make_recipe(corpus, measure=["gopher"])
    assert cached(planned(recipe)) == {"document": 0, "gopher": 0, "tokens": 0}
    execute(recipe)
    assert cached(planned(recipe)) == {"document": 4, "gopher": 4, "tokens": 4}
    assert cached(planned(recipe, "decide=[exact_dedup]"))["text_hash"] == 0
    assert cached(planned(recipe, "transform=[normalize_unicode]")) == {"document": 0, "gopher": 0, "tokens": 0}
    assert cached(planned(recipe, "sources.docs.metadata=[]")) == {"document": 0, "gopher": 0, "tokens": 0}
    write_jsonl(corpus / "data" / "docs-1.jsonl.gz", make_documents(5))
    write_jsonl(corpus / "data" / "docs-7.jsonl.gz", make_documents(5))
    plan = to_json(planned(recipe))
    assert (plan["shards"], plan["sources"][0]["new"]) == (5, 2)
    assert {m["cached_shards"] for m in plan["measure"]} == {3}


def test_a_fit_is_to_be_made_then_pinned(corpus: Path, make_recipe: MakeRecipe) -> None:
    write_jsonl(corpus / "target.jsonl", make_documents(20, seed=3))
    recipe = make_recipe(corpus, measure=[{"importance": {"target": "target.jsonl", "buckets": 1000}}])
    assert to_json(planned(recipe))["measure"][1]["fit"] == "to be made"
    execute(recipe)
    assert to_json(planned(recipe))["measure"][1]["fit"] == "pinned"
    write_jsonl(corpus / "target.jsonl", make_documents(20, seed=4))
    assert to_json(planned(recipe))["measure"][1]["fit"] == "to be made"


def test_the_schema_of_the_plan_is_that_of_the_dataset(corpus: Path, make_recipe: MakeRecipe) -> None:
    for write in ({}, {"columns": ["text", "gopher_words", "id", "lang", "bytes"]}):
        recipe = make_recipe(corpus, write=write)
        plan = to_json(planned(recipe))
        result = execute(recipe)
        schema = pq.read_schema(next(Path(result.dataset).glob("*.parquet")))
        assert plan["write"]["columns"] == [{"name": f.name, "type": str(f.type)} for f in schema]


def test_secrets_are_not_shown(corpus: Path, make_recipe: MakeRecipe, monkeypatch: Any) -> None:
    monkeypatch.setenv("SECRET_PLACE", str(corpus))
    recipe = make_recipe(
        corpus, store="${SECRET_PLACE}/store", sources=[{"name": "docs", "path": "${SECRET_PLACE}/data/*"}]
    )
    assert str(corpus) not in str(to_json(planned(recipe)))


def test_state_is_read_again_on_demand(corpus: Path, make_recipe: MakeRecipe) -> None:
    recipe = make_recipe(corpus)
    state = planned(recipe)
    execute(recipe)
    assert cached(state)["document"] == 0
    assert cached(StoreState.read(state.plan))["document"] == 4


def test_signatures_come_with_the_rule_that_needs_them(corpus: Path, make_recipe: MakeRecipe) -> None:
    rules = ["fuzzy_dedup", {"fuzzy_dedup": {"threshold": 0.9}}, {"fuzzy_dedup": {"seed": 7}}]
    plan = to_json(planned(make_recipe(corpus, decide=rules)))
    signed = {m["columns"][0]["name"]: m["needed_by"] for m in plan["measure"] if m["name"] == "minhash"}
    assert signed == {"minhash_5_112_1": "fuzzy_dedup", "minhash_5_112_7": "fuzzy_dedup"}
    assert [rule["columns"][1]["name"] for rule in plan["decide"]] == [
        "fuzzy_dedup_size",
        "fuzzy_dedup_2_size",
        "fuzzy_dedup_3_size",
    ]


def test_a_measure_that_a_column_implies_may_not_bring_one_that_is_there(corpus: Path, make_recipe: MakeRecipe) -> None:
    """The sources have `lang`; `lang_score` is measured together with another `lang`."""
    recipe = make_recipe(
        corpus, decide=[{"gopher_rules": {"languages": ["en"]}}], write={"columns": ["id", "lang_score"]}
    )
    with pytest.raises(RecipeError, match="lang_score is a column of language, which gives lang too") as raised:
        planned(recipe)
    assert "metadata: {source_lang: {field: lang}}" in str(raised.value)
