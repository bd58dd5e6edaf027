"""Band keys and agreements, against comparisons lane by lane; exact Jaccard, against Python's sets and the truth."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gristmill.operators.kernels.bands import agreements, band_keys
from gristmill.operators.kernels.buffers import text_buffers
from gristmill.operators.kernels.jaccard import jaccard_of_sets
from gristmill.operators.kernels.shingles import alphabet, shingle_sets
from gristmill.operators.kernels.wordpunct import UNSPACED


@pytest.mark.parametrize(("lanes", "bands", "rows"), [(12, 3, 4), (13, 6, 2), (8, 8, 1), (8, 1, 8), (112, 14, 8)])
def test_keys_are_equal_where_bands_are(lanes: int, bands: int, rows: int) -> None:
    signatures = np.random.default_rng(0).integers(0, 3, (300, lanes)).astype(np.uint16)
    keys = np.empty((300, bands), np.uint64)
    band_keys(signatures, bands, rows, keys)
    seen: dict[object, int] = {}
    for signature, row in zip(signatures.tolist(), keys.tolist(), strict=True):
        for b, key in enumerate(row):
            assert seen.setdefault((b, *signature[b * rows : (b + 1) * rows]), key) == key
    assert len(set(seen.values())) == len(seen)


@pytest.mark.parametrize("lanes", [1, 8, 31, 112, 1024])
def test_agreements_are_counted(lanes: int) -> None:
    left, right = np.random.default_rng(1).integers(0, 2, (2, 50, lanes)).astype(np.uint16)
    right[0] = left[0]
    assert agreements(left, right).tolist() == (left == right).sum(axis=1).tolist()
    assert agreements(left[:0], right[:0]).tolist() == []


@given(st.lists(st.tuples(*[st.sets(st.integers(0, 30) | st.integers(2**64 - 9, 2**64 - 1), max_size=20)] * 2)))
def test_jaccard_of_sets_is_that_of_python_sets(pairs: list[tuple[set[int], set[int]]]) -> None:
    sides = []
    for sets in zip(*pairs, strict=True) if pairs else ((), ()):
        values = np.array([value for one in sets for value in sorted(one)], np.uint64)
        sides += [values, np.cumsum([0, *map(len, sets)])]
    assert jaccard_of_sets(*sides).tolist() == [len(a & b) / len(a | b) if a | b else 0 for a, b in pairs]


def test_jaccard_of_shingles_agrees_with_the_truth_of_the_benchmark_corpus(shared_data: Path) -> None:
    folder = shared_data / "bench"
    truth = pq.read_table(folder / "truth.parquet")
    corpus = pa.concat_tables(pq.read_table(path, columns=["id", "text"]) for path in folder.glob("part-*.parquet"))
    sides = [corpus["text"].take(pc.index_in(truth[name], corpus["id"])) for name in ("id", "dup_of")]
    sets = [array for side in sides for array in shingle_sets(*text_buffers(side), 5, alphabet())]
    errors = np.abs(jaccard_of_sets(*sets) - truth["jaccard_w"].to_numpy())
    # The truth has Python's `\w+`; the words differ where a script has no spaces, or marks, or a final sigma.
    others = "".join(f"{chr(first)}-{chr(last)}" for first, last in UNSPACED)
    other = re.compile(f"[{others}Σİ\u0300-\u036f\u0590-\u05cf\u0610-\u06df\u0900-\u0dff\ufe0f]")
    like_re = np.array([not any(other.search(text.as_py()) for text in pair) for pair in zip(*sides, strict=True)])
    assert like_re.mean() > 0.9
    assert errors[like_re].max() < 1e-9
    assert (errors < 1e-3).mean() > 0.95
