"""Two versions compared, beside what their files say."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from gristmill import api
from gristmill.operators.errors import RecipeError
from gristmill.pipelines.config.wording import excerpt
from gristmill.pipelines.storage import files
from gristmill.pipelines.store import runs
from gristmill.pipelines.versions.compare import EXCERPT, Comparison, compare
from tests.pipelines.stages.test_run import execute
from tests.pipelines.versions.stores import nights, store_of, write_recipe
from tests.support import make_documents, write_jsonl


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three versions: with copies of texts; of other files, one of them gone and one changed; with stricter rules."""
    folder = tmp_path_factory.mktemp("compared")
    documents = make_documents(90)
    write_jsonl(folder / "data" / "a.jsonl", [*documents[:30], *documents[:5]])
    write_jsonl(folder / "data" / "b.jsonl", documents[30:60])
    recipe = write_recipe(folder, [{"drop": "gopher_words < 40"}, {"drop": {"when": "tokens > 180", "name": "long"}}])
    execute(recipe)
    (folder / "data" / "b.jsonl").unlink()
    write_jsonl(folder / "data" / "a.jsonl", [*documents[:30], *documents[:3]])  # again, as another file
    write_jsonl(folder / "data" / "c.jsonl", documents[50:90])
    execute(recipe)
    execute(recipe, "decide.0.when=gopher_words < 60", "decide.1.when=tokens > 200")
    return recipe


def texts(recipe: Path, version: str) -> Counter[str]:
    return Counter(api.open_dataset(f"{store_of(recipe)}/datasets/web", version).arrow().to_table()["text"].to_pylist())


def sums(found: Comparison, what: str) -> int:
    return sum(moves.documents for moves in getattr(found, what))


@pytest.mark.parametrize(("first", "second"), [("1", "2"), ("2", "3"), ("3", "1"), ("1", None)])
def test_what_came_and_went_is_the_difference_of_the_texts(recipe: Path, first: str, second: str | None) -> None:
    found = compare(store_of(recipe), "web", first, second)
    before, after = texts(recipe, first), texts(recipe, second or "3")
    assert sums(found, "came") == (after - before).total()
    assert sums(found, "went") == (before - after).total()
    assert found.documents == (before.total(), after.total())
    tables = [
        api.open_dataset(f"{store_of(recipe)}/datasets/web", version).arrow().to_table()
        for version in (first, second or "3")
    ]
    assert found.tokens == tuple(sum(table["tokens"].to_pylist()) for table in tables)
    (source,) = found.sources.values()
    assert source["documents_after"] - source["documents_before"] == source["came"] - source["went"]
    tokens = sum(m.tokens for m in found.came) - sum(m.tokens for m in found.went)
    assert tokens == found.tokens[1] - found.tokens[0]


def test_reasons_name_the_rule_of_the_other_version(recipe: Path) -> None:
    found = compare(store_of(recipe), "web", "2", "3", examples=50)
    words = {moves.name: moves.documents for moves in found.went}
    assert set(words) == {"drop"}
    assert {moves.name for moves in found.came} == {"long"}
    assert "-- drop: gopher_words < 40" in found.recipe
    for what in ("came", "went"):
        examples: Any = found.examples[what]
        assert len(examples) == sums(found, what)
        assert all(document["excerpt"] for document in examples)
    gone = {document["id"] for document in found.examples["went"]}
    measured = api.query(store_of(recipe), "SELECT id, gopher_words FROM documents").to_pylist()
    assert gone <= {row["id"] for row in measured if 40 <= row["gopher_words"] < 60}


def test_documents_of_files_that_are_gone_or_new_are_in_no_rule(recipe: Path) -> None:
    found = compare(store_of(recipe), "web", "1", "2", examples=50)
    assert {moves.name for moves in found.went} == {moves.name for moves in found.came} == {None}
    held = [document for document in found.examples["went"] if document.get("held")]
    assert held, "their files are gone, and the version holds their texts"
    assert {document["excerpt"] for document in held} <= {excerpt(text, EXCERPT) for text in texts(recipe, "1")}


def test_a_version_beside_itself_is_the_same(recipe: Path) -> None:
    found = compare(store_of(recipe), "web", "2", "2")
    assert [*found.came, *found.went, *found.recipe] == []
    assert {drift.psi for drift in found.measures} == {0.0}
    assert {drift.ks for drift in found.measures} <= {0.0, None}


def test_measures_that_a_rule_goes_by_moved_most(recipe: Path) -> None:
    found = compare(store_of(recipe), "web", "2", "3")
    moved = {drift.column: drift for drift in found.measures}
    assert moved["gopher_words"].ks == max(drift.ks or 0.0 for drift in found.measures)
    (before, after) = moved["gopher_words"].quantiles[0]
    assert before is not None and after is not None  # noqa: PT018
    assert 36 < before < 60 <= after * (1 + 1 / 16)


def test_nights_are_compared_whole(tmp_path: Path) -> None:
    recipe = nights(tmp_path)
    found = compare(store_of(recipe), "web", "1", "3")
    assert (found.documents, sums(found, "came"), sums(found, "went")) == ((20, 60), 40, 0)


def test_a_version_whose_run_is_gone_cannot_be_compared(tmp_path: Path) -> None:
    recipe = nights(tmp_path, 2)
    write_recipe(tmp_path, [{"drop": "gopher_words < 5"}])
    execute(recipe)
    oldest = min(runs.run_names(store_of(recipe)))
    files.remove(runs.folder_of(store_of(recipe), oldest))
    with pytest.raises(RecipeError, match="no record of a run that made 000001"):
        compare(store_of(recipe), "web", "1", "3")
