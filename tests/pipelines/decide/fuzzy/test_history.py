"""Documents of this run against those that earlier runs kept, by the definition in plain Python."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gristmill.operators.arrays import partition_of
from gristmill.operators.rules.fuzzy_dedup import FuzzyDedup
from gristmill.pipelines.config.tuning import tuned
from gristmill.pipelines.decide.fuzzy.history import MET, History
from gristmill.pipelines.decide.fuzzy.parameters import Parameters
from gristmill.pipelines.decide.fuzzy.resolve import resolve
from gristmill.pipelines.decide.fuzzy.similarity import SignatureEvidence
from gristmill.pipelines.decide.shards import SurvivingShard, Survivors
from gristmill.pipelines.engine.base import Engine
from gristmill.pipelines.engine.local import LocalEngine
from gristmill.pipelines.index.generations import Kept, write_generation
from gristmill.pipelines.store.fuzzy_index import GenerationFiles, HeldShard, Index
from tests.pipelines.decide.fakes import MemoryShard, ShufflingEngine
from tests.pipelines.decide.fuzzy import naive
from tests.pipelines.decide.fuzzy.corpus import addresses, fates, signature_array
from tests.pipelines.decide.fuzzy.test_resolve import alike, family

BANDS, ROWS, THRESHOLD = 4, 2, 0.5


def rule(verify: Any = "signature") -> FuzzyDedup:
    return FuzzyDedup.model_validate(
        {
            "threshold": THRESHOLD,
            "permutations": 8,
            "bands": BANDS,
            "rows": ROWS,
            "verify": verify,
            "index": {"name": "old"},
        }
    )


def shards_of(signatures: Any, ordinals: Sequence[int], clusters: Sequence[int]) -> list[MemoryShard]:
    """Documents dealt to shards in turn."""
    shards = []
    for i, ordinal in enumerate(ordinals):
        mine = range(i, len(signatures), len(ordinals))
        table = {
            rule().signature.column: signature_array(signatures[list(mine)]),
            "id": [f"doc-{ordinal}-{j}" for j in mine],
            "cluster": pa.array([clusters[j] for j in mine], pa.uint64()),
            "row": pa.array(range(len(mine)), pa.uint32()),
        }
        shards.append(MemoryShard(ordinal, pa.table(table)))
    return shards


def history_of(shards: Sequence[MemoryShard], folder: Path, parts: Sequence[int]) -> History:
    """Shards as generations of so many key files each."""
    store = str(folder)
    index = Index(store, "web")
    memory = rule().remembers()
    assert memory is not None
    made = []
    for i, key_files in enumerate(parts):
        mine = [Kept(shard, "docs") for shard in shards[i :: len(parts)]]
        at = GenerationFiles(index.folder(f"{i:06d}-x"), key_files)
        made.append(write_generation(at, "test", memory, "cluster", mine, LocalEngine(1)))
    return History.of(index.commit({"bands": BANDS}, made))


def expected(new: dict[int, Any], old: dict[int, Any], stored: dict[int, int], verified: bool) -> dict[int, Any]:
    """Fates of the new documents that are in a component."""
    pairs = naive.candidates(new, BANDS, ROWS, verified)
    buckets: dict[Any, list[int]] = defaultdict(list)
    for address in sorted(old):
        for band in range(BANDS):
            buckets[band, old[address][band * ROWS : (band + 1) * ROWS]].append(address)
    seen: set[Any] = set()
    for address in sorted(new):
        if (address >> 32, new[address]) in seen:  # a copy within its shard is compared with the first alone
            continue
        seen.add((address >> 32, new[address]))
        for band in range(BANDS):
            met = buckets.get((band, new[address][band * ROWS : (band + 1) * ROWS]), [])
            pairs |= {(min(other, address), max(other, address)) for other in met[: MET if verified else 1]}
    signatures = {**old, **new}
    edges = {p for p in pairs if not verified or alike(signatures[p[0]], signatures[p[1]]) >= THRESHOLD}
    fate: dict[int, Any] = {}
    for members in naive.components(edges):
        before = sorted(address for address in members if address in old)
        survivors = list(before)
        for address in sorted(address for address in members if address in new):
            for survivor in survivors[: naive.COMPARED]:
                similarity = alike(signatures[survivor], signatures[address])
                if not verified or similarity >= THRESHOLD:
                    cluster = stored[survivor] if survivor in old else fate[survivor]["cluster"]
                    break
            else:
                survivor, similarity = address, 1.0
                cluster = address if before else members[0]
                survivors.append(address)
            fate[address] = {
                "address": address,
                "cluster": cluster,
                "cluster_size": len(members),
                "survivor": survivor,
                "similarity": float(np.float32(similarity)),
            }
    return fate


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    n=st.integers(2, 90),
    share=st.floats(0.1, 0.9),
    verify=st.sampled_from(["signature", "none"]),
    parts=st.lists(st.integers(1, 5), min_size=1, max_size=3),
    rows=st.sampled_from([40, 1 << 22]),
    group=st.sampled_from([3, 1 << 16]),
    shuffled=st.booleans(),
    later=st.booleans(),
)
def test_against_the_definition(
    seed: int, n: int, share: float, verify: Any, parts: list[int], rows: int, group: int, shuffled: bool, later: bool,
    tmp_path_factory: Any,
) -> None:  # fmt: skip
    rng = np.random.default_rng(seed)
    signatures = family(rng, n)
    if seed % 3 == 0:
        signatures[rng.random(n) < 0.6, :2] = 7  # a large bucket
    is_old = rng.random(n) < share
    ordinals = ([8, 5, 3], [4, 7]) if later else ([0, 3, 4], [5, 7])  # earlier shards may have any ordinals
    stored = rng.integers(0, 1 << 40, n).tolist()
    old_shards = shards_of(signatures[is_old], ordinals[0], np.array(stored)[is_old].tolist())
    new_shards = shards_of(signatures[~is_old], ordinals[1], [0] * n)
    engine: Engine = ShufflingEngine(seed) if shuffled else LocalEngine(2)
    folder = tmp_path_factory.mktemp("history")
    with tuned(partition_rows=rows, key_group=group):
        history = history_of(old_shards, folder, parts)
        survivors = Survivors([SurvivingShard(shard) for shard in new_shards], int((~is_old).sum()))
        parameters = Parameters(rule().signature.column, BANDS, ROWS, THRESHOLD, verify)
        evidence = SignatureEvidence(parameters.column, 8)
        found = resolve(parameters, evidence, survivors, engine, str(folder / "scratch"), history)
    by_address = [
        {a: tuple(s) for a, s in zip(addresses(shards), _signatures(shards), strict=True)}
        for shards in (new_shards, old_shards)
    ]
    clusters = dict(
        zip(addresses(old_shards), [c for s in old_shards for c in s.table["cluster"].to_pylist()], strict=True)
    )
    fate = expected(*by_address, clusters, verify != "none")
    assert fates(new_shards, found) == fate
    assert found.dropped == sum(row["survivor"] != row["address"] for row in fate.values())


def _signatures(shards: Sequence[MemoryShard]) -> list[list[int]]:
    column = rule().signature.column
    return [np.frombuffer(raw, "<u2").tolist() for shard in shards for raw in shard.table[column].to_pylist()]


def test_an_old_bucket_gives_its_first_documents_to_each_new_one(tmp_path: Path) -> None:
    """A hundred kept documents share one band with each of fifty new ones: the pairs stay linear."""
    rng = np.random.default_rng(0)
    signatures = rng.integers(0, 1 << 16, (150, 8), dtype=np.uint16)
    signatures[:, :2] = 7
    history = history_of(shards_of(signatures[:100], [0, 1], range(100)), tmp_path, [3])
    new = shards_of(signatures[100:], [2], [0] * 50)
    parameters = Parameters(rule().signature.column, BANDS, ROWS, THRESHOLD, "signature")
    found = resolve(
        parameters,
        SignatureEvidence(parameters.column, 8),
        Survivors([SurvivingShard(shard) for shard in new], 50),
        LocalEngine(2),
        str(tmp_path / "scratch"),
        history,
    )
    among_new = 4 * 50 - 10 + 45  # each with four before it and the first
    assert found.candidates == 50 * MET + among_new


def test_keys_are_sorted_in_their_ranges(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    signatures = rng.integers(0, 1 << 16, (200, 8), dtype=np.uint16)
    history = history_of(shards_of(signatures, [0, 1], range(200)), tmp_path, [4])
    (at,) = history.generations
    tables = [pq.read_table(at.keys(part)) for part in range(4)]
    keys = np.concatenate([table["key"].to_numpy() for table in tables])
    assert len(keys) == 200 * BANDS
    assert (np.diff(keys.astype(object)) >= 0).all()
    for part, table in enumerate(tables):
        assert set((table["key"].to_numpy() >> np.uint64(62)).tolist()) <= {part}


@pytest.mark.parametrize("partitions", [1, 2, 3, 7, 8, 64])
@pytest.mark.parametrize("key_files", [1, 3, 8, 50])
def test_a_key_lies_in_the_files_of_its_range(partitions: int, key_files: int) -> None:
    at = GenerationFiles("g", key_files)
    keys = np.random.default_rng(2).integers(0, 1 << 64, 1000, dtype=np.uint64)
    asked = partition_of(keys, partitions)
    lies_in = partition_of(keys, key_files)
    for partition, part in zip(asked.tolist(), lies_in.tolist(), strict=True):
        assert at.keys(part) in at.keys_within(partition, partitions)


def test_a_held_shard_reads_like_one_of_this_run(tmp_path: Path) -> None:
    signatures = np.random.default_rng(3).integers(0, 1 << 16, (6, 8), dtype=np.uint16)
    shards = shards_of(signatures, [4], [9, 8, 7, 6, 5, 4])
    history = history_of(shards, tmp_path, [1])
    held = history.shard(4, "mine")
    read = held.read(["mine", "cluster"])
    assert read["mine"].to_pylist() == shards[0].table[rule().signature.column].to_pylist()
    assert read["cluster"].to_pylist() == [9, 8, 7, 6, 5, 4]
    assert read["address"].to_pylist() == [4 << 32 | row for row in range(6)]
    assert held.shard.schema.names == ["row", "cluster", "mine"]
    assert isinstance(history.held[4], HeldShard)
