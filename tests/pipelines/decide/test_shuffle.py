"""The exchange of rows between shards and partitions."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from gristmill.operators import columns
from gristmill.operators.arrays import partition_of
from gristmill.pipelines.decide.shuffle import Exchange, partitions_for, shard_of

SCHEMA = pa.schema([("partition", pa.int64()), ("at", pa.int64())])


@pytest.mark.parametrize("partitions", [1, 2, 256, 257, 70_000])
def test_every_row_arrives_in_order(partitions: int, tmp_path: Path) -> None:
    rng = np.random.default_rng(partitions)
    exchange = Exchange(str(tmp_path), partitions, SCHEMA)
    sent = {}
    for sender, n in ((7, 500), (2, 0), (3, 40)):
        sent[sender] = np.append(rng.integers(0, partitions, n), [partitions - 1] * (n > 0)).astype(np.int64)
        at = pa.array(np.arange(len(sent[sender])))
        exchange.send(sender, pa.table([pa.array(sent[sender]), at], schema=SCHEMA), sent[sender])
    for partition in {0, 1 % partitions, partitions // 2, partitions - 1}:
        rows = exchange.receive([3, 2, 7], partition).to_pylist()
        expected = [(partition, int(at)) for sender in (3, 2, 7) for at in np.flatnonzero(sent[sender] == partition)]
        assert [(row["partition"], row["at"]) for row in rows] == expected


def test_what_a_sender_keeps(tmp_path: Path) -> None:
    exchange = Exchange(str(tmp_path / "kept"), 1, SCHEMA)
    table = pa.table([[0, 0], [5, 3]], schema=SCHEMA)
    exchange.keep(4, table)
    exchange.keep(5, SCHEMA.empty_table())
    assert exchange.receive([4, 5], 0) == table
    exchange.remove()
    exchange.remove()
    assert not (tmp_path / "kept").exists()


def test_partitions_of_keys_and_of_addresses() -> None:
    keys = np.array([0, 1 << 32, (1 << 63) - 1, 1 << 63, (1 << 64) - 1], np.uint64)
    assert partition_of(keys, 2).tolist() == [0, 0, 0, 1, 1]
    addresses = np.array([columns.address(*at) for at in ((9, 0), (2, (1 << 32) - 1), (2, 0), (4, 7))], np.uint64)
    assert shard_of(np.array([2, 4, 9]), addresses).tolist() == [2, 0, 0, 1]


def test_many_senders_have_fewer_partitions_so_that_blocks_stay_large():
    assert partitions_for(180 * 10**9, weight=4) == -(-180 * 10**9 * 4 // (1 << 22))
    assert partitions_for(180 * 10**9, senders=25_000, weight=4) == -(-180 * 10**9 // (1024 * 25_000))
    assert partitions_for(10, senders=1000) == partitions_for(0, senders=1) == 1
