from __future__ import annotations

import bz2
import csv
import gzip
import json
import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gristmill.operators.errors import RecipeError
from gristmill.pipelines.sources.discover import discover
from gristmill.pipelines.sources.read import derived_id, derived_ids, read_documents, read_shard
from gristmill.pipelines.sources.spec import Source
from tests.pipelines.sources.reading import as_lines, read

DRAW = random.Random(5)
TEXTS = ["".join(DRAW.choices("aé漢 \n", k=DRAW.randrange(60))) for _ in range(400)]
RECORDS: list[dict[str, Any]] = [{"id": f"d{i}", "text": text, "n": i} for i, text in enumerate(TEXTS)]
BAD = DRAW.sample(range(400), 40)


def records(*, damaged: bool) -> list[dict[str, Any]]:
    return [{**r, "text": None} if damaged and i in BAD else r for i, r in enumerate(RECORDS)]


def write_csv(path: Path) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([["id", "text", "n"], *(r.values() for r in RECORDS)])


def write_wet(path: Path) -> None:
    def record(r: dict[str, Any]) -> bytes:
        content = r["text"].encode()
        head = (
            f"WARC/1.0\r\nWARC-Type: conversion\r\nWARC-Record-ID: {r['id']}\r\nContent-Length: {len(content)}\r\n\r\n"
        )
        return head.encode() + content + b"\r\n\r\n"

    path.write_bytes(b"".join(map(record, RECORDS)))


WRITERS: dict[str, Callable[[Path], Any]] = {
    "docs.jsonl": lambda path: path.write_bytes(as_lines(records(damaged=True))),
    "docs.jsonl.gz": lambda path: path.write_bytes(gzip.compress(as_lines(records(damaged=True)))),
    "docs.jsonl.bz2": lambda path: path.write_bytes(bz2.compress(as_lines(records(damaged=True)))),
    "docs.json": lambda path: path.write_text(json.dumps(records(damaged=True))),
    "docs.parquet": lambda path: pq.write_table(pa.Table.from_pylist(records(damaged=True)), path, row_group_size=37),
    "docs.csv": write_csv,
    "docs.wet": write_wet,
}


@pytest.mark.parametrize("name", WRITERS)
def test_the_size_of_batches_changes_nothing(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    WRITERS[name](path)
    whole = read(path)
    bad = sorted(BAD) if "parquet" in name or "json" in name else []
    expected = [(i, r["id"], r["text"]) for i, r in enumerate(RECORDS) if i not in bad]
    assert [(d["row"], d["id"], d["text"]) for d in whole.documents] == expected
    assert whole.reasons == [(i, "null_text") for i in bad]
    for batch_bytes, batch_rows in [(1, 1000), (1000, 7), (10**9, 1), (500, 50)]:
        assert read(path, sizes={"batch_bytes": batch_bytes, "batch_rows": batch_rows}) == whole
    assert read(path) == whole


@pytest.mark.parametrize("name", WRITERS)
def test_batches_hold_no_more_than_asked_for(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    WRITERS[name](path)
    source = Source(name="docs", path=str(path))
    (spec,) = discover([source], "/")
    for batch in read_shard(spec, source, batch_bytes=1000, batch_rows=25):
        assert batch.documents.num_rows + len(batch.rejects) <= 25
        lengths = [len(text.encode()) for text in batch.documents["text"].to_pylist()]
        assert sum(lengths[:-1]) < 1000


@pytest.mark.parametrize("name", WRITERS)
def test_a_reading_broken_off_leaves_no_file_open(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    WRITERS[name](path)
    source = Source(name="docs", path=str(path))
    (spec,) = discover([source], "/")

    def opened() -> list[str]:
        folder = Path("/proc/self/fd")
        return [os.readlink(fd) for fd in folder.iterdir() if fd.is_symlink() and os.readlink(fd) == str(path)]

    if not Path("/proc/self/fd").is_dir():
        pytest.skip("open files are counted in /proc")
    batches = read_shard(spec, source, batch_rows=3)
    next(batches)
    assert opened() or name == "docs.json"  # an array is parsed as a whole
    batches.close()  # type: ignore[attr-defined]
    assert not opened()


def test_only_the_columns_that_are_wanted_are_given(tmp_path: Path) -> None:
    path = tmp_path / "docs.jsonl"
    path.write_bytes(as_lines(RECORDS[:2]))
    assert read(path, metadata={"n": "int"}, columns=["n"]).documents == [
        {"row": i, "n": i, "text": TEXTS[i]} for i in range(2)
    ]


def test_side_inputs_are_read_whole_or_refused(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress(as_lines(RECORDS[:3])))
    pq.write_table(pa.Table.from_pylist(RECORDS[3:5]), tmp_path / "b.parquet")
    batches = list(read_documents(["a.*", "b.*"], base=str(tmp_path)))
    assert [d["text"] for batch in batches for d in batch.to_pylist()] == TEXTS[:5]
    assert [b.schema.names for b in read_documents(f"{tmp_path}/b.*", id=None)] == [["row", "id", "text"]]
    (tmp_path / "c.jsonl").write_bytes(as_lines([RECORDS[0], {"txt": "a"}]))
    with pytest.raises(
        RecipeError, match=r"c\.jsonl:2: there is no field text; did you mean txt\?; correct the record"
    ):
        list(read_documents("c.jsonl", base=str(tmp_path)))
    (tmp_path / "d.json").write_text("[")
    with pytest.raises(RecipeError, match="not a whole JSON array"):
        list(read_documents("d.json", base=str(tmp_path)))
    with pytest.raises(RecipeError, match="nothing matches"):
        list(read_documents("e.json", base=str(tmp_path)))


def test_missing_ids_are_derived_from_content_and_address() -> None:
    assert derived_id(bytes(range(16)), 0x1_0000_0002) == "000102030405060708090a0b0c0d0e0f-100000002"
    ids = pa.array(["own", None, None])
    content = pa.array([bytes([i]) * 16 for i in range(3)], pa.binary(16))
    rows = pa.array([5, 6, 8], pa.uint32())
    assert derived_ids(ids, content, 2, rows).to_pylist() == ["own", f"{'01' * 16}-200000006", f"{'02' * 16}-200000008"]
    assert derived_ids(ids.slice(0, 1), content.slice(0, 1), 2, rows.slice(0, 1)).to_pylist() == ["own"]


def test_real_documents_are_read_as_they_are_written(shared_data: Path) -> None:
    path = shared_data / "docs" / "docs-00003-of-00008.jsonl.gz"
    expected = [json.loads(line) for line in gzip.decompress(path.read_bytes()).decode().split("\n") if line]
    reading = read(path, metadata={"lang": "string", "origin": "string"})
    assert not reading.rejects
    assert [(d["id"], d["text"], d["lang"], d["origin"]) for d in reading.documents] == [
        (e["id"], e["text"], e.get("lang"), e.get("origin")) for e in expected
    ]
