"""Order statistics over all shards, exact, by radix refinement: the 64-bit key at which a budget is spent.

Every key has a weight. The crossing is the smallest key with which the weights of all keys up to it exceed the budget.
Each pass tabulates the next bits of the keys that share the prefix found so far: 16 bits, or all that are left as soon
as few keys share it. There are at most four passes, and memory holds a small table of each shard. Sums are of whole
numbers: the result does not depend on how rows are split into shards, nor on the order in which tables arrive.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from gristmill.pipelines.config.tuning import sizes
from gristmill.pipelines.engine.base import Engine, run_all

KEY_BITS = 64
STEP_BITS = 16


@dataclass(frozen=True)
class Weighted:
    """Keys (n) with weights (n)."""

    keys: NDArray[np.uint64]
    weights: NDArray[np.int64]


class Searched(Protocol):
    """The documents of some shards, such as `Survivors`."""

    @property
    def shards(self) -> Sequence[Any]:
        """Return the shards. Picklable."""
        ...

    @property
    def documents(self) -> int:
        """Return the number of documents, at least."""
        ...


#: A function from one of the shards to its weighted keys for each search. Picklable.
Source = Callable[[Any], Sequence[Weighted]]


@dataclass(frozen=True)
class Crossing:
    """The key at which a budget is exceeded."""

    key: int
    before: int  #: weight of all smaller keys
    documents: int  #: number of documents with this key


@dataclass(frozen=True)
class Located:
    """The result of one search."""

    documents: int  #: number of keys
    weight: int  #: of all of them
    crossing: Crossing | None  #: None where the budget is never exceeded


@dataclass(frozen=True)
class Bracket:
    """The known part of a crossing: the upper bits of its key, how many keys share them, the weight before them."""

    bits: int
    prefix: int
    documents: int  #: at most
    before: int = 0

    @property
    def step(self) -> int:
        """Return the number of bits that the next pass finds."""
        return KEY_BITS - self.bits if self.documents <= sizes().tabulated else min(STEP_BITS, KEY_BITS - self.bits)


@dataclass(frozen=True)
class Table:
    """Numbers of documents, and their weights, by the next bits of their keys (digits, ascending)."""

    digits: NDArray[np.uint64]
    documents: NDArray[np.int64]
    weights: NDArray[np.int64]


def find_crossings(
    engine: Engine, survivors: Searched, source: Source, budgets: Sequence[Callable[[int], int]]
) -> list[Located]:
    """Return the crossing of each search, in the order of `budgets`, which give a budget from the number of keys."""
    brackets: list[Bracket | None] = [Bracket(0, 0, survivors.documents) for _ in budgets]
    results: dict[int, Located] = {}
    while any(brackets):
        tables = _tabulate_all(engine, survivors, source, brackets)
        for i, (bracket, table) in enumerate(zip(brackets, tables, strict=True)):
            if bracket is None or table is None:
                continue
            if i not in results:  # the first pass sees all keys
                results[i] = Located(int(table.documents.sum()), int(table.weights.sum()), None)
            narrowed = _narrow(bracket, table, budgets[i](results[i].documents))
            if narrowed is not None and narrowed.bits == KEY_BITS:
                crossing = Crossing(narrowed.prefix, narrowed.before, narrowed.documents)
                results[i] = Located(results[i].documents, results[i].weight, crossing)
                narrowed = None
            brackets[i] = narrowed
    return [results[i] for i in range(len(budgets))]


def _narrow(bracket: Bracket, table: Table, budget: int) -> Bracket | None:
    """Return the bracket that the table narrows it to; None where the budget is not exceeded."""
    spent = bracket.before + np.cumsum(table.weights)
    at = int(np.searchsorted(spent, budget, side="right"))
    if at == len(spent):
        return None
    prefix = bracket.prefix << bracket.step | int(table.digits[at])
    before = int(spent[at] - table.weights[at])
    return Bracket(bracket.bits + bracket.step, prefix, int(table.documents[at]), before)


def _tabulate_all(
    engine: Engine, survivors: Searched, source: Source, brackets: Sequence[Bracket | None]
) -> list[Table | None]:
    """Make one pass: return the tables of all shards added up, for each search that is not over."""
    sums = [_Sum() for _ in brackets]
    for tables in run_all(engine, partial(_tabulate_shard, source, tuple(brackets)), survivors.shards):
        for total, table in zip(sums, tables, strict=True):
            if table is not None:
                total.add(table)
    return [total.table() if bracket else None for total, bracket in zip(sums, brackets, strict=True)]


def _tabulate_shard(source: Source, brackets: tuple[Bracket | None, ...], shard: Any) -> list[Table | None]:
    keyed = source(shard)
    return [
        _tabulate(bracket, weighted) if bracket else None for bracket, weighted in zip(brackets, keyed, strict=True)
    ]


def _tabulate(bracket: Bracket, weighted: Weighted) -> Table:
    keys, weights = weighted.keys, weighted.weights
    if bracket.bits:
        inside = keys >> np.uint64(KEY_BITS - bracket.bits) == bracket.prefix
        keys, weights = keys[inside], weights[inside]
    digits = keys >> np.uint64(KEY_BITS - bracket.bits - bracket.step)
    if bracket.bits:
        digits &= np.uint64((1 << bracket.step) - 1)
    return _add_up(digits, np.ones(len(digits), np.int64), weights)


def _add_up(digits: NDArray[np.uint64], documents: NDArray[np.int64], weights: NDArray[np.int64]) -> Table:
    distinct, places = np.unique(digits, return_inverse=True)
    sums = np.zeros((2, len(distinct)), np.int64)
    np.add.at(sums[0], places, documents)
    np.add.at(sums[1], places, weights)
    return Table(distinct, sums[0], sums[1])


class _Sum:
    """Tables added up as they come, a handful at a time: memory stays that of a few tables."""

    def __init__(self) -> None:
        self._tables = [Table(np.zeros(0, np.uint64), np.zeros(0, np.int64), np.zeros(0, np.int64))]
        self._waiting = 0

    def add(self, table: Table) -> None:
        self._tables.append(table)
        self._waiting += len(table.digits)
        if self._waiting > sizes().tabulated:
            self._tables, self._waiting = [self.table()], 0

    def table(self) -> Table:
        return _add_up(
            np.concatenate([table.digits for table in self._tables]),
            np.concatenate([table.documents for table in self._tables]),
            np.concatenate([table.weights for table in self._tables]),
        )
