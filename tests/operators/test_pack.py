"""Cutting and packing of documents, against definitions written otherwise."""

from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gristmill.operators.kernels.packing import best_fit, permuted
from gristmill.operators.pack import Pieces, Split, pack, token_type

LENGTHS = st.lists(st.integers(0, 3) | st.integers(0, 60), max_size=40)


def rows(pieces: Pieces) -> list[tuple[int, int, int, int]]:
    columns = (pieces.document, pieces.offset, pieces.tokens, pieces.sequence)
    return list(zip(*(column.tolist() for column in columns), strict=True))


@pytest.mark.parametrize("split", ["documents", "concat", "best_fit"])
@given(LENGTHS, st.integers(2, 20))
def test_every_token_is_in_one_piece_and_no_sequence_is_too_long(split: Split, lengths: list[int], length: int) -> None:
    pieces = pack(np.array(lengths, np.int64), split, length)
    tokens = [(d, offset + i) for d, offset, size, _ in rows(pieces) for i in range(size)]
    assert sorted(tokens) == [(d, i) for d, size in enumerate(lengths) for i in range(size)]
    inside: dict[int, int] = {}
    for (_, _, size, sequence), start in zip(rows(pieces), pieces.starts.tolist(), strict=True):
        assert size > 0
        assert start == inside.get(sequence, 0)
        inside[sequence] = start + size
    assert [*inside] == [*range(len(inside))], "sequences follow each other"
    assert all(size <= length for size in inside.values())
    assert pieces.bounds.tolist() == [*np.searchsorted(pieces.sequence, [*range(len(inside) + 1)])]


@given(LENGTHS, st.integers(2, 20))
def test_what_each_way_cuts(lengths: list[int], length: int) -> None:
    array = np.array(lengths, np.int64)
    alone, joined, fitted = (rows(pack(array, split, length)) for split in ("documents", "concat", "best_fit"))
    chunks = [
        (d, offset, min(length, size - offset)) for d, size in enumerate(lengths) for offset in range(0, size, length)
    ]
    assert [row[:3] for row in alone] == chunks
    assert [row[3] for row in alone] == [*range(len(chunks))], "each chunk is a sequence"
    assert sorted(row[:3] for row in fitted) == chunks, "documents are cut only where they are too long"
    stream = [(d, i) for d, size in enumerate(lengths) for i in range(size)]
    for d, offset, size, sequence in joined:
        at = stream.index((d, offset))
        assert at // length == (at + size - 1) // length == sequence


@given(st.lists(st.integers(1, 12), max_size=60), st.integers(12, 16))
def test_best_fit_is_the_textbook_one(sizes: list[int], capacity: int) -> None:
    order = np.argsort(-np.array(sizes, np.int64), kind="stable")
    rooms, used, expected = [], [], [0] * len(sizes)
    for time, item in enumerate(order.tolist()):
        fitting = [(rooms[b], -used[b], b) for b in range(len(rooms)) if rooms[b] >= sizes[item]]
        if not fitting:
            rooms.append(capacity)
            used.append(time)
        found = min(fitting)[2] if fitting else len(rooms) - 1
        rooms[found] -= sizes[item]
        used[found] = time
        expected[item] = found
    bins, count = best_fit(np.array(sizes, np.int64), order, capacity)
    assert (bins.tolist(), count) == (expected, len(rooms))


def test_best_fit_truncates_less_than_concat_and_leaves_little_empty() -> None:
    draw = random.Random(7)
    lengths = np.array([int(draw.lognormvariate(5, 1.2)) + 1 for _ in range(4000)], np.int64)
    joined, fitted = (pack(lengths, split, 512) for split in ("concat", "best_fit"))
    cut = [int((np.bincount(pieces.document) > 1).sum()) for pieces in (joined, fitted)]
    assert cut[1] == (lengths > 512).sum()
    assert cut[0] > 2 * cut[1]
    places = 512 * len(set(fitted.sequence.tolist()))
    assert places < 1.01 * lengths.sum()


def test_the_order_of_sequences_does_not_go_by_length() -> None:
    draw = random.Random(3)
    lengths = np.array([draw.choice([5, 40, 90]) for _ in range(3000)], np.int64)
    pieces = pack(lengths, "best_fit", 100)
    third = len(pieces.document) // 3
    means = [float(pieces.tokens[i * third : (i + 1) * third].mean()) for i in range(3)]
    assert max(means) < 1.15 * min(means)
    inside = np.diff(pieces.document)[np.diff(pieces.sequence) == 0]
    assert (inside > 0).all(), "pieces of a sequence keep the order of documents"


@given(st.integers(1, 300), st.integers(0, 2**64 - 1))
def test_a_permutation_has_every_value_once(size: int, key: int) -> None:
    values = permuted(np.uint64(key), size, np.arange(size))
    assert sorted(values.tolist()) == [*range(size)]


def test_permutations_mix() -> None:
    values = permuted(np.uint64(1), 5000, np.arange(5000))
    assert abs(np.corrcoef(values, np.arange(5000))[0, 1]) < 0.05
    others = permuted(np.uint64(2), 5000, np.arange(5000))
    assert (values == others).sum() < 10
    assert (np.abs(np.diff(values)) < 10).sum() < 60, "neighbours come apart"


def test_the_type_of_tokens_goes_by_the_vocabulary() -> None:
    assert [token_type(n).name for n in (500, 65_536, 65_537)] == ["uint16", "uint16", "uint32"]
