"""The exchange of rows between shards and partitions."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gristmill.operators import columns
from gristmill.operators.arrays import partition_of
from gristmill.pipelines.config.tuning import tuned
from gristmill.pipelines.exchange.merged_blocks import division
from gristmill.pipelines.exchange.shuffle import Exchange, partitions_for, shard_of
from tests.pipelines.decide.fakes import ShufflingEngine

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


@settings(max_examples=30, deadline=None)
@given(st.lists(st.lists(st.integers(0, 6), max_size=30), max_size=4))
def test_parts_are_received_as_if_they_were_sent_at_once(
    tmp_path_factory: pytest.TempPathFactory, parts: list[list[int]]
) -> None:
    folder = tmp_path_factory.mktemp("exchange")
    whole = np.array([partition for part in parts for partition in part], np.int64)
    rows = pa.table([whole, np.arange(len(whole))], schema=SCHEMA)
    exchange, done = Exchange(str(folder), 7, SCHEMA), 0
    exchange.send(0, rows, whole)
    with exchange.sending(1) as sending:
        for part in parts:
            sending.send(rows.slice(done, len(part)), np.array(part, np.int64))
            done += len(part)
    assert sending.digest == exchange.digest(1)
    for partition in range(7):
        assert exchange.receive([1], partition) == exchange.receive([0], partition)
    with pytest.raises(ValueError, match="the machine burns"), exchange.sending(2):
        raise ValueError("the machine burns")
    with pytest.raises(FileNotFoundError):
        exchange.digest(2)


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


MIXED = pa.schema([("at", pa.uint64()), ("flag", pa.bool_()), ("evidence", pa.large_list(pa.uint64()))])


@settings(max_examples=60, deadline=None)
@given(data=st.data(), seed=st.integers(0, 1000), partitions=st.integers(1, 12), group=st.integers(1, 5))
def test_two_steps_bring_what_one_does(
    data: st.DataObject, seed: int, partitions: int, group: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Whoever asks, for some senders or for all; tasks that merge run in any order, some of them twice."""
    rng = np.random.default_rng(seed)
    senders: list[int] = data.draw(st.lists(st.integers(0, 99), min_size=1, max_size=12, unique=True))
    plain = Exchange(str(tmp_path_factory.mktemp("exchange")), partitions, MIXED)
    for sender in senders:
        n = int(rng.choice([0, 1, 30]))
        at, flags = pa.array(rng.integers(0, 1 << 60, n, np.uint64)), pa.array(rng.random(n) < 0.5)
        lists = pa.array([list(range(i % 4)) for i in range(n)], pa.large_list(pa.uint64()))
        rows = pa.table([at, flags, lists], schema=MIXED)
        plain.send(sender, rows, rng.integers(0, data.draw(st.integers(1, partitions)), n))
    merged, cut = plain, data.draw(st.integers(0, len(senders)))
    held = data.draw(st.sampled_from([200, 2000, 1 << 29]))
    with tuned(exchange_blocks=0, exchange_group=group, exchange_bytes=held):
        for part in (senders[:cut], senders[cut:]):
            merged = merged.merged(part, ShufflingEngine(seed))
    assert len(merged.merges) == (cut > 0) + (cut < len(senders))
    some = data.draw(st.lists(st.sampled_from(senders), unique=True))
    for asked in (senders, senders[cut:], senders[:cut], senders[::-1], some):
        for partition in range(partitions):
            assert merged.receive(asked, partition) == plain.receive(asked, partition)


def test_few_blocks_and_on_a_disk_large_ones_take_one_step(tmp_path: Path) -> None:
    exchange = Exchange(str(tmp_path), 4, SCHEMA)
    for sender in range(3):
        exchange.send(sender, pa.table([[0, 1], [0, 0]], schema=SCHEMA), np.array([0, 3]))
    for kept in ({"exchange_blocks": 12}, {"exchange_blocks": 11, "exchange_block_bytes": 100}):
        with tuned(**kept):
            assert exchange.merged(range(3), ShufflingEngine()) is exchange
    with tuned(exchange_blocks=11):
        assert len(exchange.merged(range(3), ShufflingEngine()).merges) == 1


def test_a_task_that_merges_holds_so_many_bytes_about() -> None:
    with tuned(exchange_bytes=10**9, exchange_group=256):
        assert division([50] * 1000, 100) == (1, [256, 512, 768, 1000])
        ranges, ends = division([115_000_000] * 25_000, 7031)
        assert 2 * 25_000 * ranges + 7031 * len(ends) < 2_100_000, "requests for ten billion documents"
        groups = np.diff([0, *ends])
        assert groups.max() * 115e6 / ranges <= 1e9
        uneven = [10, 10, 3 * 10**9, 10, 10]
        assert division(uneven, 1) == (1, [2, 3, 5]), "a file that is larger than that is a group"
