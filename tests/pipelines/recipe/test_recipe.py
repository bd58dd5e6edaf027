"""Recipes: mistakes are told with their line and the nearest right word before anything runs; overrides; places."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fsspec
import pytest

from gristmill.operators.errors import RecipeError
from gristmill.pipelines.planning.plan import Plan
from gristmill.pipelines.planning.state import plan_run
from gristmill.pipelines.recipe.recipe import LoadedRecipe, load_recipe, read_recipe
from tests.operators.measures.fasttext_models import model_file
from tests.support import make_documents, write_jsonl

MakeRecipe = Callable[..., Path]

RECIPE = """\
version: 1
name: quick
store: ./store
sources:
  - name: docs
    path: "data/docs-*"
    metadata: [lang]
measure:
  - gopher
decide:
  - drop: "gopher_words < 50"
  - exact_dedup: longest
  - select:
      by: random
      documents: 50
write:
  columns:
    - id
    - text
"""
QUALITY = "  - gopher\n  - quality:\n      model: {}\n      label: {}\n"
#: what is wrong: (text of RECIPE, what stands in its place, line, message)
MISTAKES: dict[str, tuple[str, str, int, str]] = {
    # keys
    "unknown key": ("store:", "stor:", 3, "stor is not known here; did you mean store?"),
    "unknown key with a hyphen": (
        "store:",
        "my-store: x\nstore:",
        3,
        "my-store is not known here; did you mean store?",
    ),
    "unknown key like a type": ("    meta", "    str: x\n    meta", 7, "str is not known here"),
    "unknown key of a source": ("metadata:", "metdata:", 7, "metdata is not known here; did you mean metadata?"),
    "unknown key of an operator": (
        "documents:",
        "documnets:",
        15,
        "documnets is not known here; did you mean documents?",
    ),
    "unknown key of write": ("columns:", "colums:", 17, "colums is not known here; did you mean columns?"),
    "unknown key of limits": (
        "write:",
        "limits: {reject: 0}\nwrite:",
        16,
        "reject is not known here; did you mean rejects?",
    ),
    "unknown key of quotas": (
        "documents: 50",
        "documents: 50\n      quotas:\n        share: {a: 1}",
        17,
        "share is not known here; did you mean shares?",
    ),
    "missing key": ('    path: "data/docs-*"\n', "", 5, "sources.path is missing"),
    "missing section": (RECIPE[RECIPE.index("write:") :], "", 1, "write is missing"),
    # types and values
    "not a number": ("50\nwrite", "many\nwrite", 15, "decide.select.documents must be a whole number (found 'many')"),
    "negative number": ("50\nwrite", "-1\nwrite", 15, "decide.select.documents must be 0 or more (found -1)"),
    "not text": ("name: quick", "name: 7", 2, "name must be text, in quotes if need be (found 7)"),
    "not a list": ("  - gopher", "  gopher: {}", 8, "measure must be a list of operators (lines that begin with `- `)"),
    "no sources": (RECIPE[RECIPE.index("  - name") : RECIPE.index("measure")], "", 4, "sources must be a list"),
    "not a mapping": ("write:\n  columns:\n    - id\n    - text\n", "write: all\n", 16, "write must be a mapping"),
    "version": ("version: 1", "version: 2", 1, "version must be 1 (found 2)"),
    "name with a slash": ("name: quick", "name: a/b", 2, "name must be a plain name: letters, digits"),
    "negative size": (
        "  columns:",
        "  shard_bytes: -5MB\n  columns:",
        17,
        "must be a size such as 256MB (found '-5MB')",
    ),
    "unknown unit": (
        "  columns:",
        "  shard_bytes: 5 PX\n  columns:",
        17,
        "must be a size such as 256MB (found '5 PX')",
    ),
    "nothing as a size": ("  columns:", "  shard_bytes: 0\n  columns:", 17, "write.shard_bytes must be more than 0"),
    "unknown format": ("    meta", "    format: jsonlines\n    meta", 7, "did you mean jsonl?"),
    "no path": ('"data/docs-*"', "[]", 6, "have at least 1 entry"),
    "path of another type": ('"data/docs-*"', "7", 6, "sources.path must be text, in quotes if need be or be a list"),
    "share out of range": ("write:", "limits: {rejects: 2}\nwrite:", 16, "limits.rejects must be 1 or less (found 2)"),
    "unknown metadata type": ("[lang]", "\n      lang: strng", 8, "did you mean string?"),
    "reserved metadata": (
        "[lang]",
        "\n      lang: string\n      value: int",
        9,
        "'value' is a name that gristmill gives",
    ),
    "repeated column": ("    - text", "    - id", 18, "name each column once, not 'id' again"),
    # operators
    "unknown operator": ("- gopher\n", "- gophr\n", 9, "gophr is not an operator; did you mean gopher?"),
    "operator elsewhere": (
        "- gopher\n",
        "- exact_dedup\n",
        9,
        "exact_dedup does not belong under measure: it goes under decide",
    ),
    "two operators in one": ("- gopher\n", "- gopher: {}\n    tokens: {}\n", 9, "not 2 names: gopher, tokens"),
    "no operator": (
        "- gopher\n",
        "- [gopher]\n",
        9,
        "an entry of measure is an operator's name or one `name: options`",
    ),
    "missing option": ('- drop: "gopher_words < 50"', "- drop", 11, "decide.drop.when is missing"),
    "unknown policy": ("longest", "longst", 12, "keep is first, longest or \"best: COLUMN\", not 'longst'"),
    "no budget": (
        "      documents: 50\n",
        "",
        13,
        "give exactly one budget, documents, tokens or fraction (found none)",
    ),
    "two budgets": ("50\nwrite", "50\n      tokens: 9\nwrite", 13, "(found documents and tokens)"),
    # names
    "two sources of one name": (
        "measure:",
        "  - name: docs\n    path: data/*\nmeasure:",
        8,
        "two sources are called docs",
    ),
    "two rules of one name": (
        "- exact_dedup: longest",
        "- exact_dedup: {name: x}\n  - exact_dedup: {name: x, by: lang}",
        13,
        "two rules are called x",
    ),
    "two measures of one column": (
        "- gopher\n",
        "- gopher\n  - gopher\n",
        10,
        "there is a column gopher_words already",
    ),
    # columns
    "unknown column": ("gopher_words <", "gopher_word <", 11, "no column gopher_word; did you mean gopher_words?"),
    "unknown column in a long expression": (
        '"gopher_words < 50"',
        "|\n      gopher_words < 50\n      or gopher_wrds > 1000",
        13,
        "there is no column gopher_wrds; did you mean gopher_words?",
    ),
    "unknown column to write": ("    - text", "    - txt", 19, "there is no column txt; did you mean text?"),
    "unknown column to select by": ("by: random", "by: scor", 14, "there is no column scor"),
    "column of a measure that needs options": (
        "by: random",
        "by: importanc",
        14,
        "did you mean importance? (the measure importance gives it: list it under measure with its target)",
    ),
    "unknown column of quotas": (
        "50\nwrite",
        "50\n      quotas:\n        column: langu\n        shares: {en: 1}\nwrite",
        17,
        "there is no column langu; did you mean lang?",
    ),
    "the text as a column": ("gopher_words <", "text <", 11, "rules go by what was measured of a text"),
    "selection by text": (
        "by: random",
        "by: lang",
        13,
        "select takes the largest numbers (or by: random); lang is string",
    ),
    "best of texts": ("longest", '"best: lang"', 12, "exact_dedup keeps the highest number or date; lang is string"),
    # expressions
    "syntax": ("words < 50", "words < < 50", 11, 'syntax error at or near "<", character 16 of'),
    "unfinished": ("words < 50", "words <", 11, "something is missing after character 14"),
    "file access": ('50"\n', "(SELECT 1 FROM read_csv('/etc/passwd'))\"\n", 11, "a subquery at character 16"),
    "chance": ("gopher_words <", "random() <", 11, "function random at character 1 of 'random() < 50' cannot be used"),
    "unknown function": ("gopher_words <", "lenght(lang) <", 11, "unknown function lenght at character 1"),
    "no condition": ("gopher_words < 50", "gopher_words + 50", 11, "not true or false; compare it"),
    # files
    "nothing matches": ("data/docs-*", "dta/docs-*", 6, "did you mean data?"),
    "no target": ("- gopher\n", "- gopher\n  - importance:\n      target: x/*\n", 11, "nothing matches"),
    "no model": ("  - gopher\n", QUALITY.format("none.bin", "x"), 11, "there is no file {folder}/none.bin"),
    "corrupt model": (
        "  - gopher\n",
        QUALITY.format("recipe.yaml", "x"),
        11,
        "recipe.yaml: it is not a fastText model",
    ),
    "unknown label": (
        "  - gopher\n",
        QUALITY.format("{model}", "__label__7"),
        12,
        "__label__7 is none of the 2 labels of {model} (",
    ),
    "unknown store": ("./store", "s4://bucket/store", 3, "s4://bucket/store cannot be opened"),
    # YAML
    "unset variable": ("./store", "s3://${UNSET_BUCKET}/x", 3, "the environment variable UNSET_BUCKET is not set"),
    "open bracket": ("[lang]", "[lang", 7, "this is not valid YAML"),
    "repeated key": ("name: quick", "name: quick\nname: slow", 3, "name stands here a second time (first in line 2)"),
}


@pytest.mark.parametrize(("right", "wrong", "line", "message"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_told_with_its_line_before_anything_runs(
    corpus: Path, right: str, wrong: str, line: int, message: str
) -> None:
    model = str(model_file("words"))
    assert right in RECIPE
    (corpus / "recipe.yaml").write_text(RECIPE.replace(right, wrong.replace("{model}", model), 1))
    with pytest.raises(RecipeError) as caught:
        plan_run(load_recipe(str(corpus / "recipe.yaml")))
    assert str(caught.value).startswith(f"{corpus}/recipe.yaml:{line}: ")
    assert message.replace("{folder}", str(corpus)).replace("{model}", model) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (corpus / "store").exists()


def test_all_mistakes_are_told_at_once_by_line() -> None:
    text = RECIPE.replace("- gopher\n", "- gophr\n").replace("name: docs", "nam: docs").replace("50\nwrite", "x\nwrite")
    with pytest.raises(RecipeError) as caught:
        read_recipe(text, "r.yaml", ".")
    assert re.findall(r"^ *r\.yaml:(\d+): (\S+)", str(caught.value), re.M) == [
        ("5", "nam"),
        ("9", "gophr"),
        ("15", "decide.select.documents"),
    ]
    assert str(caught.value).startswith("r.yaml has 3 mistakes\n")


def test_mistakes_that_the_files_tell_are_told_at_once_too(corpus: Path) -> None:
    wrong = {"docs-*": "dcs-*", "gopher_words": "gopher_wrds", "by: random": "by: lang", "- text": "- txt"}
    text = RECIPE
    for right, mistake in wrong.items():
        text = text.replace(right, mistake)
    with pytest.raises(RecipeError) as caught:
        plan_run(read_recipe(text, "r.yaml", str(corpus)))
    assert re.findall(r"^ *r\.yaml:(\d+): ", str(caught.value), re.M) == ["6", "11", "13", "19"]


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("nowhere.yaml", "there is no such recipe"),
        (".", "is a folder"),
        ("data/docs-0.jsonl.gz", "a recipe is UTF-8 text"),
        ("s4://x/recipe.yaml", "cannot be opened"),
    ],
)
def test_what_is_no_recipe_is_named(corpus: Path, path: str, message: str) -> None:
    with pytest.raises(RecipeError, match=f"{re.escape(path.strip('.'))}.*{message}"):
        load_recipe(path if "://" in path else str(corpus / path))


def test_a_list_is_no_recipe() -> None:
    with pytest.raises(RecipeError, match=r"r.yaml:1: a recipe is a mapping .*, not a list"):
        read_recipe("- a\n", "r.yaml", ".")


# What a recipe leaves unsaid


def planned(folder: Path, make_recipe: MakeRecipe, *overrides: str, **keys: Any) -> Plan:
    """The plan of a recipe over a folder's data."""
    sources = [{"name": "docs", "path": "data/docs-*", "metadata": ["lang", "url"], "url": "url"}]
    return plan_run(load_recipe(str(make_recipe(folder, **{"sources": sources, **keys})), overrides)).plan


@pytest.fixture
def webs(tmp_path: Path) -> Path:
    """A folder with documents that have URLs."""
    write_jsonl(tmp_path / "data" / "docs-0.jsonl", [{**d, "url": "http://x"} for d in make_documents(20)])
    return tmp_path


@pytest.mark.parametrize(
    ("rules", "needed"),
    [
        (["exact_dedup"], {"text_hash": "exact_dedup"}),
        ([{"exact_dedup": "longest"}], {"text_hash": "exact_dedup"}),
        ([{"exact_dedup": {"by": "url"}}], {}),
        (["gopher_rules"], {"gopher": "gopher_rules"}),
        ([{"drop": "gopher_words < 5"}, {"drop": {"when": "gopher_words > 9", "name": "long"}}], {"gopher": "drop"}),
        ([{"select": {"by": "tokens", "method": "top", "fraction": 0.5}}], {"tokens": "select"}),
        ([], {}),
    ],
)
def test_rules_pull_in_the_measures_that_they_need(
    webs: Path, make_recipe: MakeRecipe, rules: list[Any], needed: dict[str, str]
) -> None:
    sources = [{"name": "docs", "path": "data/docs-*", "metadata": ["lang"], "url": "url"}]
    plan = planned(webs, make_recipe, sources=sources, decide=rules)
    assert {m.name: m.needed_by for m in plan.measures} == {"tokens": "the funnel"} | needed


def test_columns_to_write_pull_in_their_measure(webs: Path, make_recipe: MakeRecipe) -> None:
    plan = planned(
        webs, make_recipe, sources=[{"name": "docs", "path": "data/*"}], write={"columns": ["id", "gopher_words"]}
    )
    assert {m.name: m.needed_by for m in plan.measures} == {"gopher": "write", "tokens": "the funnel"}
    assert plan.output.names == ["id", "gopher_words"]


# Overrides

OVERRIDES: dict[str, tuple[str, Callable[[LoadedRecipe], Any], Any]] = {
    "a key": ("name=slow", lambda r: r.recipe.name, "slow"),
    "a new key": ("limits.rejects=0.25", lambda r: r.recipe.limits.rejects, 0.25),
    "a source by its name": ("sources.docs.path=[a, b]", lambda r: r.recipe.sources[0].path, ["a", "b"]),
    "an entry by its place": ("sources.0.text=body", lambda r: r.recipe.sources[0].text, "body"),
    "an operator's option": ("decide.select.documents=7", lambda r: r.recipe.decide[2].documents, 7),
    "an operator's options in short": ("decide.exact_dedup=first", lambda r: r.recipe.decide[1].keep, "first"),
    "beside an option in short": ("decide.exact_dedup.by=lang", lambda r: r.recipe.decide[1].keep, "longest"),
    "an operator by its place": ("decide.0.name=short", lambda r: r.recipe.decide[0].name, "short"),
    "an operator without options": ("decide.3.min_words=5", lambda r: r.recipe.decide[3].min_words, 5),
    "a rule by its name": ("decide.long.when=tokens > 3", lambda r: r.recipe.decide[4].when, "tokens > 3"),
    "the one rule of its operator without a name": (
        "decide.drop.when=x > 3",
        lambda r: r.recipe.decide[0].when,
        "x > 3",
    ),
    "a rule by its name in the funnel": (
        "decide.gopher_rules_2.min_words=5",
        lambda r: [r.recipe.decide[i].min_words for i in (3, 5)],
        [50, 5],
    ),
    "a section": ("decide=[]", lambda r: r.recipe.decide, ()),
}
LONGER = RECIPE.replace(
    "write:", "  - gopher_rules\n  - drop: {when: tokens > 9, name: long}\n  - gopher_rules\nwrite:"
)


@pytest.mark.parametrize(("override", "value", "expected"), OVERRIDES.values(), ids=OVERRIDES)
def test_overrides(override: str, value: Callable[[LoadedRecipe], Any], expected: Any) -> None:
    assert value(read_recipe(LONGER, "r.yaml", ".", [override])) == expected


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("name", "--set name: write --set key=value"),
        ("=3", "--set =3: write --set key=value"),
        ("decide.slect.documents=3", "--set decide.slect.documents=3: there is no slect; did you mean select?"),
        ("decide.gopher_rules.min_words=9", "2 entries are called gopher_rules; name one by its position, decide.3 or"),
        ("name.x=1", "--set name.x=1: there is nothing below 'quick'"),
        ("nme=x", "--set nme=x: nme is not known here; did you mean name?"),
        ("nme.bar=x", "--set nme.bar=x: nme is not known here; did you mean name?"),
        (
            "decide.select.documents=x",
            "--set decide.select.documents=x: decide.select.documents must be a whole number",
        ),
    ],
)
def test_a_wrong_override_is_named(override: str, message: str) -> None:
    with pytest.raises(RecipeError) as caught:
        read_recipe(LONGER, "r.yaml", ".", [override])
    assert message in str(caught.value)


# Places


def test_paths_start_from_the_recipes_folder(
    corpus: Path, make_recipe: MakeRecipe, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    monkeypatch.chdir(tmp_path_factory.mktemp("elsewhere"))
    plan = plan_run(load_recipe(str(make_recipe(corpus)))).plan
    assert plan.loaded.store == str(corpus / "store")
    assert [spec.files[0].url for spec, _ in plan.specs()] == [
        str(corpus / f"data/docs-{i}.jsonl.gz") for i in range(4)
    ]
    monkeypatch.chdir(corpus)
    assert plan_run(load_recipe("recipe.yaml")).plan.loaded.store == str(corpus / "store")
    assert load_recipe("recipe.yaml", ["store=~/store"]).store == str(Path("~/store").expanduser())


def test_a_recipe_in_another_store() -> None:
    fs = fsspec.filesystem("memory")
    fs.pipe("/corpora/data/docs-0.jsonl", b'{"id": "a", "text": "one text"}\n')
    fs.pipe("/corpora/recipe.yaml", RECIPE.replace("    metadata: [lang]\n", "").encode())
    try:
        plan = plan_run(load_recipe("memory://corpora/recipe.yaml")).plan
        assert plan.loaded.store == "memory://corpora/store"
        assert [file.url for spec, _ in plan.specs() for file in spec.files] == ["memory:///corpora/data/docs-0.jsonl"]
    finally:
        fs.rm("/corpora", recursive=True)


SMALL = (
    "version: 1\nname: x\nstore: ./s\nsources: [{name: a, path: b}]\ndecide:\n  - drop: {when: tokens < 3}\nwrite: {}\n"
)


@pytest.mark.parametrize(
    "option",
    ["foo.bar=5", "write.foo.bar=5", "limits.none.at.all=5", "decide.0.foo.bar=1", "sources.0.foo.bar.x=1"],
)
def test_what_an_override_adds_is_blamed_on_it(tmp_path: Path, option: str) -> None:
    (tmp_path / "r.yaml").write_text(SMALL)
    with pytest.raises(RecipeError) as refused:
        load_recipe(str(tmp_path / "r.yaml"), [option])
    assert str(refused.value).startswith(f"--set {option}: ")


@pytest.mark.parametrize("entry", ["[a]", "{a: b}", "null", "3"])
def test_metadata_that_are_no_names_are_refused(tmp_path: Path, entry: str) -> None:
    (tmp_path / "r.yaml").write_text(SMALL.replace("path: b", f"path: b, metadata: [lang, {entry}]"))
    with pytest.raises(RecipeError, match=r"r\.yaml:4: .*is not a name; write \[lang, year\]"):
        load_recipe(str(tmp_path / "r.yaml"))
