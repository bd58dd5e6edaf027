from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import given
from hypothesis import strategies as st

from gristmill.pipelines.sinks import parquet
from gristmill.pipelines.sinks.parquet import regroup, row_groups, write_dataset_file


def test_row_groups_close_before_the_limit() -> None:
    limit = parquet.ROW_GROUP_BYTES
    lengths = np.array([limit // 2, limit // 2, 1, 3 * limit, 5], np.uint64)
    assert row_groups(lengths) == [2, 1, 1, 1]
    assert row_groups(np.ones(parquet.ROW_GROUP_ROWS + 1, np.uint64)) == [parquet.ROW_GROUP_ROWS, 1]
    assert row_groups(np.zeros(0, np.uint64)) == []


@given(st.lists(st.integers(0, 5), max_size=20), st.lists(st.integers(1, 6), max_size=10))
def test_regrouping_keeps_rows_and_order(chunks: list[int], sizes: list[int]) -> None:
    total = sum(sizes)
    whole = pa.table({"x": list(range(total + sum(chunks)))})
    borders = np.cumsum([0, *chunks])
    tables = [whole.slice(a, b - a) for a, b in pairwise(borders)] + [whole.slice(borders[-1])]
    grouped = list(regroup(tables, sizes))
    assert [t.num_rows for t in grouped] == sizes
    assert [x for t in grouped for x in t["x"].to_pylist()] == list(range(total))


def test_bytes_do_not_depend_on_how_rows_arrive(tmp_path: Path) -> None:
    table = pa.table({"text": [f"text number {i % 50}" for i in range(5000)], "n": list(range(5000))})
    sizes = [3000, 2000]
    pieces = [table.slice(i, 77) for i in range(0, 5000, 77)]
    one = write_dataset_file(str(tmp_path / "one"), table.schema, regroup([table], sizes), 1)
    many = write_dataset_file(str(tmp_path / "many"), table.schema, regroup(pieces, sizes), 1)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "many").read_bytes()
    assert one.digest == many.digest
    assert one.rows == 5000
    assert one.bytes == (tmp_path / "one").stat().st_size
    assert pq.read_table(tmp_path / "one").equals(table)
    assert pq.ParquetFile(tmp_path / "one").metadata.num_row_groups == 2
