"""Fuzzy deduplication over shards, against its definition in plain Python."""

from __future__ import annotations

import pickle
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from gristmill.pipelines.config.tuning import tuned
from gristmill.pipelines.decide.fuzzy import survivors as survivors_of_components
from gristmill.pipelines.decide.fuzzy.clusters import Clusters
from gristmill.pipelines.decide.fuzzy.parameters import Parameters
from gristmill.pipelines.decide.fuzzy.resolve import resolve
from gristmill.pipelines.decide.shards import DROPS, SurvivingShard, Survivors, addresses_of
from gristmill.pipelines.engine.base import Engine
from gristmill.pipelines.engine.local import LocalEngine
from gristmill.pipelines.exchange import shuffle_files
from tests.pipelines.decide.fakes import MemoryShard, ShufflingEngine
from tests.pipelines.decide.fuzzy import naive
from tests.pipelines.decide.fuzzy.corpus import addresses, clusters_of, fates, shards_of

CHANCE = 2.0**-16


def alike(a: Any, b: Any) -> float:
    """The estimate of lanes that agree, less what agrees by chance."""
    return max(0.0, (np.mean(np.asarray(a) == np.asarray(b)) - CHANCE) / (1 - CHANCE))


def family(rng: np.random.Generator, n: int, permutations: int = 8) -> NDArray[np.uint16]:
    """Signatures that are mostly variations of earlier ones, some of them copies."""
    signatures = rng.integers(0, 1 << 16, (n, permutations), dtype=np.uint16)
    for i in range(1, n):
        if rng.random() < 0.7:
            changed = rng.random(permutations) < rng.choice([0, 0.1, 0.3, 0.5])
            signatures[i] = np.where(changed, signatures[i], signatures[rng.integers(max(0, i - 12), i)])
    return signatures


def expected(
    shards: list[MemoryShard], signatures: NDArray[np.uint16], null: NDArray[np.bool_], quality: list[Any], **how: Any
) -> tuple[dict[int, dict[str, Any]], int, int]:
    """Fates, candidates and edges by definition."""
    signed = {a: tuple(s.tolist()) for a, s, none in zip(addresses(shards), signatures, null, strict=True) if not none}
    rank = {
        a: (q is None, 0 if q is None else -q) if how["keep"] != "first" else ()
        for a, q in zip(addresses(shards), quality, strict=True)
    }
    verified = how["verify"] != "none"
    pairs = naive.candidates(signed, 4, 2, verified)
    edges = {p for p in pairs if not verified or alike(signed[p[0]], signed[p[1]]) >= 0.5}
    found = {}
    for members in naive.components(edges):
        fate = naive.settle(
            members, rank.__getitem__, lambda a, b: alike(signed[a], signed[b]), 0.5 if verified else -1.0
        )
        for address, (survivor, similarity) in fate.items():
            found[address] = {
                "address": address,
                "cluster": members[0],
                "cluster_size": len(members),
                "survivor": survivor,
                "similarity": float(np.float32(similarity)),
            }
    return found, len(pairs), len(edges)


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    n=st.integers(1, 90),
    cuts=st.lists(st.integers(0, 90), max_size=3),
    verify=st.sampled_from(["signature", "none"]),
    keep=st.sampled_from(["first", "best: quality"]),
    rows=st.sampled_from([40, 1 << 22]),
    budget=st.sampled_from([1, 1 << 24]),
    shuffled=st.booleans(),
    blocks=st.sampled_from([0, 1 << 25]),
)
def test_against_the_definition(
    seed: int, n: int, cuts: list[int], verify: Any, keep: str, rows: int, budget: int, shuffled: bool,
    blocks: int, tmp_path_factory: Any,
) -> None:  # fmt: skip
    rng = np.random.default_rng(seed)
    signatures, null = family(rng, n), rng.random(n) < 0.05
    quality = [None if rng.random() < 0.2 else int(rng.integers(0, 4)) for _ in range(n)]
    bounds = [0, *sorted(min(cut, n) for cut in cuts), n]
    shards = shards_of(signatures, np.diff(bounds).tolist(), null, quality=pa.array(quality, pa.int64()))
    engine: Engine = ShufflingEngine(seed) if shuffled else LocalEngine(2)
    given_order = [shards[i] for i in rng.permutation(len(shards))]
    with tuned(partition_rows=rows, exchange_blocks=blocks, exchange_group=2, exchange_bytes=1000):
        found = clusters_of(
            given_order, tmp_path_factory.mktemp("fuzzy"), engine, verify=verify, keep=keep, edge_budget=budget
        )
    fate, candidates, edges = expected(shards, signatures, null, quality, verify=verify, keep=keep)
    assert fates(shards, found) == fate
    assert (found.candidates, found.edges) == (candidates, edges)
    assert found.dropped == sum(row["survivor"] != row["address"] for row in fate.values())
    sizes = {row["cluster"]: row["cluster_size"] for row in fate.values()}
    assert found.clusters == len(sizes)
    assert list(found.largest) == sorted(sizes.items(), key=lambda item: (-item[1], item[0]))[:5]
    powers = [next(p for p in (2, 4, 8, 16, 32, 64, 128) if p >= size) for size in sizes.values()]
    assert found.sizes == Counter(powers)


def test_large_buckets_against_the_definition(tmp_path: Path) -> None:
    """A band that sixty documents share, most of them alike in little else."""
    rng = np.random.default_rng(3)
    signatures = family(rng, 120)
    signatures[::2, :2] = 7
    shards = shards_of(signatures, [50, 70])
    fate, candidates, edges = expected(
        shards, signatures, np.zeros(120, bool), [0] * 120, verify="signature", keep="first"
    )
    found = clusters_of(shards, tmp_path)
    assert fates(shards, found) == fate
    assert (found.candidates, found.edges) == (candidates, edges)


@pytest.mark.parametrize("seed", range(3))
def test_one_lane_in_each_band_finds_all_pairs_that_are_alike(seed: int, tmp_path: Path) -> None:
    """With a key for each lane every pair with a positive estimate is compared: what is left is the threshold alone."""
    rng = np.random.default_rng(seed)
    signatures = family(rng, 100)
    shards = shards_of(signatures, [30, 0, 70])
    at = addresses(shards)
    edges = [
        (at[i], at[j])
        for i in range(100)
        for j in range(i + 1, 100)
        if (signatures[i] == signatures[j]).sum() >= 5  # of 8
    ]
    found = fates(shards, clusters_of(shards, tmp_path, bands=8, rows=1, threshold=0.6))
    clusters = naive.components(edges)
    assert {a: row["cluster"] for a, row in found.items()} == {a: c[0] for c in clusters for a in c}


def test_losers_reach_the_threshold_and_survivors_of_a_cluster_do_not(tmp_path: Path) -> None:
    rng = np.random.default_rng(9)
    signatures = family(rng, 600)
    shards = shards_of(signatures, [200, 400])
    row_of = {address: i for i, address in enumerate(addresses(shards))}
    found = fates(shards, clusters_of(shards, tmp_path))
    survivors: dict[int, list[int]] = {}
    for address, row in found.items():
        similarity = alike(signatures[row_of[address]], signatures[row_of[row["survivor"]]])
        assert row["similarity"] == np.float32(similarity) >= 0.5
        survivors.setdefault(row["cluster"], []).extend([address] * (address == row["survivor"]))
    assert max(map(len, survivors.values())) > 3, "some chain survives in part"
    for kept in survivors.values():
        assert all(alike(signatures[row_of[a]], signatures[row_of[b]]) < 0.5 for a in kept for b in kept if a < b)


def test_only_so_many_survivors_are_compared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (naive, survivors_of_components):
        monkeypatch.setattr(module, "COMPARED", 2)
    signatures = family(np.random.default_rng(5), 400)
    shards = shards_of(signatures, [150, 250])
    fate, *_ = expected(shards, signatures, np.zeros(400, bool), [0] * 400, verify="signature", keep="first")
    assert fates(shards, clusters_of(shards, tmp_path / "two")) == fate
    monkeypatch.undo()
    assert fates(shards, clusters_of(shards, tmp_path / "all")) != fate


def test_a_chain_of_look_alikes_loses_only_what_is_like_its_survivor(tmp_path: Path) -> None:
    """Each document shares 7 of 8 lanes with the one before it; the ends share one."""
    signatures = np.array([[100 + k if k < i else k for k in range(8)] for i in range(8)], np.uint16)
    shards = shards_of(signatures, [8])
    found = list(fates(shards, clusters_of(shards, tmp_path, bands=8, rows=1)).values())
    assert {row["cluster_size"] for row in found} == {8}
    at = addresses(shards)
    # Four lanes that agree are a little less than one half: lanes also agree by chance.
    assert [row["survivor"] for row in found] == [at[0]] * 4 + [at[4]] * 4


def test_only_survivors_take_part(tmp_path: Path) -> None:
    shards = shards_of(np.ones((3, 8), np.uint16), [3])
    drops = pa.table({name: pa.nulls(1, DROPS.field(name).type) for name in DROPS.names}, schema=DROPS)
    drops = drops.set_column(0, DROPS.field("row"), pa.array([0], pa.int64()))
    shuffle_files.write_table(str(tmp_path / "drops.arrow"), drops)
    left = SurvivingShard(shards[0], str(tmp_path / "drops.arrow"))
    parameters = Parameters("signature", 4, 2, 0.5, "signature")
    found = resolve(parameters, SetEvidence({}), Survivors([left], 2), LocalEngine(1), str(tmp_path))
    at = addresses(shards)
    assert [(row["address"], row["survivor"]) for row in found.members(shards[0].ordinal).to_pylist()] == [
        (at[1], at[1]),
        (at[2], at[1]),
    ]


class SetEvidence:
    """Evidence of any length: sets of numbers, all the same where none is given."""

    type = pa.large_list(pa.uint64())

    def __init__(self, sets: dict[int, set[int]]) -> None:
        self.sets = sets

    def of(self, shard: SurvivingShard, wanted: NDArray[np.uint64], /) -> pa.Array:
        there = addresses_of(shard.read([])).tolist()
        assert set(wanted.tolist()) <= set(there)
        assert wanted.tolist() == sorted(set(wanted.tolist()))
        return pa.array([sorted(self.sets.get(int(a), {1})) for a in wanted], self.type)

    def similarity(self, left: pa.Array, right: pa.Array, /) -> NDArray[np.float64]:
        pairs = zip(left.to_pylist(), right.to_pylist(), strict=True)
        return np.array([len({*a} & {*b}) / len({*a} | {*b}) for a, b in pairs], np.float64)


def test_evidence_of_any_length(tmp_path: Path) -> None:
    """All documents share a bucket; what they are compared by decides."""
    signatures = np.ones((6, 8), np.uint16)
    signatures[:, 7] = range(6)
    shards = shards_of(signatures, [2, 2, 2])
    at = addresses(shards)
    sets = [{1, 2, 3}, {7, 8}, {1, 2, 3, 4}, {7, 8}, {9}, {2, 3, 4}]
    survivors = Survivors([SurvivingShard(shard) for shard in shards], 6)
    parameters = Parameters("signature", 4, 2, 0.7, "text")
    found = resolve(
        parameters, SetEvidence(dict(zip(at, sets, strict=True))), survivors, ShufflingEngine(2), str(tmp_path)
    )
    told = fates(shards, found)
    assert {a: (row["survivor"], row["similarity"]) for a, row in told.items()} == {
        at[0]: (at[0], 1.0),
        at[2]: (at[0], 0.75),
        at[5]: (at[5], 1.0),
        at[1]: (at[1], 1.0),
        at[3]: (at[1], 1.0),
    }


def test_a_document_in_a_large_bucket_is_not_merged_with_what_it_is_unlike(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    signatures = rng.integers(0, 1 << 16, (20_000, 16), dtype=np.uint16)
    signatures[:, :4] = 5
    shards = shards_of(signatures, [8000, 12_000])
    found = clusters_of(shards, tmp_path / "a", permutations=16, bands=4, rows=4)
    assert (found.edges, found.clusters, found.dropped) == (0, 0, 0)
    assert found.candidates <= 5 * 20_000, "linear in the documents"
    assert (len(found.sample.left), found.sample.similarity.max() < 0.5) == (1000, True)
    merged = clusters_of(shards, tmp_path / "b", permutations=16, bands=4, rows=4, verify="none")
    assert (merged.clusters, merged.dropped, merged.candidates) == (1, 19_999, 19_999)
    assert len(merged.sample.left) == 0


def test_the_sample_depends_on_the_documents_alone(tmp_path: Path) -> None:
    signatures = family(np.random.default_rng(1), 2000)
    shards = shards_of(signatures, [1000, 400, 600])
    one = clusters_of(shards, tmp_path / "a").sample
    with tuned(partition_rows=500):
        other = clusters_of(shards[::-1], tmp_path / "b", ShufflingEngine()).sample
    assert len(one.left) == 1000
    row_of = {address: i for i, address in enumerate(addresses(shards))}
    for a, b, similarity in zip(one.left.tolist(), one.right.tolist(), one.similarity.tolist(), strict=True):
        assert similarity == alike(signatures[row_of[a]], signatures[row_of[b]])
    for mine, its in ((one.left, other.left), (one.right, other.right), (one.similarity, other.similarity)):
        assert mine.tolist() == its.tolist()


def test_no_documents_and_no_signatures(tmp_path: Path) -> None:
    for name, shards in (
        ("a", shards_of(np.zeros((0, 8), np.uint16), [0, 0])),
        ("b", shards_of(np.ones((3, 8), np.uint16), [3], np.ones(3, bool))),
    ):
        for verify in ("signature", "none"):
            found: Clusters = clusters_of(shards, tmp_path / name / verify, verify=verify)
            assert (found.candidates, found.clusters, found.dropped, found.largest) == (0, 0, 0, ())
            assert fates(shards, found) == {}
            assert isinstance(pickle.loads(pickle.dumps(found)), Clusters)
