"""Counting repeated values, and the exchange below it."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from gristmill.operators.arrays import partition_of
from gristmill.pipelines.config.tuning import sizes, tuned
from gristmill.pipelines.decide import count_duplicates
from gristmill.pipelines.engine.local import LocalEngine
from gristmill.pipelines.exchange.shuffle import Exchange, partitions_for
from tests.pipelines.decide.fakes import ShufflingEngine, documents, split


@pytest.mark.parametrize("blocks", [0, sizes().exchange_blocks], ids=["two steps", "one step"])
@pytest.mark.parametrize("partition_rows", [10, sizes().partition_rows])
def test_repeated_ids(tmp_path: Path, partition_rows: int, blocks: int) -> None:
    ids = [None if i % 10 == 0 else f"id-{i * i % 37}" for i in range(100)]
    table = documents(100).drop_columns(["id"]).append_column("id", pa.array(ids))
    counts = Counter(i for i in ids if i is not None)
    with tuned(partition_rows=partition_rows, exchange_blocks=blocks, exchange_group=2):
        found = count_duplicates(split(table, [30, 30, 40]), "id", ShufflingEngine(), str(tmp_path))
    assert found["documents"] == sum(counts.values()) - len(counts)
    assert found["values"] == sum(n > 1 for n in counts.values())
    assert [counts[value] for value in found["examples"]] == sorted(counts.values(), reverse=True)[:3]
    assert list(tmp_path.iterdir()) == []


def test_distinct_ids(tmp_path: Path) -> None:
    found = count_duplicates(split(documents(20), [5, 15]), "id", LocalEngine(2), str(tmp_path))
    assert found == {"documents": 0, "values": 0, "examples": []}


def test_an_exchange_gives_every_partition_its_rows_in_order(tmp_path: Path) -> None:
    schema = pa.schema([("n", pa.int64()), ("flag", pa.bool_())])
    route = Exchange(str(tmp_path), 5, schema)
    sent: dict[int, list[int]] = {partition: [] for partition in range(5)}
    for sender in (7, 3, 9):
        rows = list(range(sender * 100, sender * 100 + sender * 4 % 13))
        partition = np.array([n * 3 % 4 for n in rows], np.int64)
        route.send(sender, pa.table([rows, [n % 2 == 0 for n in rows]], schema=schema), partition)
        for n, p in zip(rows, partition.tolist(), strict=True):
            sent[p].append(n)
    for partition in range(5):
        received = route.receive([7, 3, 9], partition)
        assert received.schema == schema
        assert received["n"].to_pylist() == sent[partition]
        assert received["flag"].to_pylist() == [n % 2 == 0 for n in sent[partition]]
    assert route.receive([], 0).num_rows == 0


def test_partitions_are_even_and_bounded() -> None:
    keys = np.random.default_rng(0).integers(0, 2**64, 100_000, np.uint64)
    assert np.bincount(partition_of(keys, 7), minlength=7) == pytest.approx(100_000 / 7, rel=0.05)
    assert partition_of(np.array([0, 2**64 - 1], np.uint64), 7).tolist() == [0, 6]
    assert [partitions_for(n) for n in (0, 1, 1 << 22, (1 << 22) + 1)] == [1, 1, 1, 2]
