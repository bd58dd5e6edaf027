"""Shingles, against words found by `re` and by a slow reference that states where words are not those of `re`.

Hashes are compared by what they are for: over many texts, equal n-grams of words must have equal hashes and different
ones different hashes.
"""

from __future__ import annotations

import gzip
import json
import re
import sys
import unicodedata
from collections.abc import Callable, Sequence
from itertools import chain
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gristmill.operators.kernels.buffers import text_buffers
from gristmill.operators.kernels.shingles import alphabet, fill_shingles, scratch_for, shingle_sets
from gristmill.operators.kernels.wordpunct import UNSPACED


def array(texts: Sequence[bytes]) -> pa.Array:
    binary = pa.array(texts, pa.large_binary())
    return pa.LargeStringArray.from_buffers(len(binary), *binary.buffers()[1:])


def shingles_of(texts: Sequence[str | bytes], ngram: int = 5) -> list[list[int]]:
    data, offsets = text_buffers(array([t.encode() if isinstance(t, str) else t for t in texts]))
    scratch, shingles = scratch_for(offsets), []
    for d in range(len(texts)):
        count = fill_shingles(data, offsets[d], offsets[d + 1], ngram, alphabet(), scratch)
        shingles.append(scratch.hashes[:count].tolist())
    return shingles


def words_like_re(text: str) -> list[str]:
    return re.findall(r"\w+", text.lower())


def reference_words(text: str) -> list[str]:
    """Words by the rules of the module, one character after the other."""
    words, open_word = [], False
    for c in text:
        low = c.lower() if len(c.lower()) == 1 and ord(c) < 0x10000 else c
        mark = unicodedata.category(c)[0] == "M" and ord(c) < 0x20000
        if not (c.isalnum() or c == "_" or mark):
            open_word = False
        elif any(first <= ord(c) <= last for first, last in UNSPACED):
            words.append(low)
            open_word = False
        elif open_word:
            words[-1] += low
        else:
            words.append(low)
            open_word = True
    return words


def grams(words: list[str], ngram: int) -> list[tuple[str, ...]]:
    if not words:
        return []
    return [tuple(words[i : i + ngram]) for i in range(max(1, len(words) - ngram + 1))]


def assert_shingles(texts: Sequence[str], words_of: Callable[[str], list[str]], ngram: int) -> None:
    """Every text has a shingle for each of its n-grams; the hash tells n-grams apart, and nothing else."""
    hashes, tuples = shingles_of(texts, ngram), [grams(words_of(text), ngram) for text in texts]
    assert list(map(len, hashes)) == list(map(len, tuples))
    pairs = set(zip(chain(*hashes), chain(*tuples), strict=True))
    assert len(pairs) == len({h for h, _ in pairs}) == len({t for _, t in pairs})


CASES = [
    "",
    " .,\n",
    "x",
    "Hello, World!? isn't_it 3.14...",
    "one two three four",
    "one two three four five",
    "ONE Two three four five six; one two three four five",
    *(" " * i + "x" * 64 + " " + "y" * j for i in (0, 1, 62, 63, 64) for j in (1, 8, 9, 16, 17, 63, 64, 65, 200)),
    "a " * 500,
]


@pytest.mark.parametrize("ngram", [1, 2, 5, 100])
def test_ascii_text_has_the_words_of_re(ngram: int) -> None:
    assert_shingles(CASES, words_like_re, ngram)


@given(st.lists(st.text(st.characters(max_codepoint=127), max_size=150), max_size=4), st.integers(1, 7))
def test_any_ascii_text_has_the_words_of_re(texts: list[str], ngram: int) -> None:
    assert_shingles(texts, words_like_re, ngram)


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=80), max_size=4), st.integers(1, 3))
def test_any_text_has_the_words_of_the_reference(texts: list[str], ngram: int) -> None:
    assert_shingles(texts, reference_words, ngram)


@given(st.lists(st.text(alphabet="aB _.ȺK\u212aΣσİé字ไ\u0301\ufe0f𐐀𝐀—", max_size=100), max_size=3), st.integers(1, 2))
@example(["Ⱥ字b\u212aC" * 50, "\u212aȺ" * 70 + "Ab cD", "字" * 100], 1)
def test_text_that_grows_and_shrinks_in_lower_case_has_the_words_of_the_reference(texts: list[str], ngram: int) -> None:
    assert_shingles(texts, reference_words, ngram)


@pytest.mark.parametrize("form", ["{}", "a{}B", "é{0}{0}字"])
def test_every_character_is_as_in_the_reference(form: str) -> None:
    codes = (c for c in range(sys.maxunicode + 1) if not 0xD800 <= c < 0xE000 and (c < 0x3000 or c % 16 == 3))
    assert_shingles([form.format(chr(c)) for c in codes], reference_words, 1)


@pytest.mark.parametrize(
    ("text", "words", "like_re"),
    [
        ("Große NAÏVE Жизнь Ω", "große naïve жизнь ω", True),
        ("مرحبا بالعالم 한국어 שלום ٣٤", "مرحبا بالعالم 한국어 שלום ٣٤", True),
        ("\u212aelvin Ⱥ", "kelvin \u2c65", True),
        ("नमस्ते दुनिया", "नमस्ते दुनिया", False),  # to re, a word ends at a vowel sign
        ("e\u0301te\u0301", "e\u0301te\u0301", False),
        ("☂\ufe0f x", "\ufe0f x", False),  # a mark without a letter
        ("我愛你。abc字def", "我 愛 你 abc 字 def", False),
        ("ไทย1 日本語の", "ไ ท ย 1 日 本 語 の", False),
        ("ΟΔΟΣ οδος", "οδοσ οδος", False),  # str.lower: οδος
        ("İstanbul", "İstanbul", False),  # str.lower: an i and a dot above
        ("\U00010400", "\U00010400", False),  # Deseret, above U+10000
    ],
)
def test_words(text: str, words: str, like_re: bool) -> None:
    assert reference_words(text) == words.split()
    assert (words_like_re(text) == words.split()) == like_re
    assert shingles_of([text], 1) == [list(chain(*shingles_of(words.split(), 1)))]


def test_real_documents_of_all_scripts(shared_data: Path) -> None:
    file = min((shared_data / "docs").glob("docs-*.jsonl.gz"))
    texts = [json.loads(line)["text"] for line in gzip.decompress(file.read_bytes()).splitlines()[::8]]
    assert_shingles(texts, reference_words, 5)
    like_re = [text for text in texts if reference_words(text) == words_like_re(text)]
    assert len(like_re) > 0.9 * len(texts)
    assert_shingles(like_re, words_like_re, 5)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b"a\xffb \xff\xfe", ["a", "b"]),
        (b"a\xed\xa0\x80b", ["a", "b"]),
        (b"ab\xe4\xbd", ["ab"]),
        (b"\x80", []),
    ],
)
def test_bytes_that_are_not_utf8_are_in_no_word(text: bytes, words: list[str]) -> None:
    assert shingles_of([text], 1) == [list(chain(*shingles_of(words, 1)))]


@given(st.lists(st.binary(max_size=100) | st.text(max_size=60).map(str.encode), max_size=5))
def test_neighbours_do_not_matter_whatever_the_bytes(texts: list[bytes]) -> None:
    assert shingles_of(texts, 2) == [shingles_of([text], 2)[0] for text in texts]


@given(st.lists(st.text(alphabet="ab 字", max_size=60), max_size=6))
def test_sets_are_distinct_and_sorted(texts: list[str]) -> None:
    values, offsets = shingle_sets(*text_buffers(array([text.encode() for text in texts])), 2, alphabet())
    assert values.dtype == np.uint64
    sets = [values[offsets[i] : offsets[i + 1]].tolist() for i in range(len(texts))]
    assert sets == [sorted(set(shingles)) for shingles in shingles_of(texts, 2)]
    assert offsets[-1] == len(values)


def test_sets_larger_than_expected_fit_and_slices_are_respected() -> None:
    texts = array([b"skipped", " ".join(map(str, range(10_000))).encode(), "字丁".encode() * 50])
    values, offsets = shingle_sets(*text_buffers(texts.slice(1)), 1, alphabet())
    assert np.diff(offsets).tolist() == [10_000, 2]
    assert len(np.unique(values)) == 10_002
