"""Losses by source: what is said of them, what is refused, in words and in whole runs."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from gristmill.operators.errors import FatalError, RecipeError
from gristmill.pipelines.decide import GroupLoss
from gristmill.pipelines.decide.losses import Losses, check_limit
from gristmill.pipelines.report.console.funnel import show_funnel
from gristmill.pipelines.report.query import query
from gristmill.pipelines.stages.context import RunResult
from tests.pipelines.stages.test_run import content, execute
from tests.support import sentences, write_jsonl

MakeRecipe = Callable[..., Path]


def losses(*sources: tuple[int, dict[str, int]], selections: tuple[str, ...] = ()) -> Losses:
    """Losses of sources a, b, ...: documents of each, and what the rules took of it."""
    rules = list(dict.fromkeys(rule for _, dropped in sources for rule in dropped))
    groups = [
        GroupLoss("source", "abcdef"[i], n, 10 * n, {rule: (k, 10 * k) for rule, k in dropped.items()})
        for i, (n, dropped) in enumerate(sources)
    ]
    return Losses(groups, rules, selections)


@pytest.mark.parametrize(
    ("found", "told"),
    [
        (losses((1000, {"drop": 300}), (1000, {"drop": 320})), []),
        (losses((1000, {"drop": 600}), (1000, {"drop": 620})), []),  # evenly: the rule's own remark says it
        (losses((1000, {"drop": 990})), []),  # there are no others
        (losses((19, {"drop": 19}), (1000, {"drop": 0})), []),  # tiny
        (losses((20, {"drop": 13}), (1000, {"drop": 450})), []),  # chance
        (
            losses((20, {"drop": 20}), (1000, {"drop": 1})),
            ["drop takes 100% of source a (20 of 20 documents; 1% of all others): is that meant?"],
        ),
        (  # of what reaches it
            losses((1000, {"drop": 900, "dedup": 60}), (1000, {"drop": 890, "dedup": 2})),
            ["dedup takes 60% of source a (60 of 100 documents; 2% of all others): is that meant?"],
        ),
        (  # a selection is asked to take, but not from one source alone
            losses((1000, {"select": 999}), (1000, {"select": 900}), selections=("select",)),
            ["select takes 99% of source a (999 of 1,000 documents; 90% of all others): is that meant?"],
        ),
        (losses((1000, {"select": 900}), (1000, {"select": 905}), selections=("select",)), []),
        (  # no rule takes half, all of them together do
            losses((1000, {"x": 450, "y": 250, "z": 140}), (1000, {"x": 10, "y": 0, "z": 1})),
            ["the rules together take 84% of source a (840 of 1,000 documents; 1% of all others): is that meant?"],
        ),
        (
            losses(*[(100, {"drop": 100 - i}) for i in range(5)], (9000, {"drop": 0})),
            [
                "drop takes 100% of source a (100 of 100 documents; 4% of all others): is that meant?",
                "drop takes 99% of source b (99 of 100 documents; 4% of all others): is that meant?",
                "drop takes 98% of source c (98 of 100 documents; 4% of all others): is that meant?",
                "drop takes more than half of source d, e too",
            ],
        ),
    ],
)
def test_a_rule_that_takes_more_than_half_of_a_source_is_remarked(found: Losses, told: list[str]) -> None:
    everything = ['`gristmill query "FROM losses"` shows what each rule took of each source']
    assert found.warnings() == (told + everything if told else [])


def test_less_than_half_is_told_where_it_is_far_from_even() -> None:
    found = losses((1000, {"drop": 400, "even": 100}), (1000, {"drop": 20, "even": 140}))
    assert list(found.remarks("drop")) == ["took most of source a: 40%, and 2% of all others"]
    assert list(found.remarks("even")) == []
    assert found.warnings() == []


@pytest.mark.parametrize("limit", [None, 0.84, 0.9, 1.0])
def test_what_the_limit_allows_passes(limit: float | None) -> None:
    check_limit(losses((1000, {"x": 440, "y": 400}), (5, {"x": 0})), limit, "recipe.yaml:7")


def test_the_limit_counts_all_rules_but_selections_and_every_source() -> None:
    found = losses(
        (1000, {"x": 440, "y": 401, "select": 100}), (3, {"x": 3}), (9, {"select": 9}), selections=("select",)
    )
    with pytest.raises(FatalError) as refused:
        check_limit(found, 0.84, "recipe.yaml:7")
    assert str(refused.value).splitlines()[:3] == [
        "recipe.yaml:7: 2 sources lost more than limits: {source_loss: 0.84} allows; nothing is committed",
        "  source b: 100.0% of its documents were dropped (3 of 3), most of them (3) by x",
        "  source a: 84.1% of its documents were dropped (841 of 1,000), most of them (440) by x",
    ]


def printed(result: RunResult) -> str:
    console = Console(file=io.StringIO(), width=200)
    show_funnel(result.funnel, console)
    return str(console.file.getvalue())  # type: ignore[attr-defined]


@pytest.fixture
def templated(tmp_path: Path, make_recipe: MakeRecipe) -> Path:
    """A source of templated documents beside a real one."""
    real = [{"id": f"r{i}", "text": sentences(i, 60), "lang": "en"} for i in range(500)]
    template = sentences(10**6, 120)
    pages = [{"id": f"p{i}", "text": f"{template} item {i}", "lang": "en"} for i in range(47)]
    pages += [{"id": f"q{i}", "text": sentences(10**7 + i, 60), "lang": "en"} for i in range(3)]
    write_jsonl(tmp_path / "data" / "real.jsonl", real)
    write_jsonl(tmp_path / "data" / "pages.jsonl", pages)
    sources = [{"name": name, "path": f"data/{name}.jsonl", "metadata": ["lang"]} for name in ("real", "pages")]
    return make_recipe(tmp_path, sources=sources, decide=["fuzzy_dedup"])


def test_a_source_that_vanishes_among_near_copies_is_named_and_refused(templated: Path) -> None:
    with pytest.raises(FatalError, match=r"(?s)source_loss: 0.5.*source pages: 92.0% .*\(46 of 50\).*by fuzzy_dedup"):
        execute(templated, "limits.source_loss=0.5")
    assert not (templated.parent / "store" / "datasets").exists()
    result = execute(templated)
    assert "! fuzzy_dedup takes 92% of source pages (46 of 50 documents; 0% of all others)" in printed(result)
    again = execute(templated)
    assert again.cached
    assert again.funnel == result.funnel
    with pytest.raises(FatalError, match="source pages"):
        execute(templated, "limits.source_loss=0.5")


def test_the_limit_is_that_of_the_columns_that_the_recipe_names(tmp_path: Path, make_recipe: MakeRecipe) -> None:
    lengths = [(i, "la", 4) if i % 5 == 0 else (i, "en", 60) for i in range(500)]
    documents = [{"id": f"{i}", "text": sentences(i, words), "lang": lang} for i, lang, words in lengths]
    write_jsonl(tmp_path / "data" / "docs.jsonl", documents)
    source = {"name": "docs", "path": "data/*", "metadata": ["lang"]}
    recipe = make_recipe(tmp_path, sources=[source], decide=[{"drop": "bytes < 100"}])
    execute(recipe, "limits.source_loss=0.5")
    with pytest.raises(FatalError, match=r"(?s)1 group lost more.*lang la: 100.0% of its documents .*\(100 of 100\)"):
        execute(recipe, "limits.source_loss=0.5", "report.by=[lang]")


def test_a_limit_that_holds_changes_nothing(templated: Path) -> None:
    first = execute(templated)
    assert execute(templated, "limits.source_loss=0.95").cached
    assert content(first) == content(execute(templated, "limits.source_loss=0.95"))


LANGUAGES = {
    "en": ["the", "of", "and", "to", "have", "with", "that", "be", "house", "river", "stone", "light"],
    "de": ["und", "der", "nicht", "haben", "zwischen", "werden", "Fluss", "Haus", "Stein", "Licht", "immer"],
    "fr": ["les", "des", "dans", "pour", "avec", "toujours", "maison", "pierre", "fleuve", "entre", "sont"],
    "pt": ["que", "uma", "com", "para", "mais", "sempre", "casa", "pedra", "entre", "foram", "muito"],
    "hu": ["hogy", "nem", "egy", "volt", "csak", "mint", "azonban", "ember", "világ", "között", "amely"],
    "zh": ["这是一个没有空格的句子所以它只有很少的词"],
}


@pytest.fixture
def mixed(tmp_path: Path, make_recipe: MakeRecipe) -> Path:
    """One source of documents in several languages."""
    found = [
        {
            "id": f"{lang}{i}",
            "text": " ".join(words[(i + j * j) % len(words)] + str(i) * (j % 9 == 8) for j in range(90)),
            "lang": lang,
        }
        for lang, words in LANGUAGES.items()
        for i in range(120 if lang == "en" else 30)
    ]
    write_jsonl(tmp_path / "data" / "docs-0.jsonl", found)
    return make_recipe(
        tmp_path,
        decide=[
            {
                "gopher_rules": {
                    "max_top_2gram": None,
                    "max_top_3gram": None,
                    **{
                        f"max_{statistic}": None
                        for statistic in ["top_4gram", *(f"dup_{n}grams" for n in range(5, 11))]
                    },
                }
            }
        ],
    )


def test_languages_that_go_are_named_and_refused(mixed: Path) -> None:
    told = printed(execute(mixed))
    for lang in ("de", "fr", "hu"):
        assert f"! gopher_rules takes 100% of lang {lang} (30 of 30 documents" in told
    assert "! gopher_rules takes more than half of lang pt, zh too" in told
    assert "lang en" not in told
    for limit, refused in [
        (
            ["limits.source_loss=0.5"],
            r"source docs: .* dropped \(1\d\d of 270\), most of them \(1\d\d\) by gopher_rules",
        ),
        (
            ["limits.source_loss=0.6", "report.by=[lang]"],
            r"(?s)5 groups lost .*lang zh: 100.0% .* \(30\) by gopher_rules",
        ),
    ]:
        with pytest.raises(FatalError, match=refused):
            execute(mixed, *limit)


def test_languages_that_the_rule_is_not_meant_for_pass_and_are_counted(mixed: Path) -> None:
    judged = execute(mixed)
    result = execute(mixed, "decide.gopher_rules.languages=[en]")
    told = printed(result)
    assert "gopher_rules: 150 documents not judged: their lang is not en" in told
    assert "! " not in told
    lost = {group.value: group.lost(["gopher_rules"])[0] for group in judged.funnel.groups}
    assert result.funnel.rules[0].dropped == lost["en"]
    assert {group.value: group.lost(["gopher_rules"])[0] for group in result.funnel.groups} == {
        **dict.fromkeys(LANGUAGES, 0),
        "en": lost["en"],
        "docs": lost["en"],
    }
    fates = query(
        str(mixed.parent / "store"),
        "SELECT lang, condition FROM decisions JOIN documents USING (address) WHERE NOT kept",
    ).to_pylist()
    assert all(fate["lang"] == "en" and fate["condition"].startswith("gopher_") for fate in fates)


def test_languages_need_their_column(mixed: Path) -> None:
    with pytest.raises(RecipeError, match="there is no column language; did you mean lang"):
        execute(mixed, "decide.gopher_rules.languages=[en]", "decide.gopher_rules.language_column=language")
    with pytest.raises(RecipeError, match="the column bytes is uint64; languages are told apart by text"):
        execute(mixed, "decide.gopher_rules.languages=[en]", "decide.gopher_rules.language_column=bytes")


def test_a_corpus_that_loses_evenly_is_not_spoken_of(corpus: Path, make_recipe: MakeRecipe) -> None:
    for name in ("a", "b"):
        (corpus / "data" / f"docs-{name}.jsonl").write_text(
            "".join(json.dumps({"id": f"{name}{i}", "text": sentences(i, 30 + i)}) + "\n" for i in range(100))
        )
    sources = [{"name": name, "path": f"data/docs-{name}.jsonl"} for name in ("a", "b")]
    result = execute(make_recipe(corpus, sources=sources, decide=[{"drop": "gopher_words < 65"}]))
    assert result.funnel.rules[0].dropped > 50
    assert "source" not in printed(result)


def test_the_view_adds_up_and_columns_can_be_asked_for(templated: Path) -> None:
    result = execute(templated, "report.by=[bytes, lang]", "decide.fuzzy_dedup.keep=longest")
    store = str(templated.parent / "store")
    table = query(
        store, "SELECT counted_by, sum(seen) seen, sum(dropped) dropped FROM losses GROUP BY ALL ORDER BY ALL"
    )
    dropped = result.funnel.rules[0].dropped
    assert table.to_pylist() == [
        {"counted_by": by, "seen": 550, "dropped": dropped} for by in ("bytes", "lang", "source")
    ]
    first = query(store, "SELECT * FROM losses WHERE value = 'pages'").to_pylist()
    tokens = query(store, "SELECT sum(tokens) FROM documents WHERE source = 'pages'").column(0)[0].as_py()
    assert first[0]["seen_tokens"] == tokens
    assert first[0]["rule"] == "fuzzy_dedup"


def test_a_new_column_to_count_by_writes_nothing_again(templated: Path) -> None:
    first = execute(templated)
    by = execute(templated, "report.by=[]")
    assert by.dataset == first.dataset
    assert {group.column for group in by.funnel.groups} == {"source"}
    assert {group.column for group in first.funnel.groups} == {"source", "lang"}


def test_an_unknown_column_is_an_error_with_its_line(templated: Path) -> None:
    with pytest.raises(RecipeError, match=r"there is no column lnag; did you mean lang\?"):
        execute(templated, "report.by=[lnag]")


def test_the_result_holds_the_groups(templated: Path) -> None:
    held: dict[str, Any] = execute(templated).to_json()
    group = next(g for g in json.loads(json.dumps(held))["funnel"]["groups"] if g["value"] == "pages")
    assert group["documents"] == 50
    assert group["dropped"]["fuzzy_dedup"][0] == 46
