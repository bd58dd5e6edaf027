"""Encodings of pages."""

from __future__ import annotations

import codecs

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gristmill.operators.extract.decoding import decode_page

JAPANESE = "日本語のページです。これは試験のための文章であり、何度も繰り返されます。" * 5
GERMAN = "Übermäßig große Bäume fällen Äste: „schön“"


@pytest.mark.parametrize(
    ("body", "declared", "text", "encoding"),
    [
        (GERMAN.encode(), None, GERMAN, "utf-8"),
        (GERMAN.encode(), "iso-8859-1", GERMAN, "utf-8"),  # the head lies
        (codecs.BOM_UTF8 + b"a", "iso-8859-1", "a", "utf-8"),
        (codecs.BOM_UTF16_LE + GERMAN.encode("utf-16-le"), "utf-8", GERMAN, "utf-16-le"),
        (codecs.BOM_UTF16_BE + GERMAN.encode("utf-16-be"), None, GERMAN, "utf-16-be"),
        (GERMAN.encode("cp1252"), "ISO-8859-1", GERMAN, "cp1252"),  # as browsers take that label
        (GERMAN.encode("cp1252"), "us-ascii", GERMAN, "cp1252"),
        (JAPANESE.encode("cp932"), "x-sjis", JAPANESE, "cp932"),
        (JAPANESE.encode("euc_jp"), None, JAPANESE, "euc_jp"),  # guessed
        (
            b'<meta charset="shift_jis">' + JAPANESE.encode("cp932"),
            None,
            '<meta charset="shift_jis">' + JAPANESE,
            "cp932",
        ),
        (
            b'<META http-equiv=Content-Type content="text/html; charset=EUC-JP">' + JAPANESE.encode("euc_jp"),
            "no-such-label",
            '<META http-equiv=Content-Type content="text/html; charset=EUC-JP">' + JAPANESE,
            "euc_jp",
        ),
        ("안녕하세요".encode("cp949"), "euc-kr", "안녕하세요", "cp949"),
        (GERMAN.encode()[:-1], None, GERMAN[:-1], "utf-8"),  # cut inside a character
        (b"a\0b", None, "ab", "utf-8"),
        (b"", None, "", "utf-8"),
    ],
)
def test_encodings(body: bytes, declared: str | None, text: str, encoding: str) -> None:
    page = decode_page(body, declared)
    assert (page.content.decode(), page.encoding, page.replaced) == (text, encoding, 0)


def test_few_bad_bytes_do_not_make_another_encoding() -> None:
    page = decode_page(GERMAN.encode() * 100 + b"\xff" + GERMAN.encode(), "utf-8")
    assert page.encoding == "utf-8"
    assert page.content.decode().count("\ufffd") == 1
    assert page.replaced == pytest.approx(1 / len(page.content.decode()))


@given(st.binary(max_size=200), st.one_of(st.none(), st.text(max_size=12), st.sampled_from(["utf-8", "gbk", "utf-16"])))
def test_any_bytes_become_a_text(body: bytes, declared: str | None) -> None:
    page = decode_page(body, declared)
    assert "\0" not in page.content.decode()
    assert 0 <= page.replaced <= 1


@given(st.text(max_size=20), st.binary(max_size=4))
def test_utf8_is_what_python_takes_for_it_up_to_a_character_cut_at_the_end(text: str, end: bytes) -> None:
    body = text.encode() + end
    try:
        expected: str | None = codecs.getincrementaldecoder("utf-8")().decode(body)
    except UnicodeDecodeError:
        expected = None
    page = decode_page(body, "iso-8859-1")
    if expected is not None and not body.startswith((codecs.BOM_UTF8, codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        assert (page.content.decode(), page.encoding) == (expected.replace("\0", ""), "utf-8")
    elif expected is None:
        assert page.encoding != "utf-8" or page.replaced > 0
