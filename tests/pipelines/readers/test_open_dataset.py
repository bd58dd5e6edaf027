"""A dataset in the forms that programs read: all of them have the same rows, those of all nights."""

from __future__ import annotations

import sys
from pathlib import Path

import pyarrow as pa
import pytest

from gristmill import api
from gristmill.operators.errors import RecipeError
from gristmill.pipelines.readers.open_dataset import OpenDataset
from tests.pipelines.readers.folders import make_dataset, numbered


@pytest.fixture(scope="module")
def web(tmp_path_factory: pytest.TempPathFactory) -> OpenDataset:
    """Two nights, the second with another column, in a folder whose name DuckDB would take for a glob."""
    store = str(tmp_path_factory.mktemp("st[o]re"))
    nights = [[numbered(0, 4)], [numbered(4, 9, quality=float), numbered(9, 20, quality=float)]]
    return api.open_dataset(make_dataset(store, "web", nights, columns_changed=True))


ROWS = [{"id": str(n), "text": f"text {n}", "quality": float(n) if n > 3 else None} for n in range(20)]


def test_what_is_told_of_it(web: OpenDataset) -> None:
    assert (web.version, web.rows, len(web.paths)) == ("000002-000000000002", 20, 3)
    assert web.schema == pa.schema([("id", pa.string()), ("text", pa.string()), ("quality", pa.float64())])
    assert repr(web) == f"<dataset {web.url}, version 000002-000000000002: 20 rows in 3 files>"
    first = api.open_dataset(web.url, "000001-000000000001")
    assert (first.rows, first.schema.names) == (4, ["id", "text"])
    added = api.open_dataset(f"{web.url}/", only_new=True)
    assert [*added.stream("id").iterate()] == added.arrow().to_table()["id"].to_pylist() == [*map(str, range(4, 20))]


def test_arrow_and_streams(web: OpenDataset) -> None:
    assert web.arrow().to_table().to_pylist() == ROWS
    assert [*web.stream().iterate()] == ROWS
    assert [*web.stream("quality").iterate()] == [row["quality"] for row in ROWS]


def test_pandas(web: OpenDataset) -> None:
    frame = web.pandas(["quality", "id"])
    assert list(frame.columns) == ["quality", "id"]
    assert (len(frame), frame["quality"].isna().sum(), frame["quality"].sum()) == (20, 4, sum(range(4, 20)))
    with pytest.raises(RecipeError, match="has no column qualty; did you mean quality"):
        web.pandas(["qualty"])


def test_duckdb(web: OpenDataset) -> None:
    assert web.duckdb().order("id::int").to_arrow_table().to_pylist() == ROWS
    assert web.duckdb().filter("quality > 10").aggregate("count(*)").fetchall() == [(9,)]


def test_polars(web: OpenDataset) -> None:
    import polars

    assert web.polars().collect().to_dicts() == ROWS
    assert web.polars().filter(polars.col("quality") > 10).select("id").collect().height == 9


def test_huggingface(web: OpenDataset) -> None:
    rows = web.huggingface()
    assert (list(rows), rows.num_shards) == (ROWS, 3)


def test_stores_elsewhere() -> None:
    url = make_dataset("memory://readers", "web", [[numbered(0, 10)]])
    web = api.open_dataset(url)
    ids = [str(n) for n in range(10)]
    assert web.arrow().to_table()["id"].to_pylist() == [*web.stream("id").iterate()] == ids
    assert sorted(id for (id,) in web.duckdb().project("id").fetchall()) == ids
    if "polars" in sys.modules:
        assert web.polars().select("id").collect()["id"].to_list() == ids


def test_a_version_that_added_nothing(tmp_path: Path) -> None:
    folder = make_dataset(str(tmp_path), "web", [[numbered(0, 3)], []])
    added = api.open_dataset(folder, only_new=True)
    assert (added.rows, added.schema.names) == (0, ["id", "text"])
    assert added.arrow().to_table().num_rows == 0
    assert [*added.stream(seed=1).iterate()] == []


def test_a_library_that_is_not_there_is_named(web: OpenDataset, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("polars", "datasets", "torch"):
        monkeypatch.setitem(sys.modules, name, None)
    for form in (web.polars, web.huggingface, web.torch):
        with pytest.raises(RecipeError, match=r"takes the library (polars|datasets|torch): pip install \1"):
            form()
