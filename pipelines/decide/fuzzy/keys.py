"""The band keys of each shard, and its copies: documents whose whole signatures are equal."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from gristmill.operators.arrays import partition_of
from gristmill.operators.kernels.bands import band_keys
from gristmill.operators.kernels.buffers import text_buffers
from gristmill.operators.kernels.hashes import hash_texts
from gristmill.operators.rules.copies import Candidates, group_copies
from gristmill.pipelines.decide.fuzzy.pairs import pair_table
from gristmill.pipelines.decide.fuzzy.parameters import Parameters
from gristmill.pipelines.decide.fuzzy.similarity import lanes
from gristmill.pipelines.decide.shards import SurvivingShard, addresses_of
from gristmill.pipelines.exchange.shuffle import Exchange

KEYS = pa.schema([("key", pa.uint64()), ("address", pa.uint64())])
#: A partition of keys has this many times fewer rows than others: its bitmaps and its sort stay in the processor's
#: cache.
KEYS_FACTOR = 4


def send_keys(parameters: Parameters, keys: Exchange, copies: Exchange, shard: SurvivingShard) -> int:
    """Send the keys of a shard's documents to their partitions; return how many documents have a signature.

    Of a shard's documents with the same signature only the first sends keys. The others are candidates with it, and
    with no other: so copies cost little, and a document similar to one of them, by signature, is similar to the first.
    """
    documents = shard.read([parameters.column])
    signatures = documents[parameters.column].combine_chunks()
    signed = np.flatnonzero(np.asarray(signatures.is_valid()))
    signatures, addresses = signatures.take(pa.array(signed)), addresses_of(documents)[signed]
    rows, starts = _copies(signatures, addresses)
    others = np.delete(rows, starts[:-1])
    firsts = np.repeat(rows[starts[:-1]], np.diff(starts) - 1)
    copies.keep(shard.ordinal, pair_table(addresses[firsts], addresses[others]))
    distinct_rows = np.delete(np.arange(len(addresses)), others)
    send_bands(
        parameters.bands,
        parameters.rows,
        keys,
        shard.ordinal,
        signatures.take(pa.array(distinct_rows)),
        addresses[distinct_rows],
    )
    return len(addresses)


def send_bands(
    bands: int, rows: int, keys: Exchange, ordinal: int, signatures: pa.Array, addresses: NDArray[np.uint64]
) -> None:
    """Send the keys of a shard's documents (n signatures, none null, and addresses) to their partitions."""
    key_matrix = np.empty((len(addresses), bands), np.uint64)
    band_keys(lanes(signatures), bands, rows, key_matrix)
    flat = key_matrix.reshape(-1)
    table = pa.table([pa.array(flat), pa.array(np.repeat(addresses, bands))], schema=KEYS)
    keys.send(ordinal, table, partition_of(flat, keys.partitions))


def _copies(signatures: pa.Array, addresses: NDArray[np.uint64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the rows of signatures that occur again, and the starts of their groups, as `group_copies` does."""
    n = len(signatures)
    hashes = hash_texts(*text_buffers(signatures.cast(pa.large_binary()).view(pa.large_string())))
    return group_copies(Candidates(hashes, np.zeros(n, np.bool_), np.zeros(n, np.uint64), addresses))
