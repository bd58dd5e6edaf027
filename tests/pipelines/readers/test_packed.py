"""Reading packed tokens: every sequence once, whatever the ranks, workers, epochs, windows and interruptions."""

from __future__ import annotations

import json
import pickle
from collections import Counter
from itertools import islice
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import gristmill
from gristmill.operators.errors import RecipeError, StoreDamaged
from gristmill.operators.pack import pack
from gristmill.pipelines.readers.packed_order import PackedOrder
from gristmill.pipelines.readers.packed_tokens import PackedTokens
from gristmill.pipelines.sinks.tokens import write_token_shard
from gristmill.pipelines.storage import files

LENGTH = 8
FOLDER = "000001-0123456789ab"


def write_packed(
    root: str, split: str, shards: int = 4, seed: int = 0, name: str = "x", documents: int = 12, **described: Any
) -> str:
    """A dataset of packed tokens alone: tokens are numbers by which their document and place are known."""
    draw, entries = np.random.default_rng(seed), []
    fill = 9999 if split == "best_fit" else None
    dataset = f"{root}/datasets/{name}"
    version = f"{dataset}/{FOLDER}"
    for shard in range(shards):
        lengths = draw.integers(1, 21, documents).astype(np.int64)
        pieces = pack(lengths, split, LENGTH)  # type: ignore[arg-type]
        first = 1000 * shard + 30 * pieces.document + pieces.offset
        tokens = np.concatenate([np.arange(a, a + n) for a, n in zip(first, pieces.tokens, strict=True)])
        addresses = np.arange(documents, dtype=np.uint64) + np.uint64(max(100, documents) * shard)
        stem = f"tokens/tokens-{shard:05d}-of-{shards:05d}"
        written = write_token_shard(
            version, stem, pieces, tokens.astype(np.uint16), (addresses, lengths), LENGTH, fill
        ).to_json()
        paths = [{**file, "path": f"{FOLDER}/{file['name']}"} for file in written["files"]]
        entries.append({**written, "files": paths})
    totals = {name: sum(entry[name] for entry in entries) for name in ("documents", "tokens", "sequences")}
    packed = {**totals, "length": LENGTH, "dtype": "uint16", "fill": fill, "eos": 9999, "shards": entries, **described}
    files.write_record(f"{version}/manifest.json", {"files": [], "packed": packed})
    files.write_bytes(f"{dataset}/CURRENT", f"{FOLDER}\n".encode())
    return dataset


@pytest.fixture(scope="module", params=["documents", "concat", "best_fit"])
def packed(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> PackedTokens:
    return gristmill.open_packed(write_packed(str(tmp_path_factory.mktemp("store")), request.param))


def everything(packed: PackedTokens) -> Counter[tuple[int, ...]]:
    return Counter(tuple(packed.sequence(i).tokens.tolist()) for i in range(len(packed)))


def taken(sequences: Any) -> list[tuple[int, ...]]:
    return [tuple(sequence.tokens.tolist()) for sequence in sequences]


def test_sequences_have_their_tokens_and_pieces(packed: PackedTokens) -> None:
    tokens, documents = Counter[int](), dict[int, int]()
    for i in range(len(packed)):
        sequence = packed.sequence(i)
        bounds = [*sequence.starts.tolist(), len(sequence.tokens)]
        assert 0 < len(sequence.tokens) <= LENGTH
        for k, address in enumerate(sequence.addresses.tolist()):
            piece = sequence.tokens[bounds[k] : bounds[k + 1]]
            first = 1000 * (address // 100) + 30 * (address % 100) + int(sequence.offsets[k])
            assert piece.tolist() == [*range(first, first + len(piece))]
            documents[address] = int(sequence.document_tokens[k])
        tokens.update(sequence.tokens.tolist())
    assert set(tokens.values()) == {1}
    assert (len(tokens), len(documents)) == (packed.described["tokens"], packed.described["documents"])
    assert sum(documents.values()) == len(tokens)
    for wrong in (-1, len(packed)):
        with pytest.raises(IndexError, match="sequences, and none has the number"):
            packed.sequence(wrong)


@given(
    st.lists(st.integers(0, 12), min_size=1, max_size=9).filter(any),
    st.integers(0, 2**64 - 1) | st.none(),
    st.integers(1, 10),
)
def test_an_order_has_every_place_once_in_each_epoch(sizes: list[int], seed: int | None, window: int) -> None:
    order = PackedOrder(np.array(sizes, np.int64), seed, window)
    shards, rows = order.places(np.arange(3 * order.total))
    places = list(zip(shards.tolist(), rows.tolist(), strict=True))
    expected = [(shard, row) for shard, size in enumerate(sizes) for row in range(size)]
    for epoch in range(3):
        of_epoch = places[epoch * order.total : (epoch + 1) * order.total]
        assert (of_epoch if seed is None else sorted(of_epoch)) == expected
    some = np.arange(0, 3 * order.total, 3)
    assert [column.tolist() for column in order.places(some)] == [shards[some].tolist(), rows[some].tolist()]
    first = shards[: order.total].tolist()
    lasts = {shard: i for i, shard in enumerate(first)}
    begun = [{*first[: i + 1]} - {shard for shard in first[: i + 1] if lasts[shard] < i} for i in range(order.total)]
    assert max(map(len, begun)) <= window, "no more shards are read side by side than a window has"


@settings(max_examples=50)
@given(st.data())
def test_ranks_take_every_sequence_once_whenever_they_were_stopped(packed: PackedTokens, data: st.DataObject) -> None:
    world = data.draw(st.integers(1, 5))
    seed = data.draw(st.integers(0, 100))
    epochs = data.draw(st.integers(1, 2))
    options: dict[str, Any] = {"seed": seed, "epochs": epochs}
    whole = taken(packed.feed(**options))
    assert Counter(whole) == Counter({key: epochs * n for key, n in everything(packed).items()})
    stop = data.draw(st.integers(0, len(whole) // world))
    feeds = [packed.feed(rank=rank, world=world, **options) for rank in range(world)]
    before = [taken(islice(feed, stop)) for feed in feeds]
    states = [json.loads(json.dumps(feed.state)) for feed in feeds]
    if stop:
        assert all(state == states[0] for state in states), "one state for all ranks"
    later = data.draw(st.integers(1, 5))
    after = [taken(packed.feed(rank=r, world=later, state=states[0], **options)) for r in range(later)]
    in_turn = [part[i] for i in range(stop) for part in before]
    in_turn += [part[i] for i in range(max(map(len, after))) for part in after if i < len(part)]
    assert in_turn == whole, "the order of all ranks together is one, also after a resume with another number"
    if seed % 2:
        assert whole != taken(packed.feed(seed=seed + 1, epochs=epochs))


@settings(max_examples=30)
@given(st.integers(1, 9), st.integers(1, 4), st.integers(1, 3), st.integers(0, 6))
def test_batches_are_those_of_one_worker(packed: PackedTokens, size: int, workers: int, world: int, stop: int) -> None:
    feed = packed.feed(rank=world - 1, world=world, seed=3)
    sequences = taken(packed.feed(rank=world - 1, world=world, seed=3))
    alone = [*feed.batches(size)]
    assert [tuple(row[:n]) for b in alone for row, n in zip(b.tokens.tolist(), b.lengths, strict=True)] == sequences
    each = [[*packed.feed(rank=world - 1, world=world, seed=3).batches(size, w, workers)] for w in range(workers)]
    in_turn = [part[i] for i in range(len(alone)) for part in each if i < len(part)]
    assert [batch.tokens.tolist() for batch in in_turn] == [batch.tokens.tolist() for batch in alone]
    assert [batch.state for batch in in_turn] == [batch.state for batch in alone]
    if stop < len(alone):
        rest = packed.feed(rank=world - 1, world=world, seed=3, state=alone[stop].state).batches(size)
        assert [b.tokens.tolist() for b in rest] == [b.tokens.tolist() for b in alone[stop + 1 :]]


def test_arrays_of_a_batch(packed: PackedTokens) -> None:
    batch = next(packed.feed(seed=None).batches(5))
    assert (batch.tokens.shape, batch.tokens.dtype) == ((5, LENGTH), np.uint16)
    for row, numbers, size, i in zip(batch.tokens, batch.pieces, batch.lengths, range(5), strict=True):
        sequence = packed.sequence(i)
        assert row[:size].tolist() == sequence.tokens.tolist()
        assert (row[size:] == 9999).all()
        assert (numbers[size:] == -1).all()
        starts = [*sequence.starts.tolist(), int(size)]
        assert numbers[:size].tolist() == [k for k in range(len(starts) - 1) for _ in range(starts[k + 1] - starts[k])]


def test_a_feed_without_an_end_goes_on_into_other_epochs(packed: PackedTokens) -> None:
    n = len(packed)
    sequences = taken(islice(packed.feed(seed=1, epochs=None), 2 * n))
    assert Counter(sequences[:n]) == Counter(sequences[n:])
    assert sequences[:n] != sequences[n:]


def test_few_shards_are_open_at_a_time(packed: PackedTokens) -> None:
    narrow = PackedTokens(packed.url, window=1)
    assert Counter(taken(narrow.feed(seed=4))) == everything(packed)
    assert len(narrow._open) == 2
    copy = pickle.loads(pickle.dumps(narrow))
    assert taken(copy.feed(seed=4)) == taken(narrow.feed(seed=4))


def test_a_store_on_the_network_is_read_by_whole_shards(packed: PackedTokens) -> None:
    memory = fsspec.filesystem("memory")
    memory.put(packed.url, "memory://packed/datasets/x", recursive=True)
    try:
        remote = gristmill.open_packed("memory://packed/datasets/x")
        assert taken(remote.feed(seed=2)) == taken(packed.feed(seed=2))
        path = next(path for path in memory.find("/packed/datasets/x") if path.endswith(".bin"))
        memory.pipe_file(path, memory.cat_file(path)[:-2] + b"\x01\x02")
        with pytest.raises(StoreDamaged, match="is damaged: its content is not what was written"):
            taken(gristmill.open_packed("memory://packed/datasets/x").feed())
    finally:
        memory.rm("/packed", recursive=True)


def test_errors_say_what_to_do(tmp_path: Path) -> None:
    url = write_packed(str(tmp_path), "concat")
    packed = gristmill.open_packed(url)
    state = packed.feed(seed=1).state
    with pytest.raises(RecipeError, match="the state is of a feed with seed 1, and this one has 2"):
        packed.feed(seed=2, state=state)
    with pytest.raises(RecipeError, match="rank is 2; of 2 it must be from 0 to 1"):
        packed.feed(rank=2, world=2)
    with pytest.raises(RecipeError, match="there is 000001-0123456789ab"):
        gristmill.open_packed(url, "000009-0123456789ab")
    bin_file = next(Path(url).rglob("*.bin"))
    whole = bin_file.read_bytes()
    bin_file.write_bytes(whole[:-1])
    with pytest.raises(StoreDamaged, match=f"has {len(whole) - 1} bytes, not {len(whole)}. The next run"):
        taken(packed.feed())
    bin_file.unlink()
    with pytest.raises(StoreDamaged, match=r"is gone\. The next run of its recipe makes it again"):
        taken(packed.feed())
    files.write_record(f"{url}/{FOLDER}/manifest.json", {"files": []})
    with pytest.raises(RecipeError, match="has no packed tokens; `write:"):
        gristmill.open_packed(url)
