"""Files of packed tokens: .bin and .idx as Megatron's indexed datasets, and Parquet that tells whose tokens they are.

    tokens-00000-of-00004.bin       the sequences, one after the other: uint16, or uint32 for large vocabularies
    tokens-00000-of-00004.idx       where each begins and how many tokens it has
    tokens-00000-of-00004.parquet   a row for each: its tokens, and the pieces of documents that it is made of

The index is that of Megatron-LM (megatron/core/datasets/indexed_dataset.py): `MMIDIDX`, version 1; each sequence counts
as a document.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from gristmill.operators.kernels.packing import copy_pieces
from gristmill.operators.pack import Pieces
from gristmill.pipelines.sinks.parquet import DigestingFile
from gristmill.pipelines.storage import files

_MAGIC = b"MMIDIDX\x00\x00"
#: Megatron's codes. It has no uint32; ids are below 2**31, and such numbers have the same bytes as int32.
_CODES = {2: 8, 4: 4}
ROW_GROUP_TOKENS = 1 << 24

#: Metadata of the Parquet file: the addresses (little-endian uint64) of documents without tokens.
EMPTY = b"gristmill.empty"
PIECE = pa.struct(
    [
        ("address", pa.uint64()),  # of the document
        ("start", pa.int32()),  # place in the sequence
        ("tokens", pa.int32()),  # how many here
        ("offset", pa.int64()),  # position of the first one in the document
        ("document_tokens", pa.int64()),  # of the whole document, its end-of-text token included
    ]
)


@dataclass(frozen=True)
class TokenFile:
    """A finished file of a shard of tokens."""

    name: str  #: from the version's folder
    bytes: int
    digest: str  #: BLAKE2b-128 of the file


@dataclass(frozen=True)
class TokenCounts:
    """Counts of a shard of packed tokens, or of several."""

    documents: int  #: those without tokens too
    empty: int  #: documents without tokens
    tokens: int  #: of documents, end-of-text tokens included
    sequences: int
    padding: int  #: places of sequences that no document's token has
    pieces: int
    truncated: int  #: documents in several pieces
    truncated_fitting: int  #: of them, those that would fit into one sequence
    cut_off: int  #: tokens of documents behind their first piece: they are seen without what comes before them

    @classmethod
    def of(cls, pieces: Pieces, lengths: NDArray[np.int64], length: int) -> TokenCounts:
        """Count what pieces of documents with so many tokens (n) come to."""
        several = np.bincount(pieces.document, minlength=len(lengths)) > 1
        sequences, tokens = len(pieces.bounds) - 1, int(lengths.sum())
        return cls(
            documents=len(lengths),
            empty=int((lengths == 0).sum()),
            tokens=tokens,
            sequences=sequences,
            padding=sequences * length - tokens,
            pieces=len(pieces.document),
            truncated=int(several.sum()),
            truncated_fitting=int((several & (lengths <= length)).sum()),
            cut_off=int(pieces.tokens[pieces.offset > 0].sum()),
        )


@dataclass(frozen=True)
class TokenShard:
    """One shard of packed tokens: three files of one name."""

    name: str  #: from the version's folder, without suffix
    counts: TokenCounts
    files: tuple[TokenFile, ...]

    def to_json(self) -> dict[str, Any]:
        """Return plain values, as manifests and receipts have them."""
        return {"name": self.name, **asdict(self.counts), "files": [asdict(file) for file in self.files]}

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> TokenShard:
        """Return what `to_json` gave."""
        counts = {name: value[name] for name in TokenCounts.__dataclass_fields__}
        return cls(value["name"], TokenCounts(**counts), tuple(TokenFile(**file) for file in value["files"]))


def write_token_shard(
    folder: str,
    name: str,
    pieces: Pieces,
    tokens: NDArray[np.uint16] | NDArray[np.uint32],
    documents: tuple[NDArray[np.uint64], NDArray[np.int64]],
    length: int,
    fill: int | None,
) -> TokenShard:
    """Write a shard: the tokens of the pieces, in their order (m), of documents with addresses and lengths (n each).

    With `fill`, sequences that are shorter than `length` are filled up with that id in the .bin file.
    """
    bounds = pieces.bounds
    ends = np.cumsum(pieces.tokens)
    firsts = np.append(0, ends)[bounds]  # of each sequence among all tokens
    sizes = np.diff(firsts)
    rows = tokens
    if fill is not None:
        rows = np.full(len(sizes) * length, fill, tokens.dtype)
        copy_pieces(tokens, firsts[:-1], sizes, np.arange(len(sizes)) * length, rows)
        sizes = np.full(len(sizes), length, np.int64)
    written: list[TokenFile] = []
    with _digested(folder, f"{name}.bin", written) as file:
        file.write(rows.astype(rows.dtype.newbyteorder("<"), copy=False).data)
    with _digested(folder, f"{name}.idx", written) as file:
        file.write(index_of(sizes, tokens.dtype))
    with _digested(folder, f"{name}.parquet", written) as file:
        _write_parquet(file, pieces, tokens, documents, firsts)
    return TokenShard(name, TokenCounts.of(pieces, documents[1], length), tuple(written))


@contextmanager
def _digested(folder: str, name: str, written: list[TokenFile]) -> Iterator[DigestingFile]:
    """Open a file for writing; append what it is to `written` once it is complete."""
    with files.replacing(files.join(folder, name)) as file:
        digesting = DigestingFile(file)
        yield digesting
    written.append(TokenFile(name, digesting.written, digesting.hexdigest()))


def index_of(sizes: NDArray[np.int64], dtype: np.dtype[Any]) -> bytes:
    """Return the content of an .idx file for sequences of so many tokens (n), stored one after the other."""
    n = len(sizes)
    starts = (np.cumsum(sizes) - sizes) * dtype.itemsize
    header = _MAGIC + struct.pack("<QBQQ", 1, _CODES[dtype.itemsize], n, n + 1)
    return b"".join([header, sizes.astype("<i4").tobytes(), starts.astype("<i8").tobytes(), _numbers(n + 1)])


def _numbers(n: int) -> bytes:
    return np.arange(n, dtype="<i8").tobytes()


def _write_parquet(
    file: DigestingFile,
    pieces: Pieces,
    tokens: NDArray[Any],
    documents: tuple[NDArray[np.uint64], NDArray[np.int64]],
    firsts: NDArray[np.int64],
) -> None:
    addresses, lengths = documents
    columns = (addresses[pieces.document], pieces.starts, pieces.tokens, pieces.offset, lengths[pieces.document])
    arrays = [pa.array(values, field.type, safe=False) for values, field in zip(columns, PIECE, strict=True)]
    structs = pa.StructArray.from_arrays(arrays, fields=list(PIECE))
    bounds = pieces.bounds
    empty = addresses[lengths == 0].astype("<u8").tobytes()
    schema = pa.schema(
        [("tokens", pa.list_(pa.from_numpy_dtype(tokens.dtype))), ("documents", pa.list_(PIECE))]
    ).with_metadata({EMPTY: empty})
    with pq.ParquetWriter(
        file,
        schema,
        compression="zstd",
        compression_level=1,
        use_dictionary=["documents.list.element.address"],
        column_encoding={"tokens.list.element": "BYTE_STREAM_SPLIT"},  # half of a token's four bytes are zero
    ) as writer:
        start = 0
        while start < len(firsts) - 1:
            end = max(start + 1, int(np.searchsorted(firsts, firsts[start] + ROW_GROUP_TOKENS, "right")) - 1)
            columns_of = [
                _lists(firsts[start : end + 1], pa.array(tokens[firsts[start] : firsts[end]])),
                _lists(bounds[start : end + 1], structs.slice(bounds[start], bounds[end] - bounds[start])),
            ]
            writer.write_table(pa.table(columns_of, schema=schema), row_group_size=end - start)
            start = end


def _lists(bounds: NDArray[np.int64], values: pa.Array) -> pa.ListArray:
    return pa.ListArray.from_arrays(pa.array((bounds - bounds[0]).astype(np.int32)), values)
