from __future__ import annotations

from pathlib import Path

import pytest

from gristmill.operators.errors import RecipeError
from gristmill.pipelines.config import located_yaml
from gristmill.pipelines.config.located_yaml import DEEPEST, LONGEST_TEXT, load, parse_value
from gristmill.pipelines.label.task import load_task
from gristmill.pipelines.recipe.recipe import load_recipe


def test_values_know_their_line() -> None:
    document = load("a: 1\nb:\n  - x\n  - {name: y, z: 2}\n", "r.yaml", {})
    assert document.value == {"a": 1, "b": ["x", {"name": "y", "z": 2}]}
    assert document.where(("b", 1, "z")) == "r.yaml:4"
    assert document.where(("b", 1, "missing", "deeper")) == "r.yaml:4"
    assert document.where(("a",)) == "r.yaml:1"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [1, 2", "r.yaml:1"),
        ("a: 1\nb: 2\na: 3\n", r"r.yaml:3: a stands here a second time \(first in line 1\)"),
        ("", "the file is empty"),
        ("1: 2", "r.yaml:1: the key 1 is not text"),
        ("x: !!python/object:os.system {}", "r.yaml"),
    ],
)
def test_mistakes_name_the_line(text: str, message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        load(text, "r.yaml", {})


def test_variables_resolve_and_are_hidden_again() -> None:
    document = load(
        "store: s3://${BUCKET}/x\nkey: '${SECRET}'\nn: 7\n", "r.yaml", {"BUCKET": "corpora", "SECRET": "hunter22"}
    )
    assert document.value == {"store": "s3://corpora/x", "key": "hunter22", "n": 7}
    assert document.redact("cannot open s3://corpora/x with hunter22") == "cannot open s3://${BUCKET}/x with ${SECRET}"
    assert document.redact_value({"a": ["hunter22"], "n": 7}) == {"a": ["${SECRET}"], "n": 7}


def test_all_unset_variables_are_told_at_once_but_those_that_need_not_be_set() -> None:
    text = "store: ${NOWHERE}\nkeys:\n  - ${NOTHING}\n  - ${SET}\n"
    with pytest.raises(RecipeError, match=r"r.yaml:1: .* NOWHERE is not set(.|\n)*r.yaml:3: .* NOTHING is not set"):
        load(text, "r.yaml", {"SET": "x"})
    document = load(text.replace("${NOWHERE}", "s"), "r.yaml", {"SET": "x"}, may_be_unset=("keys",))
    assert document.value == {"store": "s", "keys": ["${NOTHING}", "x"]}


def test_an_unset_variable_is_an_error_with_its_line() -> None:
    with pytest.raises(RecipeError, match=r"r.yaml:2: the environment variable NOWHERE is not set"):
        load("a: 1\nb: ${NOWHERE}\n", "r.yaml", {})


def bomb(levels: int) -> str:
    """Nine aliases of nine aliases of ...: 9 ** levels values in a few lines."""
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, levels)]
    return "\n".join(lines)


def chain(levels: int) -> str:
    return "a0: &a0 [x]\n" + "\n".join(f"a{i}: &a{i} [*a{i - 1}]" for i in range(1, levels))


#: What would take minutes, or never end, or fit no stack; where it is told; what is told.
HOSTILE = {
    "aliases that unfold to more than anybody reads": (bomb(40), 5, "more than 50,000 values, aliases unfolded"),
    "aliases that go too deep": (chain(500), 62, "more than 64 mappings and lists inside each other, aliases unfolded"),
    "brackets": ("version: 1\nx: " + "[" * 50_000, 2, "more than 64 mappings and lists inside each other"),
    "braces": ("x:\n  " + "{a: " * 50_000, 2, "more than 64 mappings and lists inside each other"),
    "blocks": ("\n".join(" " * i + "a:" for i in range(500)), 63, "more than 64 mappings and lists inside each other"),
    "dashes": ("- " * 5_000, 1, "more than 64 mappings and lists inside each other"),
    "a list that holds itself": ("name: x\na: &a [1, *a]", 2, r"the alias \*a stands inside what it repeats"),
    "a mapping that holds itself": ("a: &a\n  b: {c: *a}", 2, r"the alias \*a stands inside what it repeats"),
    "a key that holds itself": ("&a [*a]: 1", 1, r"the alias \*a stands inside what it repeats"),
    "a merge key": ("a: &a {b: 1}\nc:\n  <<: *a\n  d: 2", 3, "recipes merge nothing"),
    "a huge text": ("a: 1\nb: '" + "x" * LONGEST_TEXT + "'", 2, "the file goes on after 1,000,000 characters"),
    "no end of lines": ("\n" * (LONGEST_TEXT + 1), LONGEST_TEXT + 1, "the file goes on after 1,000,000 characters"),
    "an alias of nothing": ("a: *b", 1, "found undefined alias"),
    "a list as a key": ("a: 1\n? [b, c]\n: 2", 2, "a key is a name, not a list or a mapping"),
    "a mapping as a key": ("{a: 1}: 2", 1, "a key is a name, not a list or a mapping"),
    "a date that there is not": (
        "a: 1\nb: 2020-13-45",
        2,
        "'2020-13-45' is no timestamp; write it in quotes if it is text",
    ),
    "a tag that does not fit": ("a: !!int x", 1, "'x' is no int"),
    "a tag of truth": ("a: !!bool perhaps", 1, "'perhaps' is no bool"),
    "a tag of dates": ("a: !!timestamp x", 1, "'x' is no timestamp"),
    "bytes that are none": ("a: !!binary é", 1, "is no binary"),
    "an equals sign": ("a: =", 1, "'=' is no value"),
    "a number of ten thousand digits": ("a: " + "9" * 10_000, 1, r"99 \.\.\. 9+' \(10,002 characters\) is no int"),
    "two documents": ("a: 1\n---\nb: 2", 1, "another document"),
    "characters that no file has": ("a: \0", 0, "this is not valid YAML"),
}


@pytest.mark.parametrize(("text", "line", "message"), HOSTILE.values(), ids=HOSTILE)
def test_hostile_yaml_ends_with_its_line(text: str, line: int, message: str, tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_text(text)
    for read in (load_recipe, load_task):
        with pytest.raises(RecipeError) as refused:
            read(str(tmp_path / "x.yaml"))
        assert str(refused.value).startswith(f"{tmp_path}/x.yaml:{line}:" if line else f"{tmp_path}/x.yaml")
        assert refused.match(message)


def test_many_values_are_refused_where_they_become_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(located_yaml, "MOST_VALUES", 100)
    assert len(load("a:\n" + "- b\n" * 97, "r.yaml").value["a"]) == 97
    with pytest.raises(RecipeError, match=r"r\.yaml:101: more than 100 values"):
        load("a:\n" + "- b\n" * 200, "r.yaml")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[" * 50_000, "more than 64 mappings and lists inside each other"),
        ("[&a [*a]]", "the alias"),
        ("{a: &a {b: 1}, c: {<<: *a}}", "recipes merge nothing"),
        ("{" + bomb(9).replace("\n", ", ") + "}", "more than 50,000 values, aliases unfolded"),
        ("2020-13-45", "is no timestamp"),
        ("{[a]: 1}", "a key is a name"),
    ],
)
def test_hostile_overrides_are_blamed_on_the_option(text: str, message: str) -> None:
    with pytest.raises(RecipeError, match=f"--set x=.*{message}"):
        parse_value(text, "--set x=...")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("", None),
        ("5", 5),
        ("[a, 1]", ["a", 1]),
        ("{a: {b: null}}", {"a": {"b": None}}),
        ("a: b: c", "a: b: c"),
        ("${HOME}", "${HOME}"),
        ("x > 1", "x > 1"),
        ("[", "["),
    ],
)
def test_overrides_are_values_or_text(text: str, value: object) -> None:
    assert parse_value(text, "--set x=...") == value


def test_ordinary_aliases_and_depth_are_fine() -> None:
    deep = "[" * (DEEPEST - 3) + "]" * (DEEPEST - 3)
    assert load(f"a: &a [1, {{b: 2}}]\nc: *a\nd: {deep}", "r.yaml").value["c"] == [1, {"b": 2}]
