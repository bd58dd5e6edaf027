"""Lower case and tokens, against `re.findall` on `str.lower`."""

from __future__ import annotations

import re
import sys
import unicodedata

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gristmill.operators.kernels.wordpunct import characters, find_tokens, lower_and_mark, room_for


def tokens_of(text: bytes, *, like_re: bool = True, at_a_time: int = 70) -> list[bytes]:
    data = np.frombuffer(b"[" + text + b"]" if text else b"[]", np.uint8)
    lowered, marks = np.full(room_for(len(text)), 0xFF, np.uint8), np.full(room_for(len(text)), 0xFF, np.uint8)
    length = lower_and_mark(data, 1, 1 + len(text), characters(like_re), lowered, marks)
    starts, ends = np.empty(at_a_time, np.int64), np.empty(at_a_time, np.int64)
    tokens, position = [], 0
    while position <= length:
        found, position = find_tokens(marks, length, position, starts, ends, 0)
        tokens += [lowered[starts[i] : ends[i]].tobytes() for i in range(found)]
    return tokens


def expected(text: str) -> list[bytes]:
    return [token.encode() for token in re.findall(r"\w+|[^\w\s]+", text.lower())]


CASES = [
    "",
    " ",
    "x",
    "Hello, World!? isn't_it 3.14...",
    "a\tb\x1cc\x0bd\x85e\u00a0f\u3000g",
    "ÀÉÎ Straße ŒUVRE Ÿ ÐÞ",
    "İstanbul DİYARBAKIR ıI",
    "ΟΔΥΣΣΕΥΣ ΣΑΣ Σ ΑΣ. ΑΣ'Α Α\u0301Σ ΑΣ\u0301 ΑΣ\u0301Α",
    "naïve—“quotes” «x» ¿qué?",
    "字。字词\u3000ไทย ภาษา नमस्ते",
    "🙂🙂 a🙂b 𝐀𝐁 𐐀𐐁",
    "x" * 200 + "!" * 100 + "é" * 90,
    "a!" * 500,
]


@pytest.mark.parametrize("text", CASES)
def test_equals_re_findall(text: str) -> None:
    assert tokens_of(text.encode()) == expected(text)


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=200))
@example("aΣ")
@example("a\u00adΣ\u00ad b")
def test_equals_re_findall_on_any_text(text: str) -> None:
    assert tokens_of(text.encode()) == expected(text)


@given(st.text(alphabet="aA .Σσİ\u0301\u00ad'1字", max_size=30))
def test_equals_re_findall_where_case_depends_on_the_neighbours(text: str) -> None:
    assert tokens_of(text.encode()) == expected(text)


def assigned() -> list[str]:
    """Every assigned character, but few of the many letters without case (Han, Hangul)."""
    return [
        chr(c)
        for c in range(sys.maxunicode + 1)
        if (kind := unicodedata.category(chr(c))) not in ("Cn", "Co", "Cs") and (kind != "Lo" or c % 50 == 0)
    ]


@pytest.mark.parametrize("form", ["{} ", "a{}", "{}Σ ", "a{}Σ{} "])
def test_equals_re_findall_for_every_character(form: str) -> None:
    text = "".join(form.replace("{}", c) for c in assigned())
    assert tokens_of(text.encode(), at_a_time=4096) == expected(text)


def test_words_of_scripts_without_spaces_and_with_combining_marks() -> None:
    text = "我愛你。abc 日本語の! é字e ไทย1 한국어 नमस्ते e\u0301t\u0301e "
    tokens = [*"我愛你。", "abc", *"日本語の!", "é", "字", "e", *"ไทย1", "한국어", "नमस्ते", "e\u0301t\u0301e"]
    assert tokens_of(text.encode(), like_re=False) == [token.encode() for token in tokens]


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        (b"a\xed\xa0\x80b", [b"a", b"\xed\xa0\x80", b"b"]),
        (b"a\xffb \xff\xfe", [b"a", "�".encode(), b"b", "��".encode()]),
        (b"\x80", ["�".encode()]),
        (b"ab\xe4\xbd", [b"ab", "��".encode()]),
        (b"\xf0\x9f\x99", ["���".encode()]),
    ],
)
def test_bytes_that_are_not_utf8_are_symbols(text: bytes, tokens: list[bytes]) -> None:
    assert tokens_of(text) == tokens


@given(st.binary(max_size=300))
def test_any_bytes_give_tokens_without_reading_past_the_end(text: bytes) -> None:
    assert all(tokens_of(text))
