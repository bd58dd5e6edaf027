"""How far a shard is, while it is read."""

from __future__ import annotations

import gzip
import json
import random
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gristmill.pipelines.config.tuning import tuned
from gristmill.pipelines.progress.reading import AT_WORK, Reached, share_read
from gristmill.pipelines.shard_tasks import measure
from gristmill.pipelines.shard_tasks.measure import MeasureShard
from gristmill.pipelines.sources.discover import discover
from gristmill.pipelines.sources.read import read_shard
from gristmill.pipelines.sources.spec import Source
from gristmill.pipelines.store.registry import Shard

ROWS = 4000
RECORDS = [{"id": str(i), "text": random.Random(i).randbytes(600).hex()} for i in range(ROWS)]


@pytest.fixture(params=["a.jsonl", "a.jsonl.gz", "a.parquet"])
def corpus(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    path = tmp_path / request.param
    lines = "".join(json.dumps(record) + "\n" for record in RECORDS).encode()
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(RECORDS), path, row_group_size=500)
    else:
        path.write_bytes(gzip.compress(lines, 1) if path.suffix == ".gz" else lines)
    return path


def test_the_share_that_is_read_grows_from_nothing_to_all(corpus: Path) -> None:
    source = Source(name="docs", path=str(corpus))
    ((spec, *_),) = [discover([source], "/")]
    shares, rows = [], 0
    for batch in read_shard(spec, source, batch_rows=100):
        rows += batch.documents.num_rows
        shares.append((rows / ROWS, share_read()))
    assert shares == sorted(shares)
    assert len({share for _, share in shares}) > 3
    assert shares[-1][1] == pytest.approx(1.0)
    assert all(abs(share - read) < 0.3 for read, share in shares[len(shares) // 4 :])  # readers read ahead


def test_measuring_says_how_far_it_is_and_leaves_nothing_behind(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = Source(name="docs", path=str(corpus))
    ((spec, *_),) = [discover([source], "/")]
    said: list[Reached] = []

    class Noted(dict[str, Reached]):
        def __setitem__(self, key: str, value: Reached) -> None:
            said.append(value)
            super().__setitem__(key, value)

    noted = Noted()
    monkeypatch.setattr(measure, "AT_WORK", noted)
    task = MeasureShard(Shard(0, spec, source), (), (), True, str(tmp_path / "out.parquet"))
    with tuned(batch_rows=100):
        counts = task.run()
    assert [reached.documents for reached in said] == sorted(reached.documents for reached in said)
    assert said[0].documents == 0
    assert counts.documents - 100 <= said[-1].documents <= counts.documents == ROWS
    assert not noted
    assert not AT_WORK
