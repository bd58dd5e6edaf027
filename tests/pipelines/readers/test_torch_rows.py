"""Streams inside the loaders of torch and torchdata: left at any batch, the next loader gives exactly the others."""

from __future__ import annotations

from typing import Any

import pytest

from gristmill import api
from tests.pipelines.readers.folders import make_dataset, numbered

pytestmark = pytest.mark.lm
OPTIONS: dict[str, Any] = {"seed": 5, "shuffle_buffer": 8}


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The folder of 45 rows in two files, which two workers do not share evenly."""
    return make_dataset(str(tmp_path_factory.mktemp("torch")), "web", [[numbered(0, 17), numbered(17, 45)]])


def batches(loader: Any) -> list[list[str]]:
    return [list(batch) for batch in loader]


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("drop_last", [False, True])
def test_a_plain_loader(url: str, workers: int, drop_last: bool) -> None:
    from torch.utils.data import DataLoader

    web = api.open_dataset(url)
    options = {"batch_size": 4, "num_workers": workers, "drop_last": drop_last}
    whole = batches(DataLoader(web.torch("id", **OPTIONS), **options))
    rows = [id for batch in whole for id in batch]
    assert len(rows) == len({*rows}) == (44 if drop_last and not workers else 40 if drop_last else 45)
    for taken in range(len(whole) + 1):
        rows = web.torch("id", **OPTIONS)
        rows.load_state_dict(rows.state_after(taken, 4, workers, drop_last))
        assert batches(DataLoader(rows, **options)) == whole[taken:]


def test_the_state_of_the_process_that_reads(url: str) -> None:
    from torch.utils.data import DataLoader

    web = api.open_dataset(url)
    first, second = web.torch(**OPTIONS), web.torch(**OPTIONS)
    assert list(next(iter(DataLoader(first, batch_size=4)))) == ["id", "text"]
    assert first.state_dict()["positions"] == {"0": 4}
    second.load_state_dict(first.state_dict())
    left = [id for batch in DataLoader(second, batch_size=4) for id in batch["id"]]
    assert len(left) == len({*left}) == 41


@pytest.mark.parametrize("workers", [0, 2])
def test_a_stateful_loader(url: str, workers: int) -> None:
    from torchdata.stateful_dataloader import StatefulDataLoader

    web = api.open_dataset(url)

    def loader() -> Any:
        return StatefulDataLoader(web.torch("id", **OPTIONS), batch_size=4, num_workers=workers)

    whole = batches(loader())
    for taken in range(len(whole)):
        first = loader()
        reader = iter(first)
        assert [list(next(reader)) for _ in range(taken)] == whole[:taken]
        second = loader()
        second.load_state_dict(first.state_dict())
        assert batches(second) == whole[taken:]


@pytest.mark.parametrize("persistent", [False, True])
def test_epochs_and_a_state_reach_workers(url: str, persistent: bool) -> None:
    from torch.utils.data import DataLoader

    web, options = api.open_dataset(url), {"batch_size": 4, "num_workers": 2}
    epochs = [batches(DataLoader(web.torch("id", epoch=epoch, **OPTIONS), **options)) for epoch in range(3)]
    rows = web.torch("id", epoch=1, **OPTIONS)
    state = rows.state_after(5, 4, 2)
    rows.set_epoch(0)
    loader = DataLoader(rows, persistent_workers=persistent, **options)
    if not persistent:  # workers that outlive a pass have their copy before a state is loaded
        rows.load_state_dict(state)
        assert batches(loader) == epochs[1][5:]
        assert batches(loader) == epochs[1], "a state serves one pass"
    for epoch in (2, 0, 1):
        rows.set_epoch(epoch)
        assert batches(loader) == epochs[epoch]


def test_ranks_with_workers(url: str) -> None:
    from torch.utils.data import DataLoader

    web = api.open_dataset(url)
    found = []
    for rank in range(2):
        loader = DataLoader(web.torch("id", rank=rank, world=2, drop_last=True, **OPTIONS), batch_size=3, num_workers=2)
        found.append(batches(loader))
    assert [[len(batch) for batch in of_rank] for of_rank in found] == 2 * [[3] * 6 + [2] * 2], "as many on all ranks"
    ids = [id for of_rank in found for batch in of_rank for id in batch]
    assert len(ids) == len({*ids}) == 44
