import pickle
import re
import unicodedata

import ftfy
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gristmill.operators.transforms.normalize_unicode import NormalizeUnicode

normalize = NormalizeUnicode().open({})


def array(texts):
    return pa.array(texts, pa.large_string())


def reference(text):
    """The method as it is described, on one text, with str and ftfy alone."""
    before = None
    while text != before:
        before = text
        text = re.sub("\r\n|[\r\v\f\u2028\u2029]", "\n", text)
        text = re.sub("[\x00-\x08\x0e-\x1f\x7f]", "", text)
        text = "\n".join(map(ftfy.fix_encoding, text.split("\n")))
        text = unicodedata.normalize("NFC", re.sub("[\x80-\x9f]", "", text))
    return text


TABLE = [
    ("plain ASCII\n\tkept", "plain ASCII\n\tkept"),
    ("a\r\nb\rc\n\rd\r\r\n", "a\nb\nc\n\nd\n\n"),
    ("a\vb\fc\u2028d\u2029e", "a\nb\nc\nd\ne"),
    ("nul\x00 bell\x07 escape\x1b[0m delete\x7f", "nul bell escape[0m delete"),
    ("cafe\u0301 \u212b \u0958", "café Å \u0915\u093c"),
    ("\u1112\u1161\u11ab", "한"),
    ("PtolemaÃ¯s â€” naïve", "Ptolemaïs — naïve"),
    ("l\x92été \x85 \x8dend", "l’été … end"),
    ("Ã\x00³ and Ã\r\n³", "ó and Ã\n³"),
    ("« é», Œuvre, Âge, 中文，Ünï", "« é», Œuvre, Âge, 中文，Ünï"),
    ("", ""),
]


@pytest.mark.parametrize(("text", "expected"), TABLE)
def test_values(text, expected):
    assert normalize(array([text])).to_pylist() == [expected]
    assert reference(text) == expected


PIECES = [
    *("a", " ", "\n", "\r", "\r\n", "\x00", "\x1f", "\x85", "\x9d", "\u2028", "\xa0", "\ufeff", "\ufffd"),
    *("é", "e\u0301", "\u0301", "\u0344", "\u0958", "\u1112", "\u1161", "中", "😀", "œ"),
    *("Ã", "³", "Ã³", "â€™", "â", "€", "™", "ï»¿", "ðŸ˜€", "Р°", "Â "),
]
texts = st.lists(st.sampled_from(PIECES), max_size=12).map("".join) | st.text(max_size=30)


@settings(max_examples=400)
@given(st.lists(texts, max_size=4))
def test_equals_the_reference_and_is_idempotent(documents):
    once = normalize(array(documents))
    assert once.to_pylist() == [reference(text) for text in documents]
    assert normalize(once) is once


@settings(max_examples=100)
@given(st.text(max_size=20))
def test_undoes_utf8_read_as_windows_1252(text):
    damaged = ("naïve — " + text).encode().decode("sloppy-windows-1252")
    assert normalize(array([damaged])).to_pylist() == [reference(damaged)]


def test_a_batch_without_changes_is_handed_back():
    documents = array(["ASCII", None, "Größe", "", "中文 e\u0327 \u0323"])
    documents = pa.concat_arrays([documents.slice(0, 4), array([unicodedata.normalize("NFC", documents[4].as_py())])])
    assert normalize(documents) is documents


def test_null_stays_null_and_slices_are_respected():
    documents = array(["x\ry", None, "a\rb", "PtolemaÃ¯s", None, "c"]).slice(1)
    assert normalize(documents).to_pylist() == [None, "a\nb", "Ptolemaïs", None, "c"]
    assert normalize(array([])).to_pylist() == []


def test_batches_do_not_matter():
    documents = [text for text, _ in TABLE] * 3
    whole = normalize(array(documents)).to_pylist()
    assert [normalize(array([text]))[0].as_py() for text in documents] == whole


def test_text_that_is_not_utf8_keeps_its_spelling():
    raw = [b"caf\xc3 \xed\xa0\x80 e\xcc\x81", b"\xff\r\n\x80", b"e\xcc\x81"]
    result = normalize(pa.array(raw, pa.large_binary()).view(pa.large_string()))
    assert result.view(pa.large_binary()).to_pylist() == [raw[0], b"\xff\n\x80", "é".encode()]


def test_it_pickles():
    assert pickle.loads(pickle.dumps(NormalizeUnicode())) == NormalizeUnicode()
