"""Export of an index for online look-ups: datasketch's LeanMinHash objects in a Parquet file."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from gristmill.operators import columns
from gristmill.operators.errors import FatalError, RecipeError
from gristmill.operators.rules.fuzzy_dedup import FuzzyDedup
from gristmill.pipelines.decide.fuzzy.similarity import lanes
from gristmill.pipelines.storage import files
from gristmill.pipelines.store.fuzzy_index import SIGNATURE, open_index

#: `LeanMinHash.deserialize(row["minhash"])` gives the object back.
LOOK_UP = pa.schema([(columns.ID, pa.string()), (columns.ADDRESS, pa.uint64()), ("minhash", pa.binary())])


def export_datasketch(store: str, name: str, url: str) -> int:
    """Write id, address and serialised LeanMinHash (LOOK_UP) of each document of an index that has a signature.

    Returns their number. A row group holds those of one shard. Raises FatalError where datasketch is missing.
    """
    index = open_index(store, name)
    count = 0
    with files.replacing(url) as file, pq.ParquetWriter(file, LOOK_UP, compression="zstd") as writer:
        for _, shard in sorted(index.held.items()):
            table = files.read_table(shard.url)
            table = table.filter(table[SIGNATURE].is_valid())
            objects = lean_minhashes(table[SIGNATURE].combine_chunks(), index.parameters)
            serialised = pa.array([_serialised(minhash) for minhash in objects], pa.binary())
            writer.write_table(pa.table([table[columns.ID], table[columns.ADDRESS], serialised], schema=LOOK_UP))
            count += table.num_rows
    return count


def sign(store: str, name: str, texts: Sequence[str]) -> list[Any]:
    """Return the LeanMinHash of each text (None for a text without words), to look it up in an index.

    Texts are taken as they are: the caller applies the transforms of the index's recipe, if any. Raises RecipeError
    where there is no such index, or it was made by a version of gristmill whose signatures differ.
    """
    parameters = open_index(store, name).parameters
    options = {option: parameters[option] for option in ("ngram", "permutations", "scheme", "seed")}
    measure = FuzzyDedup(**options).signature
    if measure.fingerprint({})[:16] != parameters["minhash"]:
        raise RecipeError(f"the index {name} was made by another version of gristmill, whose signatures differ")
    batch = pa.record_batch({columns.TEXT: pa.array(texts, columns.TYPES[columns.TEXT])})
    signatures = measure.open({})(batch)[measure.column]
    minhashes = iter(lean_minhashes(signatures.drop_null(), parameters))
    return [next(minhashes) if signed else None for signed in signatures.is_valid().to_pylist()]


def lean_minhashes(signatures: pa.Array, parameters: dict[str, Any]) -> list[Any]:
    """Return the LeanMinHash objects of signatures (n, none null) that were made with an index's parameters.

    Their seed encodes those parameters, so that datasketch refuses to compare them with its own: it has other
    permutations, other shingles, and 32 bits of a lane where these have 16.
    """
    try:
        from datasketch import LeanMinHash
    except ImportError:
        raise FatalError("LeanMinHash objects are made by datasketch: pip install 'gristmill[datasketch]'") from None
    seed = int(parameters["minhash"][:15], 16)
    return [
        LeanMinHash(seed=seed, hashvalues=values, scheme="affine32") for values in lanes(signatures).astype(np.uint32)
    ]


def _serialised(minhash: Any) -> bytes:
    content = bytearray(minhash.bytesize())
    minhash.serialize(content)
    return bytes(content)
