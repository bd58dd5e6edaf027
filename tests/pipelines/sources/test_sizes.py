"""Memory follows the batch, however a file is encoded and whatever the type of a column."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gristmill.pipelines.sources.discover import discover
from gristmill.pipelines.sources.read import read_shard
from gristmill.pipelines.sources.spec import Source
from tests.pipelines.sources.reading import read

LARGE = [f"{i}" * 50_000 for i in range(10)]  #: many a row has one of them
TEXTS = ["short"] * 3000 + [LARGE[i % 10] for i in range(3000)] + ["end"]


def largest_batch(path: Path, **source: Any) -> tuple[int, int, int]:
    """The number of documents, the bytes of the largest batch of about 200,000, and the most that Arrow held."""
    before, held = pa.total_allocated_bytes(), 0
    wanted = Source(name="test", path=str(path), **source)
    documents = largest = 0
    for spec in discover([wanted], "/"):
        for batch in read_shard(spec, wanted, batch_bytes=200_000):
            documents += batch.documents.num_rows
            largest = max(largest, batch.documents.nbytes)
            held = max(held, pa.total_allocated_bytes() - before)
    return documents, largest, held


@pytest.mark.parametrize(
    ("type_", "options"),
    [
        (pa.string(), {}),
        (pa.large_string(), {}),
        (pa.binary(), {}),
        (pa.dictionary(pa.int32(), pa.string()), {}),
        (pa.dictionary(pa.int16(), pa.large_string()), {}),
        (pa.string(), {"use_dictionary": False, "column_encoding": "DELTA_BYTE_ARRAY"}),
        (pa.string(), {"use_dictionary": False, "compression": "zstd"}),
    ],
)
@pytest.mark.parametrize("field", ["text", "x"])
def test_batches_are_as_large_as_asked_for_in_memory(
    tmp_path: Path, type_: pa.DataType, options: dict[str, Any], field: str
) -> None:
    """150 MB that take a few kilobytes in the file: one row group, short rows first."""
    path = tmp_path / "docs.parquet"
    texts = pa.array(TEXTS)
    values = texts.dictionary_encode().cast(type_) if pa.types.is_dictionary(type_) else texts.cast(type_)
    other = pa.array(["-"] * len(TEXTS))
    columns = {"text": values, "x": other} if field == "text" else {"text": other, "x": values}
    pq.write_table(pa.table(columns), path, row_group_size=10**6, **options)
    documents, largest, held = largest_batch(path, metadata=["x"])
    assert documents == len(TEXTS)
    assert largest < 350_000
    if not options:  # dictionaries, as most writers make them
        assert held < 10_000_000
    if field == "text":
        assert read(path).texts == TEXTS


def test_metadata_counts_for_the_size_of_batches_of_json_lines(tmp_path: Path) -> None:
    path = tmp_path / "docs.jsonl"
    path.write_text("".join(json.dumps({"text": "a", "x": LARGE[0]}) + "\n" for _ in range(100)))
    documents, largest, _ = largest_batch(path, metadata=["x"])
    assert documents == 100
    assert largest < 350_000


@pytest.mark.slow
def test_a_dictionary_of_texts_that_are_over_2_gib_decoded(tmp_path: Path) -> None:
    path = tmp_path / "docs.parquet"
    text = "x" * 240_000
    for type_ in (pa.string(), pa.binary()):
        values = pa.DictionaryArray.from_arrays(pa.array([0] * 9500, pa.int32()), pa.array([text]).cast(type_))
        pq.write_table(pa.table({"text": values, "x": values}), path)
        source = Source(name="test", path=str(path), metadata=["x"])
        (spec,) = discover([source], "/")
        sizes = [batch.documents.nbytes for batch in read_shard(spec, source)]
        assert sum(sizes) > 2 * 9500 * 240_000
        assert max(sizes) < 10_000_000
