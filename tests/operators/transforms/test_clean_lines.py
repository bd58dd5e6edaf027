"""What `clean_lines` takes, against its rules written out in plain Python."""

from __future__ import annotations

import gzip
import itertools
import json
import pickle
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from gristmill.operators.transforms.clean_lines import PUBLISHED, CleanLines
from tests.operators.transforms.line_rules_reference import clean_lines_reference

CORPORA = list(PUBLISHED)


def cleaned(operator: CleanLines, texts: list[str | None]) -> list[tuple[str | None, float | None]]:
    result = operator.open_measuring({})(pa.array(texts, pa.large_string()))
    assert operator.open({})(pa.array(texts, pa.large_string())).equals(result.texts)
    return list(zip(result.texts.to_pylist(), result.columns["removed_words"].to_pylist(), strict=True))


def check(operator: CleanLines, texts: list[str]) -> None:
    expected = [clean_lines_reference(operator, text) for text in texts]
    assert cleaned(operator, list(texts)) == [(e.text, e.removed_words) for e in expected]
    for text, reference in zip(texts, expected, strict=True):
        assert operator.removed_lines(text) == reference.removed_lines


C4 = [
    ("It ends here.", None),
    ("Does it end?", None),
    ('He said "yes, it ends"', None),
    ("  White space goes!\t", None),
    ("It does not end", "end_marks"),
    ("It does not end:", "end_marks"),
    ("A line that fades...", "ellipses"),
    ("Two words.", "min_words"),
    ("", "max_empty_lines"),
    (" \u3000", "max_empty_lines"),
    (f"One word is {'x' * 999}.", None),
    (f"One word is {'é' * 1000}.", "max_word_length"),
    ("Please turn on JavaScript now.", "script_words"),
    ("We Use Cookies on this page.", "policy_phrases"),
    ("Read our privacy policy here.", "policy_phrases"),
    ("Lorem ipsum javascript lorem ipsum.", None),  # `c4_rules` drops the page for it
    ("Our terms of use {are} here.", None),
    ("function { javascript } is here.", "script_words"),
    ("[12][edit] [citation needed]", "citations"),
    ("A claim of some weight.[3][citation needed]", None),
    ("A claim of some weight. [3]", "end_marks"),  # what ends it is the blank before the citation
    ("One two.[3]", "min_words"),
    ("One two [3].", None),  # citations count as words
    ("Arabic-Indic digits too.[\u0661\u0662]", None),
]
REFINEDWEB = [
    ("An ordinary line of text", None),
    ("", None),
    ("  ", "min_words"),
    ("word", "min_words"),
    ("NEWS and VIEWS HERE NOW", "max_uppercase"),
    ("ABcd", "min_words"),  # half is not more than half
    ("1234567", "max_digits"),
    ("1234 567", None),
    ("3 likes", "counters"),
    ("\u2605 1.2K Followers!", "counters"),
    ("12,345 views so far", None),
    ("3 views_", "counters"),
    ("3 views\u00e9", None),
    ("items in cart", "cut_anywhere"),
    ("3 Items in cart", None),
    ("Read more...", "cut_at_end"),
    ("the story goes on Read More...", None),
    ("a line of more than ten words is as it was Read more...", None),
    ("Sign-in to see", None),
    ("Sign-in ", "min_words"),
]


@pytest.mark.parametrize(("line", "taker"), C4)
def test_c4(line: str, taker: str | None) -> None:
    assert CleanLines(rules="c4").removed_lines(f"One good line.\n{line}\nAnother good line.") == (
        [(taker, line)] if taker else []
    )


@pytest.mark.parametrize("corpus", ["refinedweb", "dclm"])
@pytest.mark.parametrize(("line", "taker"), REFINEDWEB)
def test_refinedweb_and_dclm(corpus: Any, line: str, taker: str | None) -> None:
    assert CleanLines(rules=corpus).removed_lines(f"one good line\n{line}\nanother good line") == (
        [(taker, line)] if taker else []
    )


@pytest.mark.parametrize(
    ("corpus", "text", "rest", "share"),
    [
        ("c4", "One good line.\n\n  It ends here!  \nno\n", "One good line.\nIt ends here!", 1 / 7),
        ("c4", "A claim of weight.[3]\n[4] The next of them.", "A claim of weight.\n The next of them.", 1 / 9),
        ("c4", "[4] The first of them.", "The first of them.", 1 / 5),
        ("c4", "no\nnothing", "", 1.0),
        ("refinedweb", " kept as it is \n\n\n\nword\r", " kept as it is \n\n\n", 1 / 5),
        ("dclm", " kept as it is \n\n\n\nword\nthe end", " kept as it is \n\nthe end", 1 / 7),
        ("refinedweb", "7 items in cart, in all\nSign-in again", "7, in all\nagain", 4 / 8),
        ("refinedweb", "so it goes\u3000read MORE...\u2003\nmore of it", "so it goes\nmore of it", 2 / 8),
        ("dclm", "", "", 0.0),
        ("dclm", "\n\na b\n\n", "\na b\n", 0.0),
    ],
)
def test_texts(corpus: Any, text: str, rest: str, share: float) -> None:
    assert cleaned(CleanLines(rules=corpus), [text, None]) == [(rest, share), (None, None)]
    check(CleanLines(rules=corpus), [text])


words = st.sampled_from(
    [
        *("a", "The", "END.", "end!", "so...", "7", "1,2K", "likes", "VIEWS", "items in cart", "Read more..."),
        *("Sign-in", "not"),
        *("javascript", "use Cookies", "terms of Use", "lorem IPSUM", "{", "[12]", "[", "[edit]", "[citation needed]"),
        *('"', "'", "é", "É", "中文。", "x" * 30, "\u0661", "\u00b2", "_", "\u212aK", "?", "", "\u2026"),
    ]
)
gaps = st.sampled_from([" ", " ", " ", "", "\n", "\n", "\n\n", "\t", "\u3000", "\r", "\u0085", " \n "])
lines = st.lists(st.tuples(words, gaps), max_size=40).map(lambda pairs: "".join(itertools.chain(*pairs)))


@settings(max_examples=200)
@given(st.sampled_from(CORPORA), st.lists(lines | st.text(max_size=60), max_size=4))
def test_equals_the_reference(corpus: Any, texts: list[str]) -> None:
    check(CleanLines(rules=corpus), texts)


options = st.fixed_dictionaries(
    {},
    optional={
        "strip": st.booleans(),
        "max_word_length": st.none() | st.integers(1, 12),
        "citations": st.booleans(),
        "end_marks": st.none() | st.sampled_from([".", "。!", "d"]),
        "ellipses": st.booleans(),
        "max_uppercase": st.none() | st.sampled_from([0.0, 0.25, 1.0]),
        "max_digits": st.none() | st.sampled_from([0.0, 0.25, 1.0]),
        "counters": st.none() | st.just(("likes", "中文。")),
        "min_words": st.none() | st.integers(0, 4),
        "script_words": st.none() | st.just(("The e", "javascript")),
        "policy_phrases": st.none() | st.just(("items", "cookies")),
        "cut_anywhere": st.none() | st.just(("items in cart", "END.", "lorem")),
        "cut_at_end": st.none() | st.just(("more...", "so...")),
        "cut_at_start": st.none() | st.just(("Sign-", "The end")),
        "cut_max_words": st.integers(0, 6),
        "max_empty_lines": st.none() | st.integers(0, 2),
    },
)


@settings(max_examples=200)
@given(st.sampled_from(CORPORA), options, st.lists(lines, max_size=3))
def test_every_option_equals_the_reference(corpus: str, options: dict[str, Any], texts: list[str]) -> None:
    check(CleanLines.model_validate({"rules": corpus, **options}), texts)


@pytest.mark.parametrize("corpus", CORPORA)
def test_equals_the_reference_on_real_documents(corpus: Any, shared_data: Path) -> None:
    with gzip.open(shared_data / "docs" / "docs-00003-of-00008.jsonl.gz", "rt") as records:
        texts = [json.loads(record)["text"] for record in itertools.islice(records, 0, None, 20)]
    check(CleanLines(rules=corpus), texts)


@pytest.mark.parametrize("corpus", CORPORA)
def test_twice_is_no_more_than_once(corpus: Any, shared_data: Path) -> None:
    with gzip.open(shared_data / "docs" / "docs-00005-of-00008.jsonl.gz", "rt") as records:
        texts = pa.array([json.loads(r)["text"] for r in itertools.islice(records, 0, None, 40)], pa.large_string())
    clean = CleanLines(rules=corpus, cut_anywhere=None, cut_at_end=None, cut_at_start=None, citations=False).open({})
    once = clean(texts)
    assert clean(once).equals(once)


def test_texts_that_stay_are_not_copied() -> None:
    texts = pa.array(["skipped", "A good line.\nAnd another one.", None, "Three good words."], pa.large_string())[1:]
    assert CleanLines(rules="c4").open({})(texts) is texts
    assert CleanLines(rules="c4", strip=False).open({})(texts) is texts


def test_values_are_the_published_ones_and_can_be_changed_or_switched_off() -> None:
    assert CleanLines.model_validate("c4") == CleanLines(rules="c4") == CleanLines(rules="c4", **PUBLISHED["c4"])
    assert CleanLines(rules="refinedweb").model_dump().items() >= PUBLISHED["refinedweb"].items()
    assert CleanLines(rules="c4", min_words=5).removed_lines("It ends just here.") == [
        ("min_words", "It ends just here.")
    ]
    assert CleanLines(rules="c4", end_marks=None, min_words=None).removed_lines("so it\n") == [("max_empty_lines", "")]
    off = {name: False if value is True else None for name, value in PUBLISHED["c4"].items()}
    assert cleaned(CleanLines(rules="c4", **off), ["a\n\n[1] use cookies..."]) == [("a\n\n[1] use cookies...", 0.0)]
    for name, value in PUBLISHED["c4"].items():
        told = CleanLines.model_fields[name].description or ""
        assert f"c4: {', '.join(value) if isinstance(value, tuple) else str(value).lower()}" in told


@pytest.mark.parametrize(
    "options",
    [None, "gopher", {"rules": ["c4"]}, {"rules": "c4", "script_words": ["js"]}, {"rules": "c4", "min_word": 3}, 5],
)
def test_what_is_no_option_is_refused(options: Any) -> None:
    with pytest.raises(ValidationError):
        CleanLines.model_validate(options)


def test_column_and_pickling() -> None:
    operator = CleanLines(rules="dclm", column="went")
    assert operator.open_measuring({})(pa.array(["a b\nc"], pa.large_string())).columns.schema.equals(operator.gives())
    assert operator.gives().names == ["went"]
    assert operator.gives().field("went").metadata[b"description"]
    assert pickle.loads(pickle.dumps(operator)) == operator
