"""Files of packed tokens, read as Megatron-LM, nanoGPT and DuckDB read them."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pytest

from gristmill.operators.pack import Split, pack
from gristmill.pipelines.sinks import tokens as sink
from gristmill.pipelines.sinks.tokens import TokenShard, write_token_shard
from gristmill.pipelines.storage import files


def megatron(path: Path) -> tuple[np.dtype[Any], list[np.ndarray[Any, Any]]]:
    """The sequences of an indexed dataset, by the description of the format in Megatron-LM."""
    content = path.with_suffix(".idx").read_bytes()
    assert content[:9] == b"MMIDIDX\x00\x00"
    version, code, sequences, documents = struct.unpack_from("<QBQQ", content, 9)
    assert version == 1
    dtype = np.dtype({4: np.int32, 8: np.uint16}[code])
    lengths = np.frombuffer(content, np.int32, sequences, 34)
    pointers = np.frombuffer(content, np.int64, sequences, 34 + lengths.nbytes)
    ends = np.frombuffer(content, np.int64, documents, 34 + lengths.nbytes + pointers.nbytes)
    assert len(content) == 34 + lengths.nbytes + pointers.nbytes + ends.nbytes
    assert ends.tolist() == [*range(sequences + 1)]
    data = path.with_suffix(".bin").read_bytes()
    found = [np.frombuffer(data, dtype, n, at) for n, at in zip(lengths, pointers, strict=True)]
    assert sum(row.nbytes for row in found) == len(data)
    return dtype, found


def write(folder: Path, split: Split, dtype: type[Any], fill: int | None) -> tuple[TokenShard, list[list[int]]]:
    """Five documents of ascending numbers; the sequences that they should become."""
    lengths = np.array([3, 0, 9, 1, 4], np.int64)
    pieces = pack(lengths, split, 4)
    of_document = [[100 * d + i for i in range(n)] for d, n in enumerate(lengths.tolist())]
    columns = (pieces.document, pieces.offset, pieces.tokens)
    parts = [of_document[d][at : at + n] for d, at, n in zip(*(c.tolist() for c in columns), strict=True)]
    tokens = np.array([token for part in parts for token in part], dtype)
    expected: list[list[int]] = [[] for _ in range(len(pieces.bounds) - 1)]
    for part, sequence in zip(parts, pieces.sequence.tolist(), strict=True):
        expected[sequence] += part
    addresses = np.array([7, 8, 1 << 32, 5, 6], np.uint64)
    return write_token_shard(str(folder), "tokens-0", pieces, tokens, (addresses, lengths), 4, fill), expected


@pytest.mark.parametrize("dtype", [np.uint16, np.uint32])
@pytest.mark.parametrize("split", ["documents", "concat", "best_fit"])
def test_every_reader_finds_the_sequences(tmp_path: Path, split: Split, dtype: type[Any]) -> None:
    fill = 9 if split == "best_fit" else None
    shard, expected = write(tmp_path, split, dtype, fill)
    padded = [row + [9] * (4 - len(row)) for row in expected] if fill else expected
    kind, rows = megatron(tmp_path / "tokens-0")
    assert kind.itemsize == np.dtype(dtype).itemsize
    assert [row.tolist() for row in rows] == padded
    mapped = np.memmap(tmp_path / "tokens-0.bin", dtype, "r")
    assert mapped.tolist() == [token for row in padded for token in row]
    table = duckdb.sql(f"SELECT tokens, documents FROM '{tmp_path}/tokens-0.parquet'").fetchall()
    assert [row for row, _ in table] == expected
    addresses, lengths = [7, 8, 1 << 32, 5, 6], [3, 0, 9, 1, 4]
    for tokens, documents in table:
        assert sum(piece["tokens"] for piece in documents) == len(tokens)
        for piece in documents:
            first, document = tokens[piece["start"]], addresses.index(piece["address"])
            assert (first // 100, first % 100) == (document, piece["offset"])
            assert piece["document_tokens"] == lengths[document]
    counts = shard.counts
    assert (counts.documents, counts.empty, counts.tokens, counts.sequences) == (5, 1, 17, len(expected))
    assert counts.padding == 4 * len(expected) - 17
    truncated = {"documents": (1, 0, 5), "concat": (2, 1, 9), "best_fit": (1, 0, 5)}[split]
    assert (counts.truncated, counts.truncated_fitting, counts.cut_off) == truncated
    for file in shard.files:
        written = tmp_path / file.name
        assert (written.stat().st_size, files.digest(str(written))) == (file.bytes, file.digest)
    assert TokenShard.from_json(shard.to_json()) == shard


def test_row_groups_and_a_shard_without_documents(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sink, "ROW_GROUP_TOKENS", 5)
    _, expected = write(tmp_path, "documents", np.uint16, None)
    groups = duckdb.sql(f"SELECT DISTINCT row_group_id FROM parquet_metadata('{tmp_path}/tokens-0.parquet')").fetchall()
    assert len(groups) > 1
    assert [row for (row,) in duckdb.sql(f"SELECT tokens FROM '{tmp_path}/tokens-0.parquet'").fetchall()] == expected
    nothing = np.zeros(0, np.int64)
    none = (nothing.astype(np.uint64), nothing)
    shard = write_token_shard(
        str(tmp_path), "none", pack(nothing, "concat", 4), nothing.astype(np.uint16), none, 4, None
    )
    assert (shard.counts.documents, shard.counts.sequences) == (0, 0)
    assert megatron(tmp_path / "none")[1] == []
