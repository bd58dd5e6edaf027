from __future__ import annotations

import pytest

from operators.errors import RecipeError
from pipelines.located_yaml import load


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
