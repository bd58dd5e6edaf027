"""Batches: all items once, within the tokens that a batch may have, smaller where memory ends."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gristmill.operators.errors import FatalError
from gristmill.pipelines.label.local.tokens import Batcher, OutOfMemory


@dataclass(frozen=True)
class Item:
    """A number, and a size."""

    number: int
    tokens: int


def items_of(sizes: list[int]) -> list[Item]:
    """Items of these sizes."""
    return [Item(i, size) for i, size in enumerate(sizes)]


def padded(batch: Sequence[Item]) -> int:
    """Tokens of a batch with its padding."""
    return len(batch) * max(item.tokens for item in batch)


@given(st.lists(st.integers(1, 60)), st.integers(1, 200), st.integers(60, 300))
def test_every_item_once_in_batches_that_fit(sizes: list[int], most: int, memory: int) -> None:
    tried: list[int] = []

    def work(batch: Sequence[Item]) -> list[int]:
        tried.append(padded(batch))
        if padded(batch) > memory:
            raise OutOfMemory("out of memory")
        assert padded(batch) <= most or len(batch) == 1
        return [item.number for item in batch]

    items = items_of(sizes)
    done = [number for results in Batcher(most).map(work, items) for number in results]
    assert sorted(done) == list(range(len(sizes)))
    assert [items[i].tokens for i in done] == sorted(sizes, reverse=True)
    failures = [tokens for tokens in tried if tokens > memory]
    assert failures == sorted(failures, reverse=True)


def test_the_size_that_did_not_fit_is_remembered() -> None:
    sizes: list[int] = []

    def work(batch: Sequence[Item]) -> list[int]:
        sizes.append(len(batch))
        if len(batch) > 3:
            raise OutOfMemory("out of memory")
        return [0] * len(batch)

    batcher = Batcher(80)
    for _ in range(2):
        assert sum(map(len, batcher.map(work, items_of([10] * 8)))) == 8
    assert sizes == [8, 4, 2, 2, 2, 2, 2, 2, 2, 2]


def test_one_item_that_does_not_fit_ends_the_run_with_a_remedy() -> None:
    def work(batch: Sequence[Item]) -> list[int]:
        raise OutOfMemory("Tried to allocate 2 GiB\nand more")

    expected = r"no room for the model and one prompt of 1,234 tokens \(Tried to allocate 2 GiB\)\. .*max_tokens"
    with pytest.raises(FatalError, match=expected):
        list(Batcher(5000).map(work, items_of([1234, 3, 4])))
