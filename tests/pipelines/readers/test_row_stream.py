"""A stream of rows: ranks and workers share them without a gap, and each goes on exactly where it was left."""

from __future__ import annotations

import json
import pickle
from collections import Counter
from collections.abc import Iterator
from itertools import islice
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gristmill import api
from gristmill.operators.errors import RecipeError, StoreDamaged
from gristmill.pipelines.readers.open_dataset import OpenDataset
from gristmill.pipelines.readers.row_order import RowOrder
from gristmill.pipelines.readers.row_stream import RowStream
from tests.pipelines.readers.folders import make_dataset, numbered

seeds = st.none() | st.integers(0, 2**64)
buffers = st.sampled_from([0, 1, 2, 5, 16, 1000])


@pytest.fixture(scope="module")
def datasets(tmp_path_factory: pytest.TempPathFactory) -> list[OpenDataset]:
    """One file and one row group; several of each, two files without rows among them; fewer rows than workers."""
    store = str(tmp_path_factory.mktemp("streams"))
    several = [[numbered(0, 10), numbered(10, 10)], [numbered(10, 17), numbered(17, 40), numbered(40, 40)]]
    urls = [
        make_dataset(store, "one", [[numbered(0, 37)]], group=100),
        make_dataset(store, "several", several),
        make_dataset(store, "few", [[numbered(0, 2)]]),
    ]
    return [api.open_dataset(url) for url in urls]


@given(data=st.data(), seed=seeds, buffer=buffers, epoch=st.integers(0, 3), drop_last=st.booleans())
@settings(deadline=None, max_examples=40)
def test_each_row_is_read_once_and_a_stream_goes_on_where_it_was_left(
    datasets: list[OpenDataset], data: st.DataObject, seed: int | None, buffer: int, epoch: int, drop_last: bool
) -> None:
    dataset = data.draw(st.sampled_from(datasets))
    world, workers = data.draw(st.integers(1, 3)), data.draw(st.integers(1, 3))
    options: dict[str, Any] = {"seed": seed, "shuffle_buffer": buffer, "epoch": epoch, "drop_last": drop_last}
    found: Counter[str] = Counter()
    lengths = []
    for rank in range(world):
        stream, shares = dataset.stream("id", rank=rank, world=world, **options), []
        for worker in range(workers):
            rows = [*stream.iterate(worker, workers)]
            left = data.draw(st.integers(0, len(rows)))
            assert [*islice(stream.iterate(worker, workers), left)] == rows[:left]
            state = json.loads(json.dumps(stream.state_dict()))
            other = pickle.loads(pickle.dumps(stream))
            other.set_epoch(epoch + 1)  # the state says which epoch it is of
            other.load_state_dict(state)
            assert [*other.iterate(worker, workers)] == rows[left:]
            found.update(rows)
            shares.append(len(rows))
        assert sum(shares) == stream.length(workers)
        lengths += shares
    assert max(found.values(), default=1) == 1
    if drop_last:
        assert {*lengths} == {dataset.rows // (world * workers)}
    else:
        assert len(found) == dataset.rows
        assert max(lengths) - min(lengths) <= 1


def batches_of_a_loader(stream: RowStream, batch_size: int, workers: int, drop_last: bool) -> Iterator[list[str]]:
    """What a DataLoader of torch gives: a batch of each worker in turn, of those that have one."""
    copies = [pickle.loads(pickle.dumps(begun)) for begun in [stream] * workers]
    readers = {worker: copies[worker].iterate(worker, workers) for worker in range(workers)}
    while readers:
        for worker, reader in [*readers.items()]:
            batch = [*islice(reader, batch_size)]
            if len(batch) < (batch_size if drop_last else 1):
                del readers[worker]
            else:
                yield batch


@given(data=st.data(), seed=seeds, workers=st.integers(1, 4), batch_size=st.integers(1, 6), drop_last=st.booleans())
@settings(deadline=None, max_examples=40)
def test_after_some_batches_of_a_loader_the_next_one_gives_the_others_in_their_order(
    datasets: list[OpenDataset], data: st.DataObject, seed: int | None, workers: int, batch_size: int, drop_last: bool
) -> None:
    dataset = data.draw(st.sampled_from(datasets))
    stream = dataset.stream("id", seed=seed, shuffle_buffer=5)
    batches = [*batches_of_a_loader(stream, batch_size, workers, drop_last)]
    taken = data.draw(st.integers(0, len(batches)))
    stream.load_state_dict(stream.state_after(taken, batch_size, workers, drop_last))
    assert [*batches_of_a_loader(stream, batch_size, workers, drop_last)] == batches[taken:]
    with pytest.raises(RecipeError, match=f"an epoch has {len(batches)} batches of {batch_size} rows"):
        stream.state_after(len(batches) + 1, batch_size, workers, drop_last)


def rows_of(dataset: OpenDataset, consumer: tuple[int, int, int, int], **options: Any) -> list[str]:
    rank, world, worker, workers = consumer
    return [*dataset.stream("id", rank=rank, world=world, **options).iterate(worker, workers)]


def test_the_order_depends_on_seed_epoch_and_number_of_consumers_alone(datasets: list[OpenDataset]) -> None:
    several = datasets[1]
    options = {"seed": 1, "shuffle_buffer": 8}
    assert rows_of(several, (0, 1, 2, 4), **options) == rows_of(several, (2, 4, 0, 1), **options)
    assert rows_of(several, (0, 1, 2, 4), **options) == rows_of(several, (1, 2, 0, 2), **options)
    orders = [rows_of(several, (0, 1, 0, 1), seed=seed, epoch=epoch) for seed in (1, 2, -1) for epoch in (0, 1)]
    assert len({tuple(order) for order in orders}) == len(orders)
    assert rows_of(several, (0, 1, 0, 1)) == [str(n) for n in range(40)], "without a seed as it lies in the files"
    # fixed for good: a state that was saved years ago is gone on from
    first = [int(id) for id in rows_of(several, (0, 1, 0, 1), **options)[:12]]
    assert first == [20, 13, 3, 6, 0, 29, 4, 7, 21, 30, 1, 14]
    assert len({number // 3 for number in first[:8]}) > 4, "of several row groups"


def test_all_orders_of_a_buffer_are_about_as_frequent() -> None:
    order = RowOrder(np.array([3]), seed=0, buffer=3)
    counts = Counter(tuple(order.shuffled_block(0, number, 3)) for number in range(6000))
    assert len(counts) == 6
    assert max(abs(count - 1000) for count in counts.values()) < 5 * np.sqrt(1000)


def test_rows_are_dictionaries_or_values(datasets: list[OpenDataset]) -> None:
    first = {"id": "0", "text": "text 0"}
    assert next(datasets[0].stream().iterate()) == first
    assert next(datasets[0].stream(["text"]).iterate()) == {"text": "text 0"}
    assert next(datasets[0].stream("text").iterate()) == "text 0"
    with pytest.raises(RecipeError, match="has no column txt; did you mean text"):
        datasets[0].stream("txt")
    with pytest.raises(RecipeError, match=r"name a column to read of .*; there is id, text"):
        datasets[0].stream([])


def test_a_state_of_another_stream_is_refused(datasets: list[OpenDataset]) -> None:
    one, several, _ = datasets
    state = several.stream("id", seed=1).state_after(2, 4, 2)
    with pytest.raises(
        RecipeError, match=r"another stream, with dataset 'several/.*' and not 'one/.*', rows 40 and not"
    ):
        one.stream("id", seed=1).load_state_dict(state)
    with pytest.raises(RecipeError, match="another stream, with seed 1 and not 2; open"):
        several.stream("id", seed=2).load_state_dict(state)
    again = several.stream("text", seed=1)  # another column has the same order
    again.load_state_dict(state)
    with pytest.raises(RecipeError, match="the state is of 2 workers, not 3"):
        again.iterate(0, 3)
    again.load_state_dict({**state, "positions": {"1": 4}})
    with pytest.raises(RecipeError, match="the state is of worker 1, not of worker 0"):
        again.iterate(0, 2)
    with pytest.raises(RecipeError, match="nothing was read in this process"):
        several.stream("id").state_dict()
    with pytest.raises(RecipeError, match="rank is 2; of 2 it must be from 0 to 1"):
        several.stream("id", rank=2, world=2)
    with pytest.raises(RecipeError, match="from 0 on, not -1 and 3"):
        several.stream("id", epoch=-1, shuffle_buffer=3)


def test_a_state_serves_one_pass_and_its_epoch(datasets: list[OpenDataset]) -> None:
    stream = datasets[1].stream("id", seed=1)
    whole = [*stream.iterate()]
    assert stream.state_dict()["positions"] == {"0": 40}
    stream.load_state_dict({**stream.state_dict(), "positions": {"0": 30}})
    assert stream.state_dict()["positions"] == {"0": 30}
    stream.set_epoch(0)
    assert [*stream.iterate()] == whole[30:]
    assert [*stream.iterate()] == whole
    stream.load_state_dict({**stream.state_dict(), "positions": {"0": 30}})
    stream.set_epoch(1)
    assert (stream.epoch, len([*stream.iterate()])) == (1, 40)


def test_a_file_that_is_not_what_was_written_is_told(tmp_path: Any) -> None:
    folder = make_dataset(str(tmp_path), "web", [[numbered(0, 9), numbered(9, 20)]])
    dataset = api.open_dataset(folder)
    stream, path = dataset.stream("id"), tmp_path / "datasets/web" / dataset.manifest["files"][1]["path"]
    content = path.read_bytes()
    path.write_bytes(content[:-30] + bytes(30))
    with pytest.raises(
        StoreDamaged, match=r"data-00001-of-00002.parquet cannot be read: .*. The next run of its recipe"
    ):
        list(stream.iterate())
    path.write_bytes(content + b"more")
    with pytest.raises(StoreDamaged, match=r"00001-of-00002.parquet has [\d,]+ bytes, not "):
        dataset.stream("id")
    path.unlink()
    with pytest.raises(StoreDamaged, match=r"data-00001-of-00002.parquet is gone"):
        dataset.stream("id")
