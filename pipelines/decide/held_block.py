"""Documents of some shards, held in memory as what the conditions of a chain make of each: see `HeldChain`."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from gristmill.operators import columns
from gristmill.pipelines.config.tuning import sizes
from gristmill.pipelines.decide.driver import COUNTED, Count
from gristmill.pipelines.decide.last_pass import ComparedSide, JudgedShard, LastPass, PassOutcome, outcome_of
from gristmill.pipelines.decide.rules.chain import PASSED, Chain, ClauseTest, true_rows
from gristmill.pipelines.decide.shards import SurvivingShard

Key = TypeVar("Key")
Value = TypeVar("Value")
Bits = NDArray[np.uint8]


@dataclass(frozen=True)
class HeldBlock:
    """Documents (n) of some shards that the rules before the chain leave."""

    shards: Sequence[SurvivingShard]
    first: NDArray[np.uint16]  #: the clause that drops each (n); the number of clauses where none does
    true: Sequence[Bits]  #: for each clause a bit for each document
    judged: Mapping[int, Bits]  #: the documents that a rule of the chain is meant for, by its position in the chain
    sizes: Sequence[NDArray[np.integer[Any]]]  #: of COUNTED (n each)
    rows: NDArray[np.uint32]  #: in their shard (n)
    borders: Sequence[int]  #: places of each shard's first document, and the end
    groups: Mapping[str, tuple[NDArray[np.uint16], Sequence[str | None]]]  #: codes (n) and values, by column

    def read(self, names: Sequence[str]) -> pa.Table:
        """Return columns of the documents."""
        return pa.concat_tables([shard.read(names).select(names) for shard in self.shards])

    def addresses(self, places: NDArray[np.int64]) -> NDArray[np.uint64]:
        """Return the addresses (m) of documents at these places (m)."""
        ordinals = np.array([shard.ordinal for shard in self.shards], np.uint64)
        which = np.searchsorted(np.asarray(self.borders), places, "right") - 1
        return (ordinals[which] << np.uint64(columns.ROW_BITS)) | self.rows[places].astype(np.uint64)


def blocks_of(side: ComparedSide) -> list[list[SurvivingShard]]:
    """Return the shards in the blocks that a HeldChain holds."""
    blocks: list[list[SurvivingShard]] = []
    rows = sizes().held_rows
    for shard in side.applied.survivors.shards:
        if rows >= sizes().held_rows:
            blocks.append([])
            rows = 0
        blocks[-1].append(shard)
        rows += shard.shard.rows
    return blocks


def hold_block(
    step: LastPass, chain: Chain, tests: Sequence[ClauseTest], shards: Sequence[SurvivingShard]
) -> tuple[HeldBlock, PassOutcome, pa.Table]:
    """Return what is held of a block, the outcome of the last pass with the same rules on both sides, and all columns.

    The columns are those that the chain reads.
    """
    outcome = PassOutcome([[Count() for _ in chain.rules] for _ in step.chains])
    parts: list[dict[str, Any]] = []
    read: list[pa.Table] = []
    for shard in shards:
        documents = SurvivingShard(shard.shard).read(sorted({*COUNTED, *step.by, *chain.reads}))
        left = documents if shard.drops is None else documents.filter(pa.array(shard.kept()))
        true = _true_clauses(chain, tests, left)
        first = np.full(left.num_rows, len(tests), np.uint16)
        for k in range(len(tests) - 1, -1, -1):
            first[true[k]] = k
        clauses = np.where(first == len(tests), PASSED, first.astype(np.int64))
        judged = JudgedShard(shard, chain, step.rules[0], documents, left, clauses)
        outcome.add(outcome_of(step, [judged, judged]), 0)
        counted = [np.asarray(pc.fill_null(left[name], 0)) for name in COUNTED]
        groups = {name: left[name].cast(pa.string()) for name in step.by if name in outcome.moves.values}
        meant = {i: np.asarray(rule.judges(left)) for i, rule in enumerate(chain.rules) if rule.meant_for is not None}
        rows = np.asarray(left[columns.ROW]).astype(np.uint32)
        read.append(left.select(sorted(chain.reads)))
        parts.append({"first": first, "true": true, "sizes": counted, "groups": groups, "meant": meant, "rows": rows})
    borders = np.cumsum([0, *(len(part["rows"]) for part in parts)]).tolist()
    counted = [np.concatenate([part["sizes"][i] for part in parts]) for i in range(len(COUNTED))]
    block = HeldBlock(
        shards,
        np.concatenate([part["first"] for part in parts]),
        [np.packbits(np.concatenate([part["true"][k] for part in parts])) for k in range(len(tests))],
        {i: np.packbits(np.concatenate([part["meant"][i] for part in parts])) for i in parts[0]["meant"]},
        [size.astype(np.uint32) if len(size) == 0 or size.max() < 1 << 32 else size for size in counted],
        np.concatenate([part["rows"] for part in parts]),
        borders,
        {name: _coded([part["groups"][name] for part in parts]) for name in step.by if name in outcome.moves.values},
    )
    return block, outcome, pa.concat_tables(read)


def _true_clauses(chain: Chain, tests: Sequence[ClauseTest], left: pa.Table) -> list[NDArray[np.bool_]]:
    """Return for each clause the documents (n) that it is true for and that its rule is meant for."""
    if not tests:
        return []
    true = true_rows([test.sql for test in tests], left.select(sorted(chain.reads)))
    meant = [np.asarray(rule.judges(left)) for rule in chain.rules]
    return [fired & meant[test.rule] for test, fired in zip(tests, true, strict=True)]


def _coded(columns: Sequence[pa.ChunkedArray]) -> tuple[NDArray[np.uint16], list[str | None]]:
    """Return a code for each text (n) of columns that have few values, and the values."""
    texts = pa.chunked_array([chunk for column in columns for chunk in column.chunks], pa.string()).combine_chunks()
    encoded = pc.dictionary_encode(texts, null_encoding="encode")
    return np.asarray(encoded.indices).astype(np.uint16), encoded.dictionary.to_pylist()


def block_column(block: HeldBlock, name: str) -> pa.Array:
    """Return a column of a block's documents, in one piece."""
    return block.read([name])[name].combine_chunks()


def unpacked(bits: Bits, n: int) -> NDArray[np.bool_]:
    """Return a mask (n) from a bit for each."""
    return np.unpackbits(bits, count=n).view(np.bool_)


class RecentValues(Generic[Key, Value]):
    """Values that were asked for last, up to a total size. Thread-safe."""

    def __init__(self, most: int, size: Callable[[Value], int]) -> None:
        self._most, self._size, self._total = most, size, 0
        self._held: OrderedDict[Key, Value] = OrderedDict()
        self._lock = threading.Lock()

    def offer(self, key: Key, make: Callable[[], Value]) -> None:
        """Take in a value, made if there is room for it and nothing has to go."""
        with self._lock:
            if self._total >= self._most or key in self._held:
                return
        value = make()
        with self._lock:
            if self._total + self._size(value) <= self._most:
                self._held[key] = value
                self._total += self._size(value)

    def get(self, key: Key, make: Callable[[], Value]) -> Value:
        """Return the value of a key; one that is not held is made, outside the lock."""
        with self._lock:
            if key in self._held:
                self._held.move_to_end(key)
                return self._held[key]
        value = make()
        with self._lock:
            if key not in self._held:
                self._held[key] = value
                self._total += self._size(value)
            while self._total > self._most and len(self._held) > 1:
                self._total -= self._size(self._held.popitem(last=False)[1])
        return value
