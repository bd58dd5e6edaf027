from __future__ import annotations

from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gristmill.operators.errors import ShardError
from gristmill.pipelines.sources.discover import discover
from gristmill.pipelines.sources.read import read_shard
from gristmill.pipelines.sources.spec import Source
from tests.pipelines.sources.reading import read


def write(path: Path, columns: dict[str, Any], **options: Any) -> Path:
    pq.write_table(pa.table(columns), path, **options)
    return path


def as_strings(values: list[bytes | None]) -> pa.Array:
    """A string column whose bytes nobody has checked, as careless writers make them."""
    binary = pa.array(values, pa.binary())
    return pa.Array.from_buffers(pa.string(), len(values), binary.buffers(), binary.null_count)


def test_rows_are_what_duckdb_reads(tmp_path: Path) -> None:
    n = 2000
    path = write(
        tmp_path / "docs.parquet",
        {
            "id": pa.array(range(n)),
            "text": [f"text {i} é" * (i % 7) for i in range(n)],
            "meta": [{"lang": "en" if i % 2 else None, "n": i} for i in range(n)],
            "score": pa.array(np.arange(n) / 7, pa.float32()),
        },
        row_group_size=300,
    )
    query = f"SELECT id::VARCHAR, text, meta.lang, meta.n, score::DOUBLE FROM '{path}'"
    metadata = {"lang": {"field": "meta.lang"}, "n": {"field": "meta.n", "type": "int"}, "score": "float"}
    reading = read(path, metadata=metadata, sizes={"batch_bytes": 5000, "batch_rows": 170})
    assert [(d["id"], d["text"], d["lang"], d["n"], d["score"]) for d in reading.documents] == duckdb.sql(
        query
    ).fetchall()
    assert [d["row"] for d in reading.documents] == list(range(n))


def test_bad_texts_are_rejected_and_their_neighbours_kept(tmp_path: Path) -> None:
    texts = [b"good", None, b"caf\xe9", b"", b"a\0b", b"x" * 100, b"\xc3", b"\xa9", b"last"]
    ids = [b"0", b"1", b"2", b"3", b"4", b"5", b"6", b"7", b"\xff"]
    path = write(tmp_path / "docs.parquet", {"id": as_strings(ids), "text": as_strings(texts)})
    for batch_rows in (100, 1, 2):
        reading = read(path, document_bytes=50, sizes={"batch_bytes": 1000, "batch_rows": batch_rows})
        assert [(d["row"], d["text"]) for d in reading.documents] == [(0, "good"), (3, "")]
        assert reading.reasons == [
            (1, "null_text"),
            (2, "invalid_utf8"),
            (4, "nul_character"),
            (5, "too_large"),
            (6, "invalid_utf8"),
            (7, "invalid_utf8"),
            (8, "invalid_utf8"),
        ]
        assert [r.id for r in reading.rejects] == ["1", "2", "4", "5", "6", "7", "\\xff"]
        assert reading.rejects[1].excerpt == r"caf\xe9"


@pytest.mark.parametrize(
    "type_",
    [
        pa.string(),
        pa.large_string(),
        pa.string_view(),
        pa.binary(),
        pa.large_binary(),
        pa.dictionary(pa.int32(), pa.string()),
    ],
)
def test_every_way_to_store_text_is_read(tmp_path: Path, type_: pa.DataType) -> None:
    text = pa.array(["one", None, "thrée", "one"]).cast(type_)
    reading = read(write(tmp_path / "docs.parquet", {"text": text}))
    assert (reading.texts, reading.reasons) == (["one", "thrée", "one"], [(1, "null_text")])
    assert [d["id"] for d in reading.documents] == [None] * 3


def test_a_column_of_nulls_alone(tmp_path: Path) -> None:
    reading = read(
        write(tmp_path / "docs.parquet", {"text": pa.nulls(2), "year": pa.nulls(2)}), metadata={"year": "int"}
    )
    assert reading.reasons == [(0, "null_text"), (1, "null_text")]


def test_ids_and_metadata_are_converted(tmp_path: Path) -> None:
    columns = {
        "id": pa.array([7, None], pa.uint64()),
        "text": ["a", "b"],
        "list": [[1, 2], None],
        "when": pa.array([0, None], pa.date32()),
        "ok": [True, None],
        "half": [0.5, None],
        "small": pa.array([3, None], pa.int8()),
        "lang": pa.array(["en", None]).dictionary_encode(),
    }
    metadata = {"list": "json", "when": "string", "ok": "string", "half": "string", "small": "int", "lang": "json"}
    first, second = read(write(tmp_path / "docs.parquet", columns), metadata=metadata).documents
    assert first == {
        "row": 0, "id": "7", "list": "[1,2]", "when": "1970-01-01", "ok": "true", "half": "0.5", "small": 3,
        "lang": '"en"', "text": "a",
    }  # fmt: skip
    assert second == {"row": 1, "text": "b", **dict.fromkeys(["id", *metadata])}


@pytest.mark.parametrize(
    ("columns", "source", "message"),
    [
        ({"id": [1], "content": ["a"]}, {}, "there is no column text; .*content, id"),
        ({"id": [1], "texts": ["a"]}, {}, "there is no column text; did you mean texts"),
        (
            {"text": [1]},
            {},
            r"the column text is int64, which cannot be read as a text; its columns are text \(int64\)",
        ),
        ({"text": [["a"]]}, {}, "the column text is list"),
        ({"text": ["a"], "id": [[1]]}, {}, "the column id is list"),
        (
            {"text": ["a"], "year": ["1999"]},
            {"metadata": {"year": "int"}},
            "the column year is string, which cannot be read as metadata of",
        ),
        ({"text": ["a"], "meta": [{"x": 1}]}, {"text": "meta.text"}, "there is no column meta.text"),
    ],
)
def test_another_schema_is_an_error(
    tmp_path: Path, columns: dict[str, Any], source: dict[str, Any], message: str
) -> None:
    path = write(tmp_path / "docs.parquet", columns)
    with pytest.raises(ShardError, match=rf"docs\.parquet: {message}"):
        read(path, **source)


@pytest.mark.parametrize("nested", [False, True])
def test_a_time_zone_that_nobody_knows_is_named(tmp_path: Path, nested: bool) -> None:
    times = pa.array([0, None], pa.timestamp("us", "Mars/Olympus"))
    values = pa.array([{"at": time} for time in times], pa.struct([("at", times.type)])) if nested else times
    pq.write_table(pa.table({"text": ["a", "b"], "at": values}), tmp_path / "docs.parquet")
    (reject,) = (found := read(tmp_path / "docs.parquet", metadata={"at": "json"})).rejects
    assert reject.detail == (
        "the field at for column at is timestamp[us, tz=Mars/Olympus], a time zone that is not known here"
    )
    assert found.texts == ["b"]


def test_a_url_is_taken_where_there_is_one(tmp_path: Path) -> None:
    assert read(write(tmp_path / "a.parquet", {"text": ["a"]}), url="link").documents[0]["url"] is None
    assert read(write(tmp_path / "b.parquet", {"text": ["a"], "link": ["u"]}), url="link").documents[0]["url"] == "u"


def test_only_the_columns_that_are_wanted_are_read(tmp_path: Path) -> None:
    path = write(tmp_path / "docs.parquet", {"id": ["a"], "text": ["b"], "lang": ["en"], "big": [1]})
    assert read(path, metadata=["lang", "big"], columns=["big"]).documents == [{"row": 0, "big": "1", "text": "b"}]
    assert read(path, metadata=["lang"], columns=[]).documents == [{"row": 0, "text": "b"}]


def test_row_groups_make_parts(tmp_path: Path) -> None:
    texts = [f"{i} " + np.random.default_rng(i).bytes(50).hex() for i in range(1000)]
    path = write(tmp_path / "docs.parquet", {"text": texts}, row_group_size=100)
    source = Source(name="docs", path=str(path), part_bytes=path.stat().st_size // 4)
    specs = discover([source], "/")
    assert len(specs) > 2
    assert [spec.part[0] for spec in specs[1:] if spec.part] == [spec.part[1] for spec in specs[:-1] if spec.part]
    assert read(path, part_bytes=path.stat().st_size // 4).texts == texts
    assert len(discover([Source(name="docs", path=str(path), part_bytes=1)], "/")) == 10
    first = next(iter(read_shard(specs[1], source)))
    assert first.documents["row"][0].as_py() == 0  # rows count from the start of the shard


@pytest.mark.parametrize("rows", [0, 3])
def test_an_empty_file_has_no_documents(tmp_path: Path, rows: int) -> None:
    path = tmp_path / "docs.parquet"
    schema = pa.schema([("text", pa.string())])
    with pq.ParquetWriter(path, schema) as writer:
        if rows:
            writer.write_table(schema.empty_table())
    assert read(path).records == 0


@pytest.mark.parametrize("kept", [0, 4, 300, -20])
def test_a_cut_file_is_an_error(tmp_path: Path, kept: int) -> None:
    path = write(tmp_path / "docs.parquet", {"text": ["some text"] * 100})
    assert path.stat().st_size > 320
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(ShardError, match=r"docs\.parquet is damaged or cut short .*Parquet"):
        read(path)
    with pytest.raises(ShardError, match="damaged"):  # cut into parts or not
        read(path, part_bytes=1)


def test_a_damaged_page_is_an_error(tmp_path: Path) -> None:
    path = write(
        tmp_path / "docs.parquet", {"text": [f"some text {i}" * 20 for i in range(1000)]}, use_dictionary=False
    )
    content = bytearray(path.read_bytes())
    content[200:400] = bytes(200)
    path.write_bytes(content)
    with pytest.raises(ShardError, match="damaged"):
        read(path)


def test_a_text_of_50_mb_is_read(tmp_path: Path) -> None:
    text = "naïve text " * 4_600_000
    assert read(write(tmp_path / "docs.parquet", {"text": ["a", text, "b"]})).texts == ["a", text, "b"]


def test_batches_are_bounded(tmp_path: Path) -> None:
    path = write(tmp_path / "docs.parquet", {"text": [f"{i:04d} " * 20 for i in range(1000)]})
    source = Source(name="docs", path=str(path))
    (spec,) = discover([source], "/")
    batches = list(read_shard(spec, source, batch_bytes=10_000))
    assert 10 <= len(batches) <= 12
    assert all(batch.documents.num_rows <= 100 for batch in batches)
