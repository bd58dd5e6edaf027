"""Hashes and lengths of paragraphs and lines, against a split in plain Python."""

from __future__ import annotations

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gristmill.operators.measures.content_id import content_ids
from gristmill.operators.measures.paragraph_hashes import ParagraphHashes
from tests.operators.rules.paragraph_oracle import ALPHABET, normalized, pieces


def measured(texts: list[str | None], **options: object) -> tuple[list[list[int] | None], list[list[int] | None]]:
    """Hashes and lengths of the pieces of each text."""
    measure = ParagraphHashes(**options)  # type: ignore[arg-type]
    found = measure.open({})(pa.record_batch({"text": pa.array(texts, pa.large_string())}))
    return found[measure.hashes].to_pylist(), found[measure.lengths].to_pylist()


def expected_hash(piece: str) -> int:
    """The first half of the hash that exact deduplication would compare of this text."""
    content_id: bytes = content_ids(pa.array([normalized(piece)], pa.large_string()))[0].as_py()
    return int.from_bytes(content_id[:8], "little")


@pytest.mark.parametrize("by", ["paragraph", "line"])
@given(
    texts=st.lists(st.none() | st.text(ALPHABET, max_size=30) | st.text(max_size=10), max_size=4),
    min_characters=st.integers(1, 3),
)
@settings(max_examples=200)
def test_it_agrees_with_a_split_in_python(by: str, texts: list[str | None], min_characters: int) -> None:
    hashes, lengths = measured(texts, by=by, min_characters=min_characters)
    for text, some, sizes in zip(texts, hashes, lengths, strict=True):
        if text is None:
            assert some is None
            assert sizes is None
            continue
        found = [part for part, is_piece in pieces(text, by) if is_piece]
        counted = [len(normalized(part)) >= min_characters for part in found]
        assert sizes == [len(part.encode()) for part in found]
        assert some == [expected_hash(part) if long else 0 for part, long in zip(found, counted, strict=True)]


@pytest.mark.parametrize(
    ("text", "paragraphs", "lines"),
    [
        ("", [], []),
        (" \n\t\n\r\n", [], []),
        ("one", [3], [3]),
        ("one\ntwo\n\nthree", [9, 5], [4, 4, 5]),
        ("\n\none\r\n\r\n  two", [7, 5], [5, 5]),
        ("one\n \u3000\n\ntwo\n\n\n", [10, 6], [4, 4]),
        ("one\u2028\u2028two\n", [13], [13]),
    ],
)
def test_where_pieces_end(text: str, paragraphs: list[int], lines: list[int]) -> None:
    assert measured([text], by="paragraph")[1] == [paragraphs]
    assert measured([text], by="line")[1] == [lines]


def test_copies_differ_in_case_and_white_space_only() -> None:
    hashes, _ = measured(["All  Rights\nReserved.\n\nall rights reserved.", "ALL RIGHTS RESERVED!"], min_characters=5)
    (first, second), (other,) = hashes
    assert first == second != other


def test_short_pieces_are_marked() -> None:
    assert measured(["four\n\nfive5\n\nÉÉÉÉ"], min_characters=5)[0] == [[0, expected_hash("five5"), 0]]
