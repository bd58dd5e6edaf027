import unicodedata
from itertools import pairwise

import numpy as np
import pytest

from gristmill.operators.kernels.buffers import PADDING
from gristmill.operators.kernels.characters import (
    CONTENT,
    INK,
    LETTER,
    MARK,
    REPLACEMENT,
    character_classes,
    code_point,
    first_characters,
    lower_case,
    put_code_point,
)
from gristmill.operators.kernels.words import classify, count_characters, next_beyond_ascii, next_newline

EVERY = [c for c in range(0x110000) if not 0xD800 <= c < 0xE000]


def test_classes_are_pythons():
    classes = character_classes()
    for code in EVERY:
        character = chr(code)
        category = unicodedata.category(character)
        assert bool(classes[code] & INK) == (not character.isspace())
        assert bool(classes[code] & LETTER) == character.isalpha()
        content = not (character.isspace() or category[0] in "PS" or category == "Cc")
        assert bool(classes[code] & CONTENT) == content, hex(code)
    assert np.flatnonzero(classes & MARK).tolist() == [ord("#"), ord("."), ord("…")]


def test_lower_case_is_pythons_where_it_is_one_character():
    for code, lower in enumerate(lower_case()):
        expected = chr(code).lower()
        assert chr(lower) == (expected if len(expected) == 1 else chr(code))


def test_every_code_point_is_read_and_written():
    spelt = [chr(c).encode() for c in EVERY]
    data = np.frombuffer(b"".join(spelt), np.uint8)
    out = np.zeros(3, np.uint8)
    at = 0
    for code, raw in zip(EVERY, spelt, strict=True):
        if code % 17 == 0 and code >= 0x80:
            assert code_point(data, at, len(data)) == (code, len(raw))
        if code % 17 == 0 and code < 0x10000:
            assert put_code_point(code, out, 0) == len(raw)
            assert out[: len(raw)].tobytes() == raw
        at += len(raw)


@pytest.mark.parametrize(
    "raw", [b"\x80", b"\xbf\x80", b"\xc3", b"\xe4\xb8", b"\xf0\x9f\x98", b"\xf8\x88", b"\xf7\xbf\xbf\xbf"]
)
def test_what_is_not_utf8_reads_as_one_replacement(raw):
    assert code_point(np.frombuffer(raw, np.uint8), 0, len(raw)) == (REPLACEMENT, 1)


@pytest.mark.parametrize("text", ["", "a", "Zz09 \t\x1f#.", "naïve — 中文 😀 \u3000", "é" * 40, "x" * 63 + "é\n"])
def test_classify(text):
    raw = text.encode()
    data = np.frombuffer(b"--" + raw + b"--", np.uint8)
    copy, classes = (np.full(len(raw) + PADDING, 255, np.uint8) for _ in range(2))
    table = character_classes()
    assert classify(data, 2, len(raw), copy, classes, table) == text.isascii()
    assert copy.tobytes() == raw + bytes(PADDING)
    assert classes.tolist() == [table[ord(c)] for c in text for _ in c.encode()] + [0] * PADDING
    assert count_characters(copy, 0, len(raw)) == len(text)


def test_searches():
    text = np.frombuffer(b"0123456\n89\n\xc3\xa9" + b" " * 20 + b"\xc3\xa9\n" + bytes(PADDING), np.uint8)
    end = len(text) - PADDING
    content = text[:end].tolist()
    for start in range(end):
        beyond = [k for k in range(start, end) if content[k] >= 0x80]
        newlines = [k for k in range(start, end) if content[k] == 10]
        assert next_beyond_ascii(text, start, end) == min(beyond, default=end)
        assert next_newline(text, start, end) == min(newlines, default=end)
        assert next_newline(text, start, min(end, 9)) == min([k for k in newlines if k < 9], default=min(end, 9))


def cut(texts, most):
    """The first characters of each of some texts, given as bytes."""
    offsets = np.cumsum([0, *map(len, texts)])
    data, borders = first_characters(np.frombuffer(b"".join(texts) or b"\0", np.uint8), offsets, most)
    return [data[start:stop].tobytes() for start, stop in pairwise(borders.tolist())]


@pytest.mark.parametrize("most", [1, 2, 3, 7, 8, 9, 40, 10**9])
def test_the_first_characters_are_pythons(most):
    texts = ["", "a", "naïve café", "中文字符", "😀" * 20, "é" * 9, "x" * 40, "ж" * 39 + "a", "a\u0301\u0301\0b"]
    assert cut([text.encode() for text in texts], most) == [text[:most].encode() for text in texts]


def test_bytes_that_are_no_utf8_are_cut_before_a_byte_that_begins_a_character():
    assert cut([b"\x80\x80ab", b"a\xff\xfeb", b"\xe4\xb8", b"ab\x80\x80"], 2) == [
        b"\x80\x80ab",
        b"a\xff",
        b"\xe4\xb8",
        b"ab\x80\x80",
    ]
