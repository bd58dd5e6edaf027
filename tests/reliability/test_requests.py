"""What a run asks of an object store: how many requests, and what becomes of it where some of them fail."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import yaml

from gristmill.operators.errors import GaveUp, ShardError
from gristmill.pipelines.config.tuning import tuned
from gristmill.pipelines.engine.local import LocalEngine
from gristmill.pipelines.exchange.shuffle import Exchange
from gristmill.pipelines.sources.discover import discover
from gristmill.pipelines.sources.read import read_shard
from gristmill.pipelines.sources.spec import Source
from gristmill.pipelines.storage import files, remote
from tests.reliability.command import gristmill, tree
from tests.reliability.object_store import ObjectStore, bucket
from tests.support import make_documents, write_jsonl

BUCKET = "s3://counted"
SHARDS = 3
DECIDE = [
    {"drop": "gopher_words < 40"},
    {"exact_dedup": "longest"},
    {"fuzzy_dedup": {"threshold": 0.8}},
    {"select": {"by": "gopher_words", "documents": 200}},
]


@pytest.fixture(scope="module")
def server() -> Iterator[ObjectStore]:
    with bucket(BUCKET) as (store, _):
        yield store


@pytest.fixture
def recipe(tmp_path: Path, make_recipe: Callable[..., Path]) -> Path:
    documents = make_documents(600)
    for i in range(SHARDS):
        write_jsonl(tmp_path / "data" / f"docs-{i}.jsonl", documents[i * 200 : (i + 1) * 200])
    return make_recipe(tmp_path, decide=DECIDE)


@pytest.fixture
def on_s3(server: ObjectStore, recipe: Path) -> Iterator[Path]:
    """The recipe with its source and its store in the bucket, which is emptied afterwards."""
    fs, _ = files.filesystem(BUCKET)
    fs.put(str(recipe.parent / "data"), f"{BUCKET}/data", recursive=True)
    held = yaml.safe_load(recipe.read_text())
    held["store"] = f"{BUCKET}/store"
    held["sources"][0]["path"] = f"{BUCKET}/data/docs-*"
    path = recipe.with_name("on-s3.yaml")
    path.write_text(yaml.safe_dump(held, sort_keys=False))
    server.clear()
    yield path
    server.share = 0.0
    fs.invalidate_cache()
    fs.rm([f"{BUCKET}/{name}" for name in files.names(BUCKET)], recursive=True)


def data_files(folder: Path) -> dict[str, bytes]:
    return {name: content for name, content in tree(folder).items() if name.endswith(".parquet")}


def test_few_requests_and_none_twice(server: ObjectStore, on_s3: Path) -> None:
    code, _, err = gristmill("run", on_s3)
    assert code == 0, err
    assert len(server.requests) <= 60 + 10 * SHARDS, server.requests
    server.clear()
    code, out, err = gristmill("run", on_s3, "--json")
    assert code == 0, err
    assert json.loads(out)["cached"] is True
    assert len(server.requests) <= 30, server.requests


def test_a_tenth_of_the_requests_may_fail(server: ObjectStore, recipe: Path, on_s3: Path, tmp_path: Path) -> None:
    assert gristmill("run", recipe)[0] == 0
    server.share = 0.1
    code, _, err = gristmill("run", on_s3)
    assert code == 0, err
    assert server.failed > 0
    assert len(server.requests) - server.failed <= 60 + 10 * SHARDS, "a request is made again, and no more than that"
    server.share = 0.0
    fs, _ = files.filesystem(BUCKET)
    fs.invalidate_cache()
    fs.get(f"{BUCKET}/store", str(tmp_path / "downloaded"), recursive=True)
    remote = data_files(tmp_path / "downloaded" / "datasets")
    assert remote == data_files(recipe.parent / "store" / "datasets") != {}


def test_a_store_that_always_fails_is_named_with_how_often_it_was_tried(
    server: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:

    pauses: list[float] = []
    monkeypatch.setattr(remote.time, "sleep", pauses.append)
    server.clear()
    server.share = 1.0
    try:
        with pytest.raises(GaveUp, match=rf"{BUCKET}/x cannot be reached.*It was tried {remote.TRIES} times"):
            files.read_bytes(f"{BUCKET}/x")
    finally:
        server.share = 0.0
    assert len(server.requests) == remote.TRIES, "no library below tries on its own"
    assert all(low <= pause <= 2 * low for pause, low in zip(pauses, [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0], strict=True))


def test_a_file_that_changes_after_it_was_listed_is_noticed_without_asking(server: ObjectStore) -> None:
    fs, _ = files.filesystem(BUCKET)
    fs.pipe_file(f"{BUCKET}/changing.jsonl", b'{"text": "before"}\n')
    source = Source(name="docs", path=f"{BUCKET}/changing.jsonl")
    (spec,) = discover([source], "/")
    server.clear()
    (batch,) = read_shard(spec, source)
    assert batch.documents["text"].to_pylist() == ["before"]
    assert len(server.requests) == 1
    fs.pipe_file(f"{BUCKET}/changing.jsonl", b'{"text": "behind"}\n')
    with pytest.raises(ShardError, match="was changed after the run had listed it"):
        list(read_shard(spec, source))
    fs.rm_file(f"{BUCKET}/changing.jsonl")
    with pytest.raises(ShardError, match="was listed but is gone"):
        list(read_shard(spec, source))


def test_a_small_file_is_one_request_each_time_it_is_read(server: ObjectStore, on_s3: Path) -> None:
    fs, _ = files.filesystem(BUCKET)
    for i, document in enumerate(make_documents(70)):
        fs.pipe_file(f"{BUCKET}/data/docs-small-{i:02d}.jsonl", json.dumps(document).encode())
    server.clear()
    path = f"sources.docs.path={BUCKET}/data/docs-small-*"
    code, _, err = gristmill("run", on_s3, "--set", path, "--set", "decide.select.documents=10")
    assert code == 0, err
    of_data = [request for request in server.requests if "/data/docs-small-" in request]
    assert 2 * 70 <= len(of_data) <= 2 * 70 + 3, "once to measure and once to write, some to look at their fields"
    assert len(server.requests) - len(of_data) <= 60 + 10


@pytest.mark.parametrize(("senders", "group", "ranges", "parts"), [(20, 8, 1, 1), (20, 8, 2, 1), (20, 8, 1, 3)])
def test_an_exchange_asks_as_often_as_docs_scaling_says(
    server: ObjectStore, senders: int, group: int, ranges: int, parts: int
) -> None:
    schema, partitions, rows = pa.schema([("n", pa.int64())]), 6, 60
    exchange = Exchange(f"{BUCKET}/exchange", partitions, schema)
    engine = LocalEngine(4)
    server.clear()
    for sender in range(senders):
        table = pa.table([np.arange(rows) + rows * sender], schema=schema)
        if parts == 1:
            exchange.send(sender, table, np.arange(rows) % partitions)
            continue
        with exchange.sending(sender) as sending:  # as tokens are sent to be packed
            for part in range(parts):
                of_part = np.arange(part, rows, parts)
                sending.send(table.take(of_part), of_part % partitions)
    assert len(server.requests) == senders, "a file each"
    server.clear()
    received = exchange.receive(range(senders), 4)
    assert len(server.requests) == 2 * senders, "the place of a block and the block"
    server.clear()
    # a file has about 2 kB; with fewer than a sixth of six files in a task, two ranges are fewest requests
    with tuned(exchange_blocks=0, exchange_group=group, exchange_bytes=1_000_000 if ranges == 1 else 1500 * group // 8):
        merged = exchange.merged(range(senders), engine)
    ((_, blocks),) = merged.merges
    assert len(blocks.bounds) == ranges + 1
    listed, read = 1, senders if ranges == 1 else 2 * senders * ranges
    assert len(server.requests) == listed + read + blocks.groups * ranges + 1
    server.clear()
    assert merged.receive(range(senders), 4) == received
    assert len(server.requests) == 1 + blocks.groups
    exchange.remove()
