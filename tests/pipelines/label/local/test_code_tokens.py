"""Tokens of codes, with tokenizers that split in several ways."""

from __future__ import annotations

import re

import pytest

from gristmill.operators.errors import RecipeError
from gristmill.operators.label.contract import Constraint
from gristmill.pipelines.label.local.tokens import Encode, slot_tokens

MULTI = Constraint((("Y", "N"),) * 3, " ", None, "[YN]( [YN]){2}", None, 22)
CHOICE = Constraint((("A", "B"),), "", ("A", "B"), "(A|B)", None, 16)


class Words:
    """Tokens by a regular expression; ids by first appearance."""

    def __init__(self, pattern: str) -> None:
        self._pattern = re.compile(pattern)
        self._ids: dict[str, int] = {}

    def __call__(self, text: str) -> list[int]:
        return [self._ids.setdefault(token, len(self._ids)) for token in self._pattern.findall(text)]

    def texts(self, ids: tuple[int, ...]) -> list[str]:
        """The tokens of ids."""
        named = {number: text for text, number in self._ids.items()}
        return [named[i] for i in ids]


def test_a_blank_may_be_part_of_the_token() -> None:
    words = Words(r" ?\w")
    first, second, third = slot_tokens(MULTI, words, "model")
    for slot in (first, second, third):
        assert {code: words.texts(ids) for code, ids in slot.variants.items()} == {"Y": ["Y", " Y"], "N": ["N", " N"]}
        assert slot.before == ()
    assert words.texts(tuple(first.written.values())) == ["Y", "N"]
    assert second.written == third.written
    assert words.texts(tuple(second.written.values())) == [" Y", " N"]


def test_a_blank_may_be_a_token_by_itself() -> None:
    words = Words(r" |\w")
    first, second, _ = slot_tokens(MULTI, words, "model")
    assert {code: words.texts(ids) for code, ids in second.variants.items()} == {"Y": ["Y"], "N": ["N"]}
    assert words.texts(second.before) == [" "]
    assert words.texts(tuple(second.written.values())) == ["Y", "N"]
    assert first.before == ()


def test_codes_that_are_tokens_only_with_a_blank_are_enough() -> None:
    words = Words(r" A|B|.")
    encode: Encode = lambda text: words(text) if text != "A" else [900, 901]  # noqa: E731
    (slot,) = slot_tokens(CHOICE, encode, "model")
    assert words.texts(slot.variants["A"]) == [" A"]
    assert words.texts((slot.written["A"],)) == [" A"]


def test_a_code_of_several_tokens_is_refused_by_name() -> None:
    odd = Constraint((("A", "QZ"),), "", ("A", "QZ"), "(A|QZ)", None, 16)
    with pytest.raises(RecipeError, match=r"tokenizer of some-model has no single token for the code 'QZ'"):
        slot_tokens(odd, Words(r"."), "some-model")


def test_codes_that_merge_with_the_one_before_are_refused() -> None:
    with pytest.raises(RecipeError, match=r"no single token for each of Y, N after 'Y '"):
        slot_tokens(MULTI, Words(r"Y N|\w| "), "some-model")


def test_free_answers_have_none() -> None:
    assert slot_tokens(Constraint((), "", None, None, {}, 512), Words("."), "model") == []
