"""Small corpora of signatures, and what resolving gives for them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from gristmill.operators import columns
from gristmill.pipelines.decide.fuzzy.clusters import Clusters
from gristmill.pipelines.decide.fuzzy.parameters import Parameters
from gristmill.pipelines.decide.fuzzy.resolve import resolve
from gristmill.pipelines.decide.fuzzy.similarity import SignatureEvidence
from gristmill.pipelines.decide.shards import SurvivingShard, Survivors, addresses_of
from gristmill.pipelines.engine.base import Engine
from gristmill.pipelines.engine.local import LocalEngine
from tests.pipelines.decide.fakes import MemoryShard, split

COLUMN = "signature"


def signature_array(signatures: NDArray[np.uint16], null: NDArray[np.bool_] | None = None) -> pa.Array:
    """Signatures (n x permutations) as the column of a measure."""
    width = 2 * signatures.shape[1]
    raw = [row.astype("<u2").tobytes() for row in signatures]
    return pa.array(raw, pa.binary(width), mask=null)


def shards_of(
    signatures: NDArray[np.uint16], sizes: list[int], null: NDArray[np.bool_] | None = None, **more: Any
) -> list[MemoryShard]:
    """Documents with signatures and other columns, cut into shards."""
    return split(pa.table({COLUMN: signature_array(signatures, null), **more}), sizes)


def addresses(shards: list[MemoryShard]) -> list[int]:
    """The address of each document."""
    return [address for shard in shards for address in addresses_of(SurvivingShard(shard).read([])).tolist()]


def clusters_of(
    shards: list[MemoryShard], folder: Path, engine: Engine | None = None, permutations: int = 8, **options: Any
) -> Clusters:
    """Resolve with 4 bands of 2 rows and the threshold 0.5, unless told otherwise."""
    given: dict[str, Any] = {"bands": 4, "rows": 2, "threshold": 0.5, "verify": "signature", **options}
    survivors = Survivors([SurvivingShard(shard) for shard in shards], sum(shard.rows for shard in shards))
    evidence = SignatureEvidence(COLUMN, permutations)
    return resolve(Parameters(COLUMN, **given), evidence, survivors, engine or LocalEngine(2), str(folder))


def fates(shards: list[MemoryShard], clusters: Clusters) -> dict[int, dict[str, Any]]:
    """What is told of each document that is in a cluster."""
    rows = [row for shard in shards for row in clusters.members(shard.ordinal).to_pylist()]
    assert [row[columns.ADDRESS] for row in rows] == sorted(row[columns.ADDRESS] for row in rows)
    return {row[columns.ADDRESS]: row for row in rows}
