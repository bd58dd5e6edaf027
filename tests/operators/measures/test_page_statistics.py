import gzip
import itertools
import json
import unicodedata

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gristmill.operators.kernels.characters import CONTENT
from gristmill.operators.kernels.line_characters import (
    CLOSING,
    DECIMAL,
    DIGIT,
    TERMINAL,
    UPPER,
    line_classes,
    terminal_punctuation,
)
from gristmill.operators.kernels.page import STATISTICS
from gristmill.operators.measures.page_statistics import PageStatistics
from tests.operators.measures.page_reference import has_content, page_reference


@pytest.fixture(scope="module")
def measured():
    def measure(texts, **options):
        function = PageStatistics(**options).open({})
        rows = function(pa.record_batch({"text": pa.array(texts, pa.large_string())})).to_pylist()
        return [{name.removeprefix("page_"): value for name, value in row.items()} for row in rows]

    return measure


TABLE = [
    ("", dict.fromkeys(STATISTICS, 0)),
    (" \n\t\n", dict.fromkeys(STATISTICS, 0) | {"newlines_per_word": 2.0}),
    ("so (it) goes -- \u201con\u201d...\n\n1.5 don't\n", {"newlines_per_word": 3 / 15}),
    ("One.\n\nTwo\n三。\nfour. ", {"ended_lines": 2 / 4, "newlines_per_word": 4 / 7}),
    ("a" * 30 + "\n" + "é" * 31 + "\n \n", {"short_lines": 1 / 2, "long_lines": 0}),
    ("a" * 200 + "\n" + "é" * 199 + "\n" + " " * 200, {"long_lines": 2, "short_lines": 0.0}),
    ("x y\n\nx y\n é\nx y", {"dup_line_chars": 6 / 11}),
    ("He came. He saw! And?", {"sentences": 3}),
    ("no end\n\n...\nanother", {"sentences": 2}),
    ("It is so, e.g. here, in the U.S. as J. Smith said. Yes.", {"sentences": 2}),
    ("Wait... what? (He said \u201cno.\u201d) Then he left.", {"sentences": 3}),
    ('It ends."Then it goes on?Yes!!No...Or ASP.NET a.Be', {"sentences": 4}),
    ("Version 3.5 of a.b is out. Mr. Smith", {"sentences": 3}),
    ("你好。我是。很好！", {"sentences": 3}),
    ("A1b2\u0663 \u00b2", {"digits": 4 / 7, "uppercase": 1 / 7}),
    ("\u00c9\u01c5 \u0410a", {"uppercase": 2 / 5}),
    ("see http://a.b/c?d and HTTPS://e\nhttps://", {"url_chars": (14 + 9 + 8) / 41}),
    ("xhttp://a:b://c ttp://x", {"url_chars": 14 / 23}),
    ("{a} {{b}", {"curly_brackets": 3}),
    ("Lorem Ipsum dolor, LOREM ipsum; lorem  ipsum", {"lorem_ipsum": 2}),
]


@pytest.mark.parametrize(("text", "expected"), TABLE)
def test_values(measured, text, expected):
    (row,) = measured([text])
    assert {name: row[name] for name in expected} == expected
    assert row == page_reference(text)


words = st.sampled_from(
    [
        *("a", "The", "is.", "é", "É!", "中文。", "...", ".", "?!", "\u2026", '"', "\u201d", ")", "]", "{", "7"),
        *("U.S.", "http://x", "HTTPS:", "//", "lorem ipsum", "LOREM", "ipsum", "_", "\u00b2"),
        *("x" * 28, "\u061f", "\U00011f43"),
    ]
)
gaps = st.sampled_from([" ", " ", " ", "", "", "\n", "\n\n", "\u3000", "\t", "\u2028", " \n \n", "\x1f"])
repetitive = st.lists(st.tuples(words, gaps), max_size=60).map(lambda pairs: "".join(itertools.chain(*pairs)))


@settings(max_examples=300)
@given(st.lists(repetitive | st.text(max_size=80), max_size=4))
def test_equals_the_reference(measured, texts):
    assert measured(texts) == [page_reference(text) for text in texts]
    assert measured(texts, short_line=3, long_line=5) == [page_reference(text, 3, 5) for text in texts]


def test_equals_the_reference_on_real_documents(measured, shared_data):
    with gzip.open(shared_data / "docs" / "docs-00003-of-00008.jsonl.gz", "rt") as lines:
        texts = [json.loads(line)["text"] for line in itertools.islice(lines, 0, None, 20)]
    assert measured(texts) == [page_reference(text) for text in texts]


def test_null_gives_null_and_slices_are_respected():
    batch = pa.record_batch({"text": pa.array(["skipped", "It is. So", None, ""], pa.large_string())}).slice(1)
    result = PageStatistics().open({})(batch)
    assert result["page_sentences"].to_pylist() == [2, None, 0]
    assert all(column.null_count == 1 for column in result.columns)


def test_schema_is_met_and_described():
    schema = PageStatistics().gives()
    result = PageStatistics().open({})(pa.record_batch({"text": pa.array(["a"], pa.large_string())}))
    assert result.schema.equals(schema)
    assert schema.names == [f"page_{name}" for name in STATISTICS]
    assert all(field.metadata[b"description"] for field in schema)


def test_classes_are_pythons():
    characters = [c for c in map(chr, range(0x110000)) if not 0xD800 <= ord(c) < 0xE000]
    classes = line_classes()[[ord(c) for c in characters]]
    for bit, expected in (
        (1, lambda c: not c.isspace()),
        (2, str.isalpha),
        (UPPER, str.isupper),
        (DIGIT, str.isdigit),
        (DECIMAL, str.isdecimal),
        (CONTENT, has_content),
        (TERMINAL, set(terminal_punctuation()).__contains__),
        (CLOSING, lambda c: c in "\"'" or unicodedata.category(c) in ("Pe", "Pf", "Pi")),
    ):
        assert [bool(has) for has in classes & bit] == [*map(expected, characters)]


def test_terminal_punctuation_is_unicodes():
    """The property Sentence_Terminal: later versions of Unicode took three characters out and others in."""
    regex = pytest.importorskip("regex")
    ours = {*terminal_punctuation()}
    theirs = {*regex.findall(r"\p{Sentence_Terminal}", "".join(map(chr, [*range(0xD800), *range(0xE000, 0x110000)])))}
    assert len(ours) == 159
    assert ours - theirs <= {"\u17d6", "\u17d9", "\u17da"}
    assert {"\u2024", "\ufe12"}.isdisjoint(ours)
