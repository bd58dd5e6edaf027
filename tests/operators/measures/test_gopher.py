import gzip
import itertools
import json
import pickle

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gristmill.operators.kernels.gopher import STATISTICS
from gristmill.operators.measures.gopher import Gopher
from tests.operators.measures.gopher_reference import gopher_reference


@pytest.fixture(scope="module")
def gopher():
    function = Gopher().open({})

    def measure(texts):
        return function(pa.record_batch({"text": pa.array(texts, pa.large_string())}))

    return measure


def plain(batch):
    """Rows without the prefix of the column names."""
    return [{name.removeprefix("gopher_"): value for name, value in row.items()} for row in batch.to_pylist()]


TABLE = [
    ("", dict.fromkeys(STATISTICS, 0)),
    (" \n\t\n ", dict.fromkeys(STATISTICS, 0) | {"dup_lines": 1 / 3, "dup_line_chars": 1 / 5}),
    ("the cat and the dog", {"words": 5, "mean_word_length": 3.0, "stop_words": 2, "alpha_words": 1.0}),
    ("The cat of mine, with 12 --- %", {"words": 6, "alpha_words": 6 / 8 - 1 / 8, "stop_words": 2}),
    ("# one ## two", {"hash_ratio": 3 / 4, "symbol_ratio": 3 / 4, "words": 2}),
    ("well.... so… no...", {"ellipsis_ratio": 1.0, "symbol_ratio": 1.0, "hash_ratio": 0.0}),
    ("......", {"ellipsis_ratio": 2.0, "words": 0}),
    ("- a\n • b\n\nc", {"bullet_lines": 2 / 4}),
    ("a...\nb … \nc.\n", {"ellipsis_lines": 2 / 3}),
    ("x y\nz\nx y\n\nx y", {"dup_lines": 2 / 4, "dup_line_chars": 6 / 14, "dup_paragraphs": 0.0}),
    ("x y\n\n\nz\n\nx y\n", {"dup_paragraphs": 1 / 3, "dup_paragraph_chars": 3 / 13}),
    ("a a a a", {"top_2gram": 9 / 7, "top_3gram": 10 / 7, "top_4gram": 1.0, "dup_5grams": 0.0}),
    ("one two", {"top_2gram": 1.0, "top_3gram": 0.0}),
    ("b a c a b a d a c a b", {"top_2gram": 6 / 21, "top_3gram": 5 / 21 * 2}),
    ("a b c d e a b c d e", {"dup_5grams": 5 / 19, "dup_6grams": 0.0}),
    ("a b c d e f a b c d e f", {"dup_5grams": 5 / 23, "dup_6grams": 6 / 23, "dup_7grams": 0.0}),
    ("été\u00a0à\u3000中文\u2003x\u0085y", {"words": 5, "mean_word_length": 8 / 5, "alpha_words": 1.0}),
    ("«» ，。 😀 € 1 é", {"words": 2, "alpha_words": 1 / 6}),
]


@pytest.mark.parametrize(("text", "expected"), TABLE)
def test_values(gopher, text, expected):
    (row,) = plain(gopher([text]))
    assert {name: row[name] for name in expected} == expected


words = st.sampled_from(["a", "b", "the", "to", "ab", "#", "...", "…", "é", "中文", "-", "•", "beauty!", "12", "x" * 9])
gaps = st.sampled_from([" ", " ", " ", "\n", "\n\n", "\u00a0", "\t", "\u2028", " \n \n", "\x1f", "\r\n"])
repetitive = st.lists(st.tuples(words, gaps), max_size=80).map(lambda pairs: "".join(itertools.chain(*pairs)))


@settings(max_examples=300)
@given(st.lists(repetitive | st.text(max_size=80), max_size=4))
def test_equals_the_reference(gopher, texts):
    assert plain(gopher(texts)) == [gopher_reference(text) for text in texts]


def test_equals_the_reference_on_real_documents(gopher, shared_data):
    with gzip.open(shared_data / "docs" / "docs-00003-of-00008.jsonl.gz", "rt") as lines:
        texts = [json.loads(line)["text"] for line in itertools.islice(lines, 0, None, 20)]
    assert plain(gopher(texts)) == [gopher_reference(text) for text in texts]


def test_null_gives_null_and_slices_are_respected(gopher):
    batch = pa.record_batch({"text": pa.array(["skipped", "a b", None, ""], pa.large_string())}).slice(1)
    result = Gopher().open({})(batch)
    assert result["gopher_words"].to_pylist() == [2, None, 0]
    assert all(column.null_count == 1 for column in result.columns)


def test_batches_do_not_matter(gopher):
    texts = ["the end of the end " * k + "é…\n- x\n" * (k % 3) for k in range(40)]
    whole = gopher(texts)
    parts = [row for k in range(0, 40, 7) for row in gopher(texts[k : k + 7]).to_pylist()]
    assert whole.to_pylist() == parts


def test_bytes_that_are_not_utf8_do_no_harm():
    texts = pa.array([b"a \xed\xa0\x80 b", b"\xff\xfe \xf4", b"caf\xc3"], pa.large_binary()).view(pa.large_string())
    result = Gopher().open({})(pa.record_batch({"text": texts}))
    assert result["gopher_words"].to_pylist() == [3, 0, 1]


def test_a_large_document_of_one_repeated_line(gopher):
    line = "all work and no play makes a dull boy\n"
    (row,) = plain(gopher([line * 100_000]))
    assert row["words"] == 900_000
    assert row["dup_lines"] == 99_999 / 100_000
    assert row["dup_10grams"] > 0.75


def test_schema_is_met_and_described(gopher):
    schema = Gopher().gives()
    assert gopher(["a"]).schema.equals(schema)
    assert schema.names == [f"gopher_{name}" for name in STATISTICS]
    assert all(field.metadata[b"description"] for field in schema)
    assert pickle.loads(pickle.dumps(Gopher())) == Gopher()
