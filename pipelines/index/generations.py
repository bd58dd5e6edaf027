"""Generations of an index: written from the documents that a run kept, merged, and committed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from gristmill.operators import columns
from gristmill.operators.arrays import partition_of
from gristmill.operators.base import Memory
from gristmill.pipelines.config.tuning import sizes
from gristmill.pipelines.decide.fuzzy.keys import KEYS, KEYS_FACTOR, send_bands
from gristmill.pipelines.decide.shards import ShardColumns, SurvivingShard
from gristmill.pipelines.engine.base import Engine, run_all, run_in_order
from gristmill.pipelines.exchange.shuffle import Exchange, partitions_for
from gristmill.pipelines.shard_tasks.reread import kept_rows
from gristmill.pipelines.storage import files
from gristmill.pipelines.store.fuzzy_index import (
    SHARDS,
    Generation,
    GenerationFiles,
    HeldShard,
    Index,
    documents_schema,
)


@dataclass(frozen=True)
class Kept:
    """The part of a shard that goes into a generation. Picklable."""

    shard: ShardColumns
    source: str
    decisions: str | None = None  #: the shard's decision file; None where all its documents go in


@dataclass(frozen=True)
class Addition:
    """Generation that is written and waits to be committed."""

    index: Index
    parameters: Mapping[str, Any]
    generation: Generation

    def to_json(self) -> dict[str, Any]:
        """Return it as plain values, for a run's record."""
        return {"name": self.index.name, "parameters": dict(self.parameters), "generation": asdict(self.generation)}

    def commit(self) -> Index:
        """Make it the newest generation. Returns the index after it."""
        return self.index.commit(self.parameters, [*self.index.generations, self.generation])


def write_generation(
    at: GenerationFiles, made_by: str, memory: Memory, cluster: str | None, kept: Sequence[Kept], engine: Engine
) -> Generation:
    """Write the kept documents of some shards, in ordinal order; `cluster` is the column of their clusters, if any.

    The generation is not visible until it is committed to its index.
    """
    exchange = Exchange(files.join(at.url, "exchange"), at.key_files, KEYS)
    column = memory.signatures.gives().names[0]
    writer = GenerationWriter(at, column, cluster, memory.permutations, memory.bands, memory.rows, exchange)
    shards = [HeldShard(**row, generation="", url="") for row in run_in_order(engine, writer.add, kept)]
    ordinals = [shard.ordinal for shard in shards]
    writer = replace(writer, keys=exchange.merged(ordinals, engine))
    sum(run_all(engine, partial(writer.sort, ordinals), range(at.key_files)))
    exchange.remove()
    return _finish(at, made_by, shards)


def key_files_for(bands: int, documents: int) -> int:
    """Return the number of key ranges for the keys of `documents` documents."""
    return partitions_for(bands * documents, weight=KEYS_FACTOR)


@dataclass(frozen=True)
class GenerationWriter:
    """Writer of the files of a generation: `add` for each shard, then `sort` for each key range. Picklable."""

    at: GenerationFiles
    column: str  #: of the signatures
    cluster: str | None  #: column of the clusters
    permutations: int
    bands: int
    rows: int
    keys: Exchange

    def add(self, kept: Kept) -> dict[str, Any]:
        """Write the survivors of a shard, and send their keys. Returns its row of SHARDS."""
        cluster_columns = [self.cluster] if self.cluster else []
        documents = SurvivingShard(kept.shard).read([columns.ID, self.column, *cluster_columns])
        if kept.decisions is not None:
            documents = documents.filter(kept_rows(kept.decisions))
        addresses, signatures = documents[columns.ADDRESS], documents[self.column].combine_chunks()
        # A document in no cluster is a cluster of its own, which it keeps when others join it.
        clusters = pc.coalesce(documents[self.cluster], addresses) if self.cluster else addresses
        table = pa.table(
            [addresses, documents[columns.ID], clusters, signatures], schema=documents_schema(self.permutations)
        )
        files.write_table(self.at.documents(kept.shard.ordinal), table)
        signed = signatures.is_valid()
        signed_addresses = np.asarray(addresses.filter(signed))
        send_bands(self.bands, self.rows, self.keys, kept.shard.ordinal, signatures.filter(signed), signed_addresses)
        return {"ordinal": kept.shard.ordinal, "source": kept.source, "documents": documents.num_rows}

    def sort(self, ordinals: Sequence[int], part: int) -> int:
        """Write the keys of a key range, sorted. Returns their number."""
        return _write_keys(self.at.keys(part), self.keys.receive(ordinals, part))


def merge(
    at: GenerationFiles, made_by: str, parts: Sequence[GenerationFiles], shards: Sequence[HeldShard], engine: Engine
) -> Generation:
    """Write one generation from some shards of several, in ordinal order, from their files alone."""
    sum(run_all(engine, partial(_copy_documents, at), shards))
    ordinals = np.array([shard.ordinal for shard in shards], np.uint64)
    sum(run_all(engine, partial(_merge_keys, at, parts, ordinals), range(at.key_files)))
    return _finish(at, made_by, shards)


def _copy_documents(at: GenerationFiles, shard: HeldShard) -> int:
    files.write_bytes(at.documents(shard.ordinal), files.read_bytes(shard.url))
    return shard.documents


def _merge_keys(at: GenerationFiles, parts: Sequence[GenerationFiles], ordinals: NDArray[np.uint64], part: int) -> int:
    urls = [url for generation in parts for url in generation.keys_within(part, at.key_files)]
    table = pa.concat_tables([KEYS.empty_table(), *map(files.read_table, urls)])
    keys, addresses = (np.asarray(table[name]) for name in KEYS.names)
    here = partition_of(keys, at.key_files) == part
    here &= np.isin(addresses >> np.uint64(columns.ROW_BITS), ordinals)
    return _write_keys(at.keys(part), table.filter(pa.array(here)))


def _write_keys(url: str, table: pa.Table) -> int:
    order = np.lexsort((np.asarray(table["address"]), np.asarray(table["key"])))
    files.write_table(url, table.take(pa.array(order)), row_group_size=sizes().key_group)
    return int(table.num_rows)


def _finish(at: GenerationFiles, made_by: str, shards: Sequence[HeldShard]) -> Generation:
    """Write the list of the shards; return the entry of index.json for the generation."""
    rows = [{name: getattr(shard, name) for name in SHARDS.names} for shard in shards]
    files.write_table(at.shards, pa.Table.from_pylist(rows, schema=SHARDS))
    fs, path = files.filesystem(at.url)
    name = at.url.rsplit("/", 1)[-1]
    return Generation(name, made_by, len(shards), sum(s.documents for s in shards), int(fs.du(path)), at.key_files)
