"""Exact copies and repeated paragraphs are looked for among what earlier nights kept, as one run would find them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from gristmill import api
from gristmill.operators.rules.select import Select
from gristmill.pipelines.report.funnel import remarks
from gristmill.pipelines.report.verify import verify
from tests.pipelines.label.tasks import QUIET
from tests.pipelines.stages.test_run import execute
from tests.pipelines.versions.stores import write_recipe
from tests.support import sentences, write_jsonl

MakeRecipe = Callable[..., Path]
FUZZY = {"fuzzy_dedup": {"index": {"name": "web"}}}
SOURCES = [{"name": "docs", "path": "data/*.jsonl", "url": "url", "metadata": ["kind"]}]


def rows(folder: Path, store: str, columns: Sequence[str]) -> list[dict[str, Any]]:
    table: pa.Table = api.open_dataset(folder / store / "datasets" / "web").arrow().to_table(columns=[*columns])
    return table.sort_by([(name, "ascending") for name in columns]).to_pylist()


def by_nights(folder: Path, nights: Sequence[Sequence[dict[str, Any]]], rules: Sequence[Any], **keys: Any) -> Path:
    """A recipe that was run once for each night."""
    folder.mkdir(exist_ok=True)
    recipe = write_recipe(folder, [*rules, FUZZY], sources=SOURCES, **keys)
    for i, documents in enumerate(nights):
        write_jsonl(folder / "data" / f"{i}.jsonl", documents)
        execute(recipe)
    return recipe


def once(folder: Path, rules: Sequence[Any], **keys: Any) -> None:
    execute(write_recipe(folder, [*rules, "fuzzy_dedup"], sources=SOURCES, store="./once", **keys))


documents = st.fixed_dictionaries(
    {
        "text": st.integers(0, 4),
        "url": st.sampled_from(["u", "v", "w", None]),
        "kind": st.sampled_from(["x", "y"]),
    }
)
nights = st.lists(st.lists(documents, min_size=1, max_size=5), min_size=1, max_size=4)
WITHOUT_SHRINKING = (Phase.explicit, Phase.reuse, Phase.generate)  # each example runs several recipes


@settings(max_examples=6, phases=WITHOUT_SHRINKING, suppress_health_check=[HealthCheck.too_slow])
@given(nights, st.sampled_from(["text_hash", "url", ("url", "kind")]))
def test_copies_of_earlier_nights_go_as_in_one_run(
    tmp_path_factory: pytest.TempPathFactory, crawled: list[list[dict[str, Any]]], by: Any
) -> None:
    """Texts are the same or unlike each other, so that fuzzy_dedup takes nothing that the rule leaves."""
    folder = tmp_path_factory.mktemp("copies")

    def named(night: int, place: int, held: dict[str, Any]) -> dict[str, Any]:
        number = held["text"] if by == "text_hash" else 100 + 10 * night + place
        return {**held, "id": f"{night}-{place}", "text": sentences(number, 40)}

    made = [[named(i, k, held) for k, held in enumerate(night)] for i, night in enumerate(crawled)]
    rules = [{"exact_dedup": {"keep": "first", "by": by}}]
    write = {"write": {"columns": ["id", "text"]}}
    by_nights(folder, made, rules, **write)
    once(folder, rules, **write)
    assert rows(folder, "store", ["id"]) == rows(folder, "once", ["id"])
    assert not verify(str(folder / "store"), None, False, QUIET).findings


def test_what_was_kept_stays_whatever_is_preferred(tmp_path: Path) -> None:
    first = [
        {"id": "short", "text": "same", "url": "u", "kind": "x"},
        {"id": "other", "text": "o", "url": "z", "kind": "x"},
    ]
    second = [{"id": f"long-{i}", "text": f"{'longer ' * i} text", "url": "u", "kind": "x"} for i in range(3)]
    third = [*second, {"id": "new", "text": "n", "url": "n", "kind": "x"}]
    recipe = by_nights(tmp_path / "web", [first, second, third], [{"exact_dedup": {"keep": "longest", "by": "url"}}])
    assert rows(tmp_path / "web", "store", ["id"]) == [{"id": "new"}, {"id": "other"}, {"id": "short"}]
    store = str(recipe.parent / "store")
    (explained,) = api.explain(store, "long-2")[:1]
    assert explained["fates"][0]["survivor_id"] == "short"
    (count,) = api.query(store, "SELECT count(*) AS n FROM decisions WHERE rule = 'exact_dedup'").to_pylist()
    assert count == {"n": 6}


@settings(max_examples=4, phases=WITHOUT_SHRINKING, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.lists(
        st.lists(st.lists(st.integers(0, 3), min_size=1, max_size=3), min_size=1, max_size=4), min_size=2, max_size=3
    )
)
def test_paragraphs_of_earlier_nights_count(
    tmp_path_factory: pytest.TempPathFactory, crawled: list[list[list[int]]]
) -> None:
    """Each document has paragraphs of its own and some that others have: the first two keep these."""
    folder = tmp_path_factory.mktemp("paragraphs")
    shared = [sentences(50 + i, 12) for i in range(4)]

    def text(night: int, place: int, pieces: list[int]) -> str:
        return "\n\n".join([sentences(1000 * night + place, 60), *(shared[piece] for piece in pieces)])

    named = [
        [{"id": f"{i}-{k}", "text": text(i, k, pieces), "url": None, "kind": "x"} for k, pieces in enumerate(night)]
        for i, night in enumerate(crawled)
    ]
    rules = [{"paragraph_dedup": {"limit": 2}}]
    by_nights(folder, named, rules)
    once(folder, rules)
    assert rows(folder, "store", ["id", "text"]) == rows(folder, "once", ["id", "text"])


def test_shards_that_were_measured_without_the_column_are_told(tmp_path: Path) -> None:
    document = {"id": "a", "text": "x", "url": "u", "kind": "k"}
    recipe = by_nights(tmp_path / "web", [[document]], [])
    write_recipe(recipe.parent, ["exact_dedup", FUZZY], sources=SOURCES)
    write_jsonl(recipe.parent / "data" / "1.jsonl", [{**document, "id": "b", "text": "y"}])
    done = execute(recipe)
    assert done.funnel.kept == 1
    (told,) = remarks(done.funnel.rules[0])
    assert told == "1 shard of earlier nights has no text_hash: this rule looks at none of their documents"


@pytest.mark.parametrize("budget", [{"documents": 5}, {"tokens": 120}])
def test_a_budget_of_all_nights_is_spent_once(tmp_path: Path, budget: dict[str, int]) -> None:
    def night(number: int) -> list[dict[str, Any]]:
        return [
            {"id": f"{number}-{i}", "text": sentences(100 * number + i, 20), "url": None, "kind": "xy"[i % 2]}
            for i in range(4)
        ]

    quotas = {"column": "kind", "shares": {"x": 0.6}}
    rules = [{"select": {"by": "random", **budget, "over": "all", "quotas": quotas}}]
    recipe = by_nights(
        tmp_path / "web", [night(i) for i in range(4)], rules, write={"columns": ["id", "kind", "tokens"]}
    )
    kept = rows(recipe.parent, "store", ["id", "kind", "tokens"])
    taken = {
        kind: sum(row["tokens"] if "tokens" in budget else 1 for row in kept if row["kind"] == kind) for kind in "xy"
    }
    (whole,) = budget.values()
    assert 0 < taken["x"] <= whole * 0.6
    assert 0 < taken["y"] <= whole * 0.4
    if "documents" in budget:
        assert taken == {"x": 3, "y": 2}
        assert {row["id"].split("-")[0] for row in kept} == {"0", "1"}  # the third night finds nothing left
    (store,) = [str(recipe.parent / "store")]
    (last,) = api.query(store, "SELECT count(*) AS n FROM decisions WHERE rule = 'select'").to_pylist()
    assert last["n"] == 16 - len(kept)


def test_a_share_has_no_budget_over_nights() -> None:
    with pytest.raises(ValueError, match="over: all needs a budget of documents or tokens"):
        Select(by="random", fraction=0.5, over="all")
    assert Select(by="random", documents=5).fingerprint({}) != Select(by="random", documents=5, over="all").fingerprint(
        {}
    )
