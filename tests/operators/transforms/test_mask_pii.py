"""Masking: placeholders and nothing else; nothing is left to be found; equal values have equal numbers."""

from __future__ import annotations

import re
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from gristmill.operators.arrays import array_of
from gristmill.operators.measures.pii import Pii
from gristmill.operators.personal_data.occurrences import KINDS, Kind
from gristmill.operators.transforms.mask_pii import MaskPii
from tests.operators.kernels.test_personal_data import PIECES
from tests.operators.personal_data.examples import NOT_THERE, THERE
from tests.operators.personal_data.usenet import posts

PLACEHOLDER = re.compile(rb"<(?:EMAIL|IP|PHONE|IBAN|CARD|SECRET)(?:_\d+)?>")


def masked(texts: list[bytes], **options: object) -> list[bytes]:
    result = MaskPii.model_validate(options).open({})(array_of(texts))
    return list(result.cast(pa.large_binary()).to_pylist())


def left(texts: list[bytes]) -> int:
    """How much personal data there is, by the measure."""
    counts = Pii(kinds=KINDS).open({})(pa.record_batch({"text": array_of(texts)}))
    return sum(sum(column.to_pylist()) for column in counts.columns)


@pytest.mark.parametrize(("kind", "text", "part"), THERE)
def test_nothing_else_changes(kind: Kind, text: str, part: str) -> None:
    for options in ({}, {"stable": True}):
        placeholder = f"<{kind.upper()}_1>" if options else f"<{kind.upper()}>"
        [result] = masked([text.encode()], kinds=KINDS, **options)
        assert result.decode() == text.replace(part, placeholder, 1)
        assert masked([result], kinds=KINDS, **options) == [result]
        assert left([result]) == 0


@pytest.mark.parametrize(("kind", "text"), NOT_THERE)
def test_what_is_none_stays(kind: Kind, text: str) -> None:
    assert masked([text.encode()], kinds=[kind]) == [text.encode()]


def test_the_same_value_has_the_same_number() -> None:
    text = b"a@foo.org wrote to b@foo.org: A@FOO.org, see 134.82.7.153. b@foo.org, c@foo.org, 134.82.7.153"
    expected = b"<EMAIL_1> wrote to <EMAIL_2>: <EMAIL_1>, see <IP_1>. <EMAIL_2>, <EMAIL_3>, <IP_1>"
    assert masked([text, b"b@foo.org"], stable=True) == [expected, b"<EMAIL_1>"]
    assert masked([text])[0] == re.sub(rb"_\d", b"", expected)


def test_addresses_are_masked_by_default() -> None:
    text = b"a@foo.org 134.82.7.153 +12127365000 DE89370400440532013000 4111111111111111"
    assert masked([text]) == [text.replace(b"a@foo.org", b"<EMAIL>").replace(b"134.82.7.153", b"<IP>")]


def test_placeholders() -> None:
    options = {"kinds": ["email", "ip", "card"], "placeholders": {"email": "|||EMAIL_ADDRESS|||", "ip": ""}}
    text = b"a@foo.org, b@foo.org at 134.82.7.153 with 4111111111111111"
    assert masked([text], **options) == [b"|||EMAIL_ADDRESS|||, |||EMAIL_ADDRESS||| at  with <CARD>"]
    numbered = b"|||EMAIL_ADDRESS_1|||, |||EMAIL_ADDRESS_2||| at _1 with <CARD_1>"
    assert masked([text], stable=True, **options) == [numbered]


@pytest.mark.parametrize("placeholder", ["x@y.org", "127.0.0.1", "x" * 61])
def test_placeholders_that_could_be_masked_in_their_turn(placeholder: str) -> None:
    with pytest.raises(ValidationError):
        MaskPii.model_validate({"placeholders": {"email": placeholder}})


def test_where_nothing_changes_no_text_is_copied() -> None:
    texts = pa.array(["none", None, "at 10.0.0.1"], pa.large_string())
    assert MaskPii().open({})(texts) is texts


def test_null_stays_null() -> None:
    texts = pa.array([None, "a@foo.org", None, "none"], pa.large_string())
    assert MaskPii().open({})(texts).to_pylist() == [None, "<EMAIL>", None, "none"]
    assert MaskPii().open({})(texts.slice(1, 2)).to_pylist() == ["<EMAIL>", None]


def test_what_is_not_utf8_is_masked_as_well() -> None:
    assert masked([b"\xff\xfe a@foo.org \xf0\x9f"]) == [b"\xff\xfe <EMAIL> \xf0\x9f"]


def test_what_a_mask_brings_to_light_is_masked_too() -> None:
    """Digits after digits and a colon are part of something longer, until what is before them is masked."""
    text = b"134.82.7.153:212-736-5000"
    assert masked([text], kinds=["phone"]) == [text]
    assert masked([text], kinds=["ip", "phone"]) == [b"<IP>:<PHONE>"]


@settings(max_examples=300)
@given(st.lists(st.lists(st.sampled_from(PIECES), max_size=6).map(b"".join), max_size=4), st.booleans())
def test_nothing_is_left(texts: list[bytes], stable: bool) -> None:
    once = masked(texts, kinds=KINDS, stable=stable)
    assert left(once) == 0
    assert masked(once, kinds=KINDS, stable=stable) == once
    for text, result in zip(texts, once, strict=True):
        pieces = PLACEHOLDER.split(result)
        assert re.fullmatch(b"(?s:.+?)".join(map(re.escape, pieces)), text), (
            "what stands between placeholders was there"
        )


def test_real_text(shared_data: Path) -> None:
    texts = posts(shared_data)[::10]
    once = masked(texts, kinds=KINDS, stable=True)
    assert left(texts) > 2_000
    assert left(once) == 0
    assert masked(once, kinds=KINDS, stable=True) == once
    for text, result in zip(texts, once, strict=True):
        start = 0
        for piece in PLACEHOLDER.split(result):
            start = text.index(piece, start) + len(piece)
