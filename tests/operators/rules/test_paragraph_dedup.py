"""Removing paragraphs from texts, and what the rule's options say."""

from __future__ import annotations

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from gristmill.operators.rules.paragraph_dedup import POSITIONS, ParagraphDedup
from tests.operators.rules.paragraph_oracle import ALPHABET, pieces


@pytest.mark.parametrize("by", ["paragraph", "line"])
@given(texts=st.lists(st.none() | st.text(ALPHABET, max_size=30), max_size=5), seed=st.randoms(use_true_random=False))
@settings(max_examples=200)
def test_the_rest_is_left_byte_for_byte(by: str, texts: list[str | None], seed: object) -> None:
    positions, expected = [], []
    for text in texts:
        parts = pieces(text or "", by)
        total = sum(is_piece for _, is_piece in parts)
        gone = sorted(seed.sample(range(total), seed.randint(0, total)))  # type: ignore[attr-defined]
        number, rest = 0, ""
        for part, is_piece in parts:
            rest += "" if is_piece and number in gone else part
            number += is_piece
        positions.append(None if text is None else gone)
        expected.append(None if text is None else rest)
    whole = pa.array(["before", *texts, "after"], pa.large_string()).slice(1, len(texts))
    left = ParagraphDedup(by=by).remove(whole, pa.array(positions, POSITIONS))
    assert left.type == pa.large_string()
    assert left.to_pylist() == expected


def test_what_is_not_utf8_is_kept_as_it_is() -> None:
    content = pa.array([b"\xff\xfe\n\nb\n\n\xed\xa0\x80"], pa.large_binary())
    text = pa.LargeStringArray.from_buffers(1, *content.buffers()[1:])
    left = ParagraphDedup().remove(text, pa.array([[1]], POSITIONS))
    assert left.cast(pa.large_binary()).to_pylist() == [b"\xff\xfe\n\n\xed\xa0\x80"]


def test_options_of_its_own_have_columns_of_their_own() -> None:
    assert ParagraphDedup(by="line", min_characters=30).reads() == {"line_hashes_30", "line_bytes_30"}
    assert [field.name for field in ParagraphDedup().gives("boilerplate")] == [
        "boilerplate_positions",
        "boilerplate_removed",
        "boilerplate_removed_bytes",
    ]
    assert ParagraphDedup.model_validate(3) == ParagraphDedup(limit=3)


@pytest.mark.parametrize("options", [{"limit": 0}, {"min_characters": 0}, {"by": "sentence"}, {"keep": "last"}])
def test_options_that_make_no_sense_are_refused(options: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        ParagraphDedup.model_validate(options)
