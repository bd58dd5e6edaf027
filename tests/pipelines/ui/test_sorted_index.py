"""Addresses by id: those that reading all ids gives; shards that are there are not read again."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

import gristmill
from gristmill.operators import columns
from gristmill.pipelines.store.run_records import RunRecords, Standing
from gristmill.pipelines.ui import sorted_index
from gristmill.pipelines.ui.sorted_index import SortedIndex

pytestmark = pytest.mark.xdist_group("ui")  # one store for all


@pytest.fixture(scope="module")
def standing(store: str) -> list[Standing]:
    return RunRecords(store).standing()


def test_it_finds_the_documents_that_the_store_has(
    tmp_path: Path, store: str, standing: list[Standing], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sorted_index, "SORTED_AT_ONCE", 100)  # several files
    index = SortedIndex(tmp_path / "ids", columns.ID)
    assert index.lacks(standing)
    told: list[tuple[int, int]] = []
    index.update(standing, lambda *progress: told.append(progress))
    assert told == [(0, 320), (80, 320), (160, 320), (240, 320), (320, 320)]
    assert not index.lacks(standing)
    rows = gristmill.query(store, "SELECT id, address FROM documents").to_pylist()
    known = sorted((row["id"], row["address"]) for row in rows)
    for id, _ in random.Random(0).sample(known, 40):
        assert index.find(id, 100) == sorted(address for other, address in known if other == id)
    assert index.find("nobody", 10) == []
    every = {row["ordinal"] for row in standing[0].shards}
    for prefix in ("doc-0-0001", "doc-0-00015", "d", "x", "'", "%", "\U0010ffff"):
        expected = [each for each in known if each[0].startswith(prefix)][:7]
        assert index.begin_with(prefix, 7, every) == expected
    first = min(every)
    expected = [each for each in known if each[1] >> columns.ROW_BITS == first][:5]
    assert index.begin_with("doc", 5, {first}) == expected


def test_content_ids_are_found_by_their_bytes(tmp_path: Path, store: str, standing: list[Standing]) -> None:
    index = SortedIndex(tmp_path / "contents", columns.CONTENT_ID)
    index.update(standing, lambda *_: None)
    rows = gristmill.query(store, "SELECT content_id, list_sort(list(address)) AS a FROM documents GROUP BY ALL")
    for row in rows.to_pylist()[:20]:
        assert index.find(bytes.fromhex(row["content_id"]), 100) == row["a"]


def test_shards_that_are_there_are_not_read_again(tmp_path: Path, standing: list[Standing]) -> None:
    some = [stands.only({0, 1}) for stands in standing]
    SortedIndex(tmp_path / "ids", columns.ID).update(some, lambda *_: None)
    index = SortedIndex(tmp_path / "ids", columns.ID)  # as another process finds it
    assert not index.lacks(some)
    told: list[tuple[int, int]] = []
    index.update(standing, lambda *progress: told.append(progress))
    assert told == [(0, 160), (160, 160)]
