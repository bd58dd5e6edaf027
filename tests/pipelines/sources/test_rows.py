"""Reading a shard again for some of its rows: the second look that write takes at the survivors."""

from __future__ import annotations

import csv
import gzip
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gristmill.pipelines.sources.discover import discover
from gristmill.pipelines.sources.read import read_shard
from gristmill.pipelines.sources.spec import Source

RECORDS = [{"id": f"d{i}", "text": f"text {i} " * (i % 5)} if i % 7 else {"id": f"d{i}"} for i in range(300)]


def write(path: Path) -> Path:
    """The records in a file of the format that its name says; every seventh has no text."""
    if path.suffix == ".parquet":
        pq.write_table(
            pa.Table.from_pylist(RECORDS, pa.schema([("id", pa.string()), ("text", pa.string())])),
            path,
            row_group_size=50,
        )
    elif path.suffix == ".csv":
        with path.open("w", newline="") as file:
            csv.writer(file).writerows([["id", "text"], *([r["id"], r.get("text", "")] for r in RECORDS)])
    elif path.suffix == ".gz":
        path.write_bytes(gzip.compress("\n\n".join(map(json.dumps, RECORDS)).encode()))
    else:
        path.write_text(json.dumps(RECORDS))
    return path


@pytest.mark.parametrize("name", ["a.jsonl.gz", "a.json", "a.csv", "a.parquet"])
@pytest.mark.parametrize("step", [1, 3, 40, 1000])
def test_the_rows_asked_for_are_what_the_whole_shard_holds(tmp_path: Path, name: str, step: int) -> None:
    source = Source(name="s", path=str(write(tmp_path / name)))
    (spec,) = discover([source], ".")
    whole = pa.Table.from_batches([b.documents for b in read_shard(spec, source, batch_rows=32)])
    wanted = whole["row"].to_numpy()[1::step].astype(np.uint32)
    some = list(read_shard(spec, source, columns=(), rows=wanted, batch_rows=32))
    found = pa.Table.from_batches([b.documents for b in some])
    assert found["row"].to_pylist() == wanted.tolist()
    assert found["text"].to_pylist() == whole["text"].to_pylist()[1::step]
    assert not any(b.rejects for b in some)


def test_no_rows_read_nothing(tmp_path: Path) -> None:
    source = Source(name="s", path=str(write(tmp_path / "a.jsonl.gz")))
    (spec,) = discover([source], ".")
    assert sum(b.documents.num_rows for b in read_shard(spec, source, rows=np.zeros(0, np.uint32))) == 0
