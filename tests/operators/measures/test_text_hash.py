import pickle

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gristmill.operators.measures.content_id import content_ids
from gristmill.operators.measures.text_hash import TextHash

function = TextHash().open({})


def array(texts):
    return pa.array(texts, pa.large_string())


def text_hashes(texts):
    return function(pa.record_batch({"text": array(texts)}))["text_hash"].to_pylist()


def normalized(text):
    """Lower case character by character, where that is one character below U+10000."""
    lowered = (c.lower() if len(c.lower()) == 1 and ord(c) < 0x10000 else c for c in text)
    return " ".join("".join(lowered).split())


@pytest.mark.parametrize(
    ("text", "content_id"),
    [
        ("", "a5b89f657f738d1088a7a8b0775732ae"),
        ("a", "d6ec7f9dd3b2f5d4ce92d1bb2b48b9af"),
        ("The quick brown fox", "92e99ec183814e4ef20238d7a45e1ed7"),
        ("x" * 31, "96d3b9a8fd69b864aaf4495c60c38138"),
        ("x" * 32, "c3f657c235050c1a78c746981bd8c32c"),
        ("naïve 中文\n" * 9, "ae5bfc6d0400d235e7ef32d3348f01c2"),
    ],
)
def test_content_ids_are_the_same_for_ever(text, content_id):
    assert content_ids(array([text]))[0].as_py().hex() == content_id


@pytest.mark.parametrize("size", [*range(70), 1000])
def test_content_ids_tell_every_byte(size):
    text = "abcdefghij" * (size // 10 + 1)
    variants = {text[:size]} | {text[:i] + "#" + text[i + 1 : size] for i in range(size)} | {text[:size] + "\0"}
    assert len(set(content_ids(array(sorted(variants))).to_pylist())) == size + 2


@settings(max_examples=300)
@given(st.lists(st.text(max_size=40), max_size=5))
def test_equals_the_hash_of_the_normalized_text(texts):
    assert text_hashes(texts) == content_ids(array([normalized(text) for text in texts])).to_pylist()


def test_every_character_is_normalized_as_str_does():
    texts = [f"x{chr(c)}y" for c in range(0x30000) if not 0xD800 <= c < 0xE000]
    assert text_hashes(texts) == content_ids(array([normalized(text) for text in texts])).to_pylist()


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ("The  CAT\n sat.", " the cat sat. "),
        ("ÉTÉ Ж Ω", "été ж ω"),
        ("a\u00a0b", "a b"),
        ("ΟΔΟΣ", "οδοσ"),
        ("\u212a \u023a", "k \u2c65"),
        (" \n ", ""),
    ],
)
def test_what_counts_as_the_same(a, b):
    assert text_hashes([a]) == text_hashes([b])


@pytest.mark.parametrize(("a", "b"), [("ab", "a b"), ("a.", "a"), ("é", "e"), ("e\u0301", "é"), ("οδος", "οδοσ")])
def test_what_counts_as_different(a, b):
    assert text_hashes([a]) != text_hashes([b])


def test_null_gives_null_and_slices_are_respected():
    batch = pa.record_batch({"text": array(["skipped", "B", None, "b"])}).slice(1)
    (b, null, again) = function(batch)["text_hash"].to_pylist()
    assert null is None
    assert b == again == text_hashes(["b"])[0]
    assert content_ids(batch["text"]).to_pylist() == [*content_ids(array(["B", None, "b"])).to_pylist()]
    assert content_ids(batch["text"]).null_count == 1
    assert content_ids(array([])).to_pylist() == []


def test_bytes_that_are_not_utf8_are_told_apart():
    raw = pa.array([b"\xff\xc3", b"\xff\xc4", b"\xed\xa0\x80"], pa.large_binary()).view(pa.large_string())
    assert len(set(function(pa.record_batch({"text": raw}))["text_hash"].to_pylist())) == 3


def test_schema_is_met_and_it_pickles():
    batch = function(pa.record_batch({"text": array(["a"])}))
    assert batch.schema.equals(TextHash().gives())
    assert pickle.loads(pickle.dumps(TextHash())) == TextHash()
