"""Keys of exact dedup, and who survives in a group."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from gristmill.operators.rules.copies import Candidates, group_copies
from gristmill.operators.rules.exact_dedup import ExactDedup, hash_columns


def keys_of(*columns: pa.Array) -> list[tuple[int, ...] | None]:
    keys, keyed = hash_columns([pa.chunked_array([column]) for column in columns])
    return [tuple(key) if ok else None for key, ok in zip(keys.tolist(), keyed, strict=True)]


@pytest.mark.parametrize(
    "column",
    [
        pa.array(["a", None, "b", "a", "", "é"]),
        pa.array(["a", None, "b", "a", "", "é"], pa.large_string()),
        pa.array(["a", None, "b", "a", "", "é"]).dictionary_encode(),
        pa.array([b"\xff", None, b"b", b"\xff", b"", b"c"]),
        pa.array([b"aa", None, b"bb", b"aa", b"cc", b"dd"], pa.binary(2)),
        pa.array([b"a" * 16, None, b"b" * 16, b"a" * 16, b"c" * 16, b"d" * 16], pa.binary(16)),
        pa.array([1, None, 2, 1, 3, -1]),
        pa.array([1.5, math.nan, 2, 1.5, 0.0, -1]),
    ],
    ids=lambda column: str(column.type),
)
def test_keys_are_equal_where_values_are(column: pa.Array) -> None:
    keys = keys_of(column)
    assert keys[1] is None
    assert keys[0] == keys[3]
    assert len(set(keys)) == 5
    assert keys_of(column.slice(2)) == keys[2:]


def test_keys_of_several_columns_keep_them_apart() -> None:
    keys = keys_of(pa.array(["a", "ab", "a", "a", None]), pa.array(["bc", "c", "bc", None, "bc"]))
    assert keys[0] == keys[2] != keys[1]
    assert keys[3] is keys[4] is None


def test_text_hash_is_its_own_key() -> None:
    raw = bytes(range(16))
    assert keys_of(pa.array([raw], pa.binary(16))) == [tuple(np.frombuffer(raw, "<u8").tolist())]


def survivors(keep: str, **columns: Any) -> list[tuple[int, int]]:
    """(loser, survivor) by row, for documents that agree in `key`."""
    table = pa.table(columns)
    rule = ExactDedup(by="key", keep=keep)
    candidates = rule.candidates(table, np.arange(100, 100 + table.num_rows, dtype=np.uint64))
    rows, starts = group_copies(candidates)
    groups = [candidates.addresses[rows[a:b]].tolist() for a, b in itertools.pairwise(starts)]
    return sorted((loser - 100, group[0] - 100) for group in groups for loser in group[1:])


def test_keep_policies() -> None:
    key = ["a", "b", "a", None, "a", None, "c"]
    assert survivors("first", key=key) == [(2, 0), (4, 0)]
    assert survivors("longest", key=key, bytes=[1, 9, 5, 9, 5, 9, 9]) == [(0, 2), (4, 2)]
    assert survivors("best: q", key=key, q=[None, 0.0, math.nan, 9.0, -math.inf, 9.0, 0.0]) == [(0, 4), (2, 4)]
    assert survivors("best: q", key=["a", "a"], q=pa.array([None, 0], pa.uint64())) == [(0, 1)]
    assert survivors("best: q", key=["a", "a"], q=pa.array([None, None], pa.int8())) == [(1, 0)]


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 1), st.booleans(), st.integers(0, 2)), max_size=30))
def test_groups_against_sorting_in_python(rows: list[tuple[int, int, bool, int]]) -> None:
    # Few distinct low words, so that keys share one half without being equal.
    candidates = Candidates(
        np.array([[low, high] for low, high, _, _ in rows], np.uint64).reshape(-1, 2),
        np.array([unranked for *_, unranked, _ in rows], np.bool_),
        np.array([rank for *_, rank in rows], np.uint64),
        np.arange(len(rows), dtype=np.uint64)[::-1].copy(),
    )
    found, starts = group_copies(candidates)
    expected: dict[tuple[int, int], list[int]] = {}
    order = sorted(range(len(rows)), key=lambda i: (rows[i][2], rows[i][3], candidates.addresses[i]))
    for i in order:
        expected.setdefault(rows[i][:2], []).append(i)
    groups = [found[a:b].tolist() for a, b in itertools.pairwise(starts)]
    assert sorted(groups) == sorted(group for group in expected.values() if len(group) > 1)


def test_fields() -> None:
    assert ExactDedup.model_validate("best: quality").rank_column == "quality"
    assert ExactDedup.model_validate(None).reads() == {"text_hash"}
    assert ExactDedup(by=["source", "id"], keep="longest").reads() == {"source", "id", "bytes"}
    for wrong in ("last", "best:", "best: "):
        with pytest.raises(ValidationError, match='keep is first, longest or "best: COLUMN"'):
            ExactDedup(keep=wrong)
    with pytest.raises(ValidationError, match="by names a column"):
        ExactDedup(by=[])
