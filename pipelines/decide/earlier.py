"""Documents that earlier nights kept, for rules that look for something of a new document among them.

What they were measured by lies in the store. Of each shard only the rows with a key that a new document has are taken.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from gristmill.pipelines.engine.base import Engine, run_all
from gristmill.pipelines.exchange import shuffle_files
from gristmill.pipelines.exchange.shuffle import Exchange
from gristmill.pipelines.shard_tasks.reread import kept_rows
from gristmill.pipelines.store.measures import ShardMeasures

_KEYS = pa.schema([("key", pa.uint64())])


@dataclass(frozen=True)
class EarlierShard:
    """The part of a shard that an earlier night kept: a `ShardColumns` of what it was measured by. Picklable."""

    measures: ShardMeasures
    decisions: str  #: of the run that kept it
    rows: int  #: documents that it kept

    @property
    def ordinal(self) -> int:
        """Return the shard's number in the registry."""
        return self.measures.ordinal

    @property
    def schema(self) -> pa.Schema:
        """Return every column there is."""
        return self.measures.schema

    def has(self, names: Sequence[str]) -> bool:
        """Return whether it was measured by all of some columns, or had them."""
        return {*names} <= {name for _, part in self.measures.parts for name in part} | {"source"}

    def read(self, names: Sequence[str]) -> pa.Table:
        """Return columns of the documents that were kept."""
        return self.measures.read(names).filter(kept_rows(self.decisions))


@dataclass(frozen=True)
class NewKeys:
    """The keys (uint64) of new documents, in a file."""

    url: str
    token: str  #: of this very file: another may have lain there

    @classmethod
    def of(cls, exchange: Exchange, column: str, senders: Sequence[int], engine: Engine, url: str) -> NewKeys:
        """Write down the distinct values of a column that senders sent to the partitions of an exchange."""
        tasks = [_Distinct(exchange, column, tuple(senders), i) for i in range(exchange.partitions)]
        parts = [np.zeros(0, np.uint64), *run_all(engine, _Distinct.run, tasks)]
        shuffle_files.write_table(url, pa.table([pa.array(np.sort(np.concatenate(parts)))], schema=_KEYS))
        return cls(url, uuid.uuid4().hex)

    def among(self, keys: NDArray[np.uint64]) -> NDArray[np.bool_]:
        """Return which of some keys (n) a new document has."""
        known = _read(self)
        if not len(known):
            return np.zeros(len(keys), np.bool_)
        at = np.minimum(np.searchsorted(known, keys), len(known) - 1)
        return np.asarray(known[at] == keys)


@dataclass(frozen=True)
class _Distinct:
    exchange: Exchange
    column: str
    senders: tuple[int, ...]
    partition: int

    def run(self) -> NDArray[np.uint64]:
        return np.unique(np.asarray(self.exchange.receive(self.senders, self.partition)[self.column]))


@lru_cache(maxsize=1)
def _read(keys: NewKeys) -> NDArray[np.uint64]:
    """Return the keys of a file, which a process reads once for all shards."""
    return np.asarray(shuffle_files.read_table(keys.url)["key"])


def without_columns(shards: Sequence[EarlierShard], names: Sequence[str]) -> dict[str, Any]:
    """Return, for a report, how many shards of earlier nights lack one of some columns: nothing is found in them."""
    lacking = sum(not shard.has(names) for shard in shards)
    return {"earlier_without": {"shards": lacking, "columns": list(names)}} if lacking else {}
