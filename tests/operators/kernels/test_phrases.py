"""Phrases are found where Python's `in` finds them."""

from __future__ import annotations

import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from gristmill.operators.kernels.buffers import PADDING, text_buffers
from gristmill.operators.kernels.phrases import kinds_within, phrases

letters = st.sampled_from(list("aAbB é"))
texts = st.lists(letters, max_size=60).map("".join)
kinds = st.lists(st.lists(st.lists(letters, min_size=4, max_size=8).map("".join), max_size=3), max_size=3)


def lowered(text: str) -> str:
    return "".join(c.lower() if c.isascii() else c for c in text)


@settings(max_examples=300)
@given(texts, kinds)
def test_kinds_are_those_of_the_phrases_that_occur(text: str, kinds: list[list[str]]) -> None:
    padded = text + "\0" * PADDING
    data, _ = text_buffers(pa.array([padded], pa.large_string()))
    expected = sum(1 << k for k, group in enumerate(kinds) if any(lowered(p) in lowered(text) for p in group))
    assert kinds_within(data, 0, len(text.encode()), phrases(kinds, [["aaaa"]])) == expected
