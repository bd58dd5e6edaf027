"""Addresses of documents by id or content id: Parquet files sorted by it, of which a look-up reads one row group each.

Shards that are there already are not read again, so that a night costs only its own. An ordinal is given once, and
stands for the same documents ever after.
"""

from __future__ import annotations

import json
import threading
import uuid
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa

from gristmill.operators import columns
from gristmill.pipelines.config.quoting import in_glob, sql_text
from gristmill.pipelines.storage import files
from gristmill.pipelines.store.run_records import Standing
from gristmill.pipelines.ui.cache import Advance

#: Documents that are sorted at a time, in memory.
SORTED_AT_ONCE = 4_000_000
_LISTING = "listing.json"
_ROW_GROUP = 20_480
#: The last character there is: the end of all texts that begin alike.
_LAST = chr(0x10FFFF)


class SortedIndex:
    """Addresses by the values of a column that all documents have."""

    def __init__(self, folder: Path, column: str) -> None:
        self._folder, self._column = folder, column
        folder.mkdir(mode=0o700, exist_ok=True)
        self.lock = folder / "lock"
        self._connection = duckdb.connect()
        self._connection.execute("SET parquet_metadata_cache = true")
        self._updating = threading.Lock()
        self._load()

    def _load(self) -> None:
        try:
            listing: dict[str, list[int]] = json.loads((self._folder / _LISTING).read_text())
        except FileNotFoundError:
            listing = {}
        self._listing = {name: ordinals for name, ordinals in listing.items() if (self._folder / name).exists()}
        self._ordinals = {ordinal for ordinals in self._listing.values() for ordinal in ordinals}

    def lacks(self, standing: Sequence[Standing]) -> bool:
        """Return whether documents of some runs are not in it yet."""
        return any(row["ordinal"] not in self._ordinals for stands in standing for row in stands.shards)

    def update(self, standing: Sequence[Standing], advance: Advance) -> None:
        """Take in the documents of some runs that are not in it yet. Raises StoreDamaged where a file is damaged."""
        self._load()  # another process may have done it
        places = _places(standing, self._column)
        missing = {ordinal: place for ordinal, place in places.items() if ordinal not in self._ordinals}
        total, done = sum(documents for _, documents in missing.values()), 0
        advance(0, total)
        for ordinals in _batches(missing):
            keys, addresses = [], []
            for ordinal in ordinals:
                table = files.read_table(missing[ordinal][0], [columns.ROW, self._column])
                keys.append(table[self._column].combine_chunks())
                first = np.uint64(ordinal) << np.uint64(columns.ROW_BITS)
                addresses.append(first | np.asarray(table[columns.ROW]).astype(np.uint64))
            table = pa.table({"key": pa.chunked_array(keys), "address": np.concatenate(addresses)})
            self._add(table, ordinals)
            done += len(table)
            advance(done, total)

    def _add(self, table: pa.Table, ordinals: Sequence[int]) -> None:
        name = f"{uuid.uuid4().hex}.parquet"
        connection = duckdb.connect()
        connection.register("added", table)
        connection.execute(
            f"COPY (FROM added ORDER BY key, address) TO {sql_text(str(self._folder / name))} "
            f"(FORMAT parquet, COMPRESSION zstd, ROW_GROUP_SIZE {_ROW_GROUP})"
        )
        listing = {**self._listing, name: [*ordinals]}
        files.write_bytes(str(self._folder / _LISTING), json.dumps(listing).encode())
        self._listing, self._ordinals = listing, self._ordinals | {*ordinals}

    def find(self, value: str | bytes, most: int) -> list[int]:
        """Return up to so many addresses of documents with this value, in ascending order."""
        rows = self._ask("SELECT address FROM {} WHERE key = ? ORDER BY address LIMIT ?", value, most)
        return [address for (address,) in rows]

    def begin_with(self, value: str, most: int, ordinals: Collection[int]) -> list[tuple[str, int]]:
        """Return up to so many values that begin with this one, in ascending order, with their addresses.

        Documents are those of the shards with these ordinals.
        """
        sql = "SELECT key, address FROM {} WHERE key >= ? AND key <= ? ORDER BY key, address LIMIT ?"
        found = self._ask(sql, value, value + _LAST, 4 * most)
        return [(key, address) for key, address in found if address >> columns.ROW_BITS in ordinals][:most]

    def _ask(self, sql: str, *values: object) -> list[tuple[Any, ...]]:
        paths = ", ".join(sql_text(in_glob(str(self._folder / name))) for name in self._listing)
        if not paths:
            return []
        cursor = self._connection.cursor()  # a connection serves one thread at a time
        rows: list[tuple[Any, ...]] = cursor.execute(sql.format(f"read_parquet([{paths}])"), [*values]).fetchall()
        return rows


def _places(standing: Sequence[Standing], column: str) -> dict[int, tuple[str, int]]:
    """Return the file that has a column of each shard, and its number of documents, by ordinal."""
    places: dict[int, tuple[str, int]] = {}
    for stands in standing:
        for row in stands.shards:
            url = next((url for url, names in row["parts"] if column in names), None)
            if url is not None:
                places.setdefault(row["ordinal"], (url, row["documents"]))
    return places


def _batches(missing: dict[int, tuple[str, int]]) -> Iterator[list[int]]:
    batch: list[int] = []
    documents = 0
    for ordinal, (_, of_shard) in missing.items():
        if batch and documents + of_shard > SORTED_AT_ONCE:
            yield batch
            batch, documents = [], 0
        batch.append(ordinal)
        documents += of_shard
    if batch:
        yield batch
