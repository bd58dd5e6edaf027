"""The pairs lose nothing: where ftfy sees mojibake, there is one of them."""

import gzip
import itertools
import json
import unicodedata

import numpy as np
import pyarrow as pa
import pytest
from ftfy.badness import BADNESS_RE, MOJIBAKE_CATEGORIES, is_bad
from hypothesis import given, settings
from hypothesis import strategies as st

from gristmill.operators.kernels.buffers import text_buffers
from gristmill.operators.kernels.cleaning import inspect_texts
from gristmill.operators.transforms.mojibake import UNCOMPOSED, clues

CHARACTERS = sorted(
    {c for category in MOJIBAKE_CATEGORIES.values() for c in category} | set("Aa Œœ°×²³à√≈‚âóвЂГўβā€-.1")
)


def inspected(texts):
    data, offsets = text_buffers(pa.array(texts, pa.large_string()))
    return inspect_texts(data, offsets, *clues())


def has_pair(texts):
    return inspected(texts) > UNCOMPOSED | np.uint64(1)


def missed(texts):
    return [text for text, found in zip(texts, has_pair(texts), strict=True) if not found and is_bad(text)]


def test_every_pair_of_characters_that_ftfy_objects_to():
    pairs = list(map("".join, itertools.product(CHARACTERS, repeat=2)))
    assert missed(pairs) == []
    assert 0.05 < has_pair(pairs).mean() < 0.6


@settings(max_examples=150)
@given(st.lists(st.from_regex(BADNESS_RE), min_size=5, max_size=20))
def test_everything_that_the_expression_matches(texts):
    texts = [text.encode(errors="replace").decode() for text in texts]
    assert missed(texts) == []


@settings(max_examples=500)
@given(st.lists(st.text(st.sampled_from(CHARACTERS), max_size=8), max_size=30))
def test_runs_of_the_characters_of_mojibake(texts):
    assert missed(texts) == []


@settings(max_examples=300)
@given(st.lists(st.text(max_size=10), max_size=20))
def test_what_is_not_marked_is_in_normalization_form_c(texts):
    marked = (inspected(texts) & UNCOMPOSED) != 0
    assert all(m or unicodedata.is_normalized("NFC", text) for text, m in zip(texts, marked, strict=True))


def test_every_character_that_form_c_changes_is_marked():
    characters = [chr(c) for c in range(0x110000) if not 0xD800 <= c < 0xE000]
    marked = (inspected(characters) & UNCOMPOSED) != 0
    assert all(m or unicodedata.is_normalized("NFC", c) for c, m in zip(characters, marked, strict=True))


@pytest.mark.parametrize("every", [11, pytest.param(1, marks=pytest.mark.slow)])
def test_real_documents(shared_data, every):
    """All documents that are not ASCII: ftfy changes none that is passed over, and few are looked at in vain."""
    texts = []
    for path in sorted((shared_data / "docs").glob("*.jsonl.gz")):
        with gzip.open(path, "rt") as lines:
            texts += [text for line in lines if not (text := json.loads(line)["text"]).isascii()]
    texts = texts[::every]
    found = has_pair(texts)
    assert missed(texts) == []
    assert found.mean() < 0.06
    if every == 1:
        assert len(texts) == 7251
