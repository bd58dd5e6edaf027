"""Live what-if: whatever limits are moved to, it says what `gristmill what-if` says of the same `--set`."""

from __future__ import annotations

import shlex
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import gristmill
from gristmill.operators.errors import RecipeError
from gristmill.pipelines.decide.held_rules import Superseded
from gristmill.pipelines.engine.local import LocalEngine
from gristmill.pipelines.progress.reporter import Reporter
from gristmill.pipelines.recipe.recipe import load_recipe
from gristmill.pipelines.report.live_what_if import LiveAnswer, LiveWhatIf
from gristmill.pipelines.report.what_if import WhatIf
from tests.pipelines.stages.test_run import execute

MakeRecipe = Callable[..., Path]
SOURCES = [{"name": "docs", "path": "data/docs-*", "metadata": {"lang": "string", "score": "float"}}]
RULES: dict[str, list[Any]] = {
    "conditions": [
        {"drop": {"when": "lang = 'de' and score < 1", "name": "a: #b"}},
        {"drop": "gopher_words < 50 or gopher_words < 20 and score > 2 or gopher_mean_word_length > 9"},
        {"gopher_rules": {"languages": ["en"], "min_stop_words": 1}},
        {"drop": {"when": "score < 1", "name": "low"}},
    ],
    "of all": [
        {"drop": "gopher_words < 40"},
        {"drop": "score < quantile(0.1)"},
        {"exact_dedup": "longest"},
        {"drop": {"when": "score > 5", "name": "drop_9"}},
        {"select": {"by": "random", "documents": 100, "seed": 3}},
    ],
}


@pytest.fixture(scope="module", params=[*RULES])
def live(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveWhatIf]:
    folder = tmp_path_factory.mktemp("live")
    recipe = recipe_in(folder, RULES[request.param])
    gristmill.run(recipe)
    asked = LiveWhatIf(load_recipe(str(recipe)), LocalEngine(2))
    with closing(asked):
        asked.prepare(Reporter(quiet=True))
        yield asked


def recipe_in(folder: Path, rules: list[Any]) -> Path:
    """A recipe over 600 documents of two languages."""
    import yaml

    from tests.support import make_documents, write_jsonl

    documents = make_documents(600)
    for i in range(3):
        write_jsonl(folder / "data" / f"docs-{i}.jsonl", documents[i * 200 : i * 200 + 200])
    recipe = {"version": 1, "name": "live", "store": "./store", "sources": SOURCES, "decide": rules, "write": {}}
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump(recipe, sort_keys=False))
    return path


def from_files(live: LiveWhatIf, changes: list[str], examples: int) -> WhatIf:
    return gristmill.what_if(live.loaded, changes, examples=examples, workers=2)


def numbers_for(live: LiveWhatIf) -> st.SearchStrategy[dict[int, str]]:
    def number(i: int) -> st.SearchStrategy[str]:
        limit = live.limits[i]
        if limit.is_quantile:
            return st.sampled_from(["0", "0.2", "0.35", "1"])
        if limit.is_whole:
            return st.integers(0, 120).map(str)
        return st.sampled_from(["0", "0.05", "1.5", "3", "4", "20", "50", "1e1"])

    places = st.lists(st.sampled_from(range(len(live.limits))), min_size=1, max_size=3, unique=True)
    return places.flatmap(lambda chosen: st.fixed_dictionaries({i: number(i) for i in chosen}))


def check(live: LiveWhatIf, numbers: Mapping[int, str]) -> LiveAnswer | None:
    """The quick answer and the whole one are those of `what_if`, with the changes that the page shows."""
    try:
        _, changes = live.changes(numbers)
    except RecipeError:  # a rule takes whole numbers alone
        return None
    first = live.first_answer(numbers) if changes else None
    if changes:
        right = from_files(live, changes, 3)
        assert live.answer(numbers, 3).told.to_json() == right.to_json()
        if first is not None:
            for told, whole in ((first.told.before, right.before), (first.told.after, right.after)):
                assert told.rules == whole.rules[: first.rules]
            if first.complete:
                assert (first.told.before, first.told.after) == (right.before, right.after)
                assert (first.told.moves, first.told.remarks) == (right.moves, right.remarks)
    return first


@pytest.mark.slow
@settings(max_examples=40)
@given(data=st.data())
def test_any_numbers(live: LiveWhatIf, data: st.DataObject) -> None:
    check(live, data.draw(numbers_for(live)))


def test_it_says_what_what_if_says(live: LiveWhatIf) -> None:
    """Each limit once; two of one rule that trade their numbers; limits of several rules together."""
    for i, limit in enumerate(live.limits[:4]):
        check(live, {i: "0.3" if limit.is_quantile else "33"})
    words = [
        i for i, limit in enumerate(live.limits) if limit.limit.column == "gopher_words" and limit.limit.sign == "<"
    ]
    check(live, dict(zip(words, [live.limits[i].number for i in reversed(words)], strict=True)))
    answer = check(live, {0: "20", len(live.limits) - 1: "3"})
    assert answer is not None


def test_nothing_moved_is_the_recipe_as_it_is(live: LiveWhatIf) -> None:
    told = live.answer({0: live.limits[0].number}).told
    assert (told.before, told.changes, told.moves) == (told.after, (), ())
    run = gristmill.run(live.loaded)
    assert (told.before.kept, told.before.kept_tokens) == (run.funnel.kept, run.funnel.kept_tokens)


def test_no_expression_passes_for_a_number(live: LiveWhatIf) -> None:
    hostile = ["1 or true", "(SELECT 1)", "quantile(0.5)", "", "nan", "inf", "1;DROP", "0x10", "１", "1e999", "9" * 40]
    for number in hostile:
        with pytest.raises(RecipeError, match="a limit is a number"):
            live.changes({0: number})


def test_an_answer_that_nobody_waits_for_ends(live: LiveWhatIf) -> None:
    stop = threading.Event()
    stop.set()
    first = live.first_answer({0: "3"})
    if first is not None and first.complete:
        pytest.skip("it is told before anybody could stop it")
    with pytest.raises(Superseded):
        live.answer({0: "3"}, stop=stop)


def test_a_sample_of_all_shards_has_all_documents_and_those_that_are_kept(live: LiveWhatIf) -> None:
    sampled = list(live.sampled("gopher_words", 10**9))
    told = live.answer({}).told.before
    assert sum(len(values) for values, _ in sampled) == told.documents
    assert sum(kept.true_count for _, kept in sampled) == told.kept


def test_a_recipe_without_limits_is_refused(tmp_path: Path) -> None:
    recipe = recipe_in(tmp_path, ["exact_dedup"])
    execute(recipe)
    with pytest.raises(RecipeError, match="there is no limit"):
        LiveWhatIf(load_recipe(str(recipe)), LocalEngine(1))


def test_the_command_is_quoted_for_a_shell(live: LiveWhatIf) -> None:
    _, changes = live.changes({0: "7"})
    assert shlex.split(live.command({0: "7"})) == ["gristmill", "what-if", live.loaded.document.file, "--set", *changes]
