"""Packed tokens: an exchange from the tasks that write texts to the tasks that write tokens.

Documents are ordered by a hash of (seed, content id). Each write task sends its documents' tokens to the partitions of
that hash, or to those of their stratum. A pack task receives those of its partition, puts the documents in order, packs
them and writes one shard of tokens. No task holds more than one part of what a sender sends, or one partition; a task
that runs twice writes the same twice.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Lock
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from gristmill.operators import columns
from gristmill.operators.arrays import partition_of
from gristmill.operators.errors import StoreDamaged
from gristmill.operators.kernels.packing import copy_pieces, shuffle_keys
from gristmill.operators.pack import Pack, pack, token_type
from gristmill.operators.tokenizer import TextTokenizer
from gristmill.pipelines.config.tuning import sizes
from gristmill.pipelines.exchange.shuffle import Exchange, Parts
from gristmill.pipelines.shard_tasks.strata import PackedStrata
from gristmill.pipelines.sinks.tokens import EMPTY, TokenShard, write_token_shard
from gristmill.pipelines.storage import files
from gristmill.pipelines.store.resources import ReadyOperator

#: Folder of the shards of tokens, in a version's folder: what reads `*.parquet` there finds texts alone.
FOLDER = "tokens"


@dataclass(frozen=True)
class Packing:
    """Settings that all tasks share. Picklable."""

    ready: ReadyOperator  #: of a `Pack`
    exchange: Exchange  #: of documents, with columns of `schema_of`
    strata: PackedStrata | None = None  #: which partitions pack which documents; by default all pack all

    @property
    def by(self) -> tuple[str, ...]:
        """Return the columns of documents that decide where they are packed."""
        return () if self.strata is None else self.strata.of.columns

    def partition_of(self, keys: NDArray[np.uint64], documents: pa.Table) -> NDArray[np.int64]:
        """Return the partition (n) of documents by their shuffle keys (n) and their columns `by` (n rows)."""
        if self.strata is None:
            return partition_of(keys, self.exchange.partitions)
        return self.strata.partition_of(keys, documents)

    @property
    def pack(self) -> Pack:
        """Return the settings of the recipe."""
        operator: Pack = self.ready.operator
        return operator


def schema_of(tokenizer: TextTokenizer) -> pa.Schema:
    """Return the columns of documents on their way to be packed."""
    tokens = pa.large_list(pa.from_numpy_dtype(token_type(tokenizer.vocabulary)))
    return pa.schema([("key", pa.uint64()), (columns.ADDRESS, pa.uint64()), ("tokens", tokens)])


class TokenSender:
    """The tokens that a task sends to be packed; several threads add to them."""

    def __init__(self, packing: Packing, parts: Parts, tokenizer: TextTokenizer) -> None:
        self._packing, self._parts, self._tokenizer = packing, parts, tokenizer
        self._eos = tokenizer.eos if packing.pack.eos else None
        self._schema = schema_of(tokenizer)
        self._lock = Lock()
        self._held: list[pa.Table] = []
        self._partitions: list[NDArray[np.int64]] = []  # of what is held
        self._held_tokens = 0
        self.tokens = 0  #: that were added
        self.digest = ""  #: of what was sent, once it is complete

    def add(self, texts: pa.LargeStringArray, documents: pa.Table, addresses: NDArray[np.uint64]) -> None:
        """Add documents (n rows: content ids, and the columns by which they are packed), by their texts as written."""
        content_ids = documents[columns.CONTENT_ID].combine_chunks()
        tokens, offsets = self._tokenizer.encode(texts)
        tokens, offsets = _ended(tokens, offsets, self._eos, token_type(self._tokenizer.vocabulary))
        ids = np.frombuffer(content_ids.buffers()[1], "<u8")[2 * content_ids.offset :][: 2 * len(content_ids)]
        keys = shuffle_keys(np.uint64(self._packing.pack.seed), ids.reshape(-1, 2))
        lists = pa.LargeListArray.from_arrays(pa.array(offsets), pa.array(tokens))
        table = pa.table([keys, addresses, lists], schema=self._schema)
        partition = self._packing.partition_of(keys, documents)
        with self._lock:
            self._held.append(table)
            self._partitions.append(partition)
            self._held_tokens += len(tokens)
            self.tokens += len(tokens)
            if self._held_tokens >= sizes().exchanged_tokens:
                self.send()

    def send(self) -> None:
        """Send what was added since this was last called."""
        documents = pa.concat_tables([self._schema.empty_table(), *self._held]).combine_chunks()
        partition = np.concatenate([np.zeros(0, np.int64), *self._partitions])
        self._held, self._partitions, self._held_tokens = [], [], 0
        self._parts.send(documents, partition)


@contextmanager
def sending(packing: Packing, sender: int) -> Iterator[TokenSender]:
    """Open what a task sends, which is complete when the block ends without an error."""
    with packing.exchange.sending(sender) as parts:
        sender_of_tokens = TokenSender(packing, parts, packing.ready.open())
        yield sender_of_tokens
        sender_of_tokens.send()
    sender_of_tokens.digest = parts.digest


def _ended(
    tokens: NDArray[np.uint32], offsets: NDArray[np.int64], eos: int | None, dtype: np.dtype[Any]
) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """Return tokens of documents between offsets (n + 1) with `eos` behind each, and the offsets then."""
    if eos is None:
        return tokens.astype(dtype), offsets
    after = offsets + np.arange(len(offsets))
    out = np.empty(after[-1], dtype)
    copy_pieces(tokens, offsets[:-1], np.diff(offsets), after[:-1], out)
    out[after[1:] - 1] = eos
    return out, after


@dataclass(frozen=True)
class PackPartition:
    """The task that packs the documents of one partition and writes their shard of tokens."""

    packing: Packing
    senders: tuple[int, ...]
    partition: int
    folder: str  #: of the version
    receipts: str  #: folder of the receipts

    def __str__(self) -> str:
        return self.name

    @property
    def name(self) -> str:
        """Return the name of the shard, from the version's folder."""
        return f"{FOLDER}/tokens-{self.partition:05d}-of-{self.packing.exchange.partitions:05d}"

    def run(self) -> TokenShard:
        """Write the shard, unless a receipt says that an interrupted run wrote it already."""
        receipt_url = files.join(self.receipts, f"tokens-{self.partition:05d}.json")
        if (done := self._done(receipt_url)) is not None:
            return done
        shard = write_packed(self.packing.ready, self.folder, self.name, self._received())
        files.write_record(receipt_url, shard.to_json())
        return shard

    def _done(self, receipt_url: str) -> TokenShard | None:
        """Return the shard of an interrupted run, if all its files are what it wrote; else None."""
        try:
            shard = TokenShard.from_json(files.read_record(receipt_url))
            digests = [files.digest(files.join(self.folder, file.name)) for file in shard.files]
        except (FileNotFoundError, StoreDamaged):
            return None
        return shard if digests == [file.digest for file in shard.files] else None

    def _received(self) -> pa.Table:
        """Return the documents of the partition, by all senders."""
        return self.packing.exchange.receive(self.senders, self.partition)


def write_packed(ready: ReadyOperator, folder: str, name: str, documents: pa.Table) -> TokenShard:
    """Order documents (n rows of `schema_of`) by key and address, pack them, and write their shard of tokens."""
    settings: Pack = ready.operator
    tokenizer: TextTokenizer = ready.open()
    documents = documents.combine_chunks()
    keys, addresses = (documents[column].to_numpy() for column in ("key", columns.ADDRESS))
    order = np.lexsort((addresses, keys))
    lists = documents["tokens"].combine_chunks()
    offsets = lists.offsets.to_numpy() - lists.offsets[0].as_py()
    lengths = np.diff(offsets)[order]
    pieces = pack(lengths, settings.split, settings.length)
    values = lists.flatten().to_numpy()
    tokens = np.empty(int(pieces.tokens.sum()), values.dtype)
    starts = offsets[:-1][order][pieces.document] + pieces.offset
    copy_pieces(values, starts, pieces.tokens, np.cumsum(pieces.tokens) - pieces.tokens, tokens)
    described = (addresses[order], lengths)
    return write_token_shard(folder, name, pieces, tokens, described, settings.length, fill_of(settings, tokenizer))


def packed_documents(ready: ReadyOperator, parquet: str, without: Collection[int]) -> pa.Table:
    """Return the documents of a shard's Parquet file, without those of some input shards, to be packed again.

    Their order is another one: it goes by their addresses, as their content ids are not at hand.
    """
    settings: Pack = ready.operator
    with files.open_input(parquet) as file:
        table = pq.read_table(file, use_threads=False)
    pieces = table["documents"].combine_chunks().flatten()
    of_empty = np.frombuffer(table.schema.metadata[EMPTY], "<u8")
    address, size, offset = (pieces.field(name).to_numpy() for name in ("address", "tokens", "offset"))
    starts = np.append(np.cumsum(size, dtype=np.int64) - size, np.zeros(len(of_empty), np.int64))
    address, size, offset = (
        np.append(values, rest) for values, rest in ((address, of_empty), (size, 0 * of_empty), (offset, 0 * of_empty))
    )
    stays = ~np.isin(address >> np.uint64(columns.ROW_BITS), np.array([*without], np.uint64))
    order = np.lexsort((offset, address))
    order = order[stays[order]]
    address, size = address[order], size[order].astype(np.int64)
    ends = np.cumsum(size)
    values = table["tokens"].combine_chunks().flatten().to_numpy()
    tokens = np.empty(int(size.sum()), values.dtype)
    copy_pieces(values, starts[order], size, ends - size, tokens)
    documents, first = np.unique(address, return_index=True)
    keys = shuffle_keys(np.uint64(settings.seed), np.stack([documents, np.zeros_like(documents)], axis=1))
    offsets = np.append((ends - size)[first], len(tokens))
    lists = pa.LargeListArray.from_arrays(pa.array(offsets), pa.array(tokens))
    return pa.table([keys, documents, lists], schema=schema_of(ready.open()))


def fill_of(settings: Pack, tokenizer: TextTokenizer) -> int | None:
    """Return the id that fills sequences up in .bin files; None where they are as long as they come."""
    if settings.split != "best_fit":
        return None
    return tokenizer.eos or 0


def pack_partition(task: PackPartition) -> TokenShard:
    """Run a task: `PackPartition.run` as a plain function, which engines take."""
    return task.run()
