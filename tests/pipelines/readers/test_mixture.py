"""Mixtures of packed tokens: what is taken of each part, and in which order."""

from __future__ import annotations

import json
import math
import pickle
from collections import Counter
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

import gristmill
from gristmill.operators.errors import RecipeError, StoreDamaged
from gristmill.pipelines.cli.main import app
from gristmill.pipelines.readers.mix_plan import MixPlan
from gristmill.pipelines.readers.mixed_order import BLOCK, MOST, MixedOrder
from gristmill.pipelines.readers.mixture import Mixture
from gristmill.pipelines.readers.packed_order import PackedOrder
from gristmill.pipelines.storage import files
from tests.pipelines.readers.test_packed import FOLDER, LENGTH, write_packed

COUNTS = st.lists(st.integers(1, 400), min_size=1, max_size=7)


def order_of(counts: list[int], seed: int) -> MixedOrder:
    return MixedOrder([PackedOrder(np.array([n], np.int64), seed) for n in counts], counts, seed)


@settings(max_examples=50)
@given(COUNTS, st.integers(0, 2**64 - 1), st.data())
def test_turns_are_complete_and_each_part_has_its_share_at_any_place(
    counts: list[int], seed: int, data: st.DataObject
) -> None:
    order, total = order_of(counts, seed), sum(counts)
    parts, numbers = order.turns(np.arange(total))
    found = sorted(zip(parts.tolist(), numbers.tolist(), strict=True))
    assert found == [(part, number) for part, count in enumerate(counts) for number in range(count)]
    largest = 1 + math.log(len(counts))
    for stop in [*range(0, total, BLOCK), total]:
        taken = np.bincount(parts[:stop], minlength=len(counts))
        assert (np.abs(taken - stop * np.array(counts) / total) <= largest).all()
    some = np.array(data.draw(st.lists(st.integers(0, total - 1), max_size=9)), np.int64)
    assert [column.tolist() for column in order.turns(some)] == [parts[some].tolist(), numbers[some].tolist()]


@settings(max_examples=50)
@given(st.lists(st.integers(1, (MOST - 1) // 4), min_size=2, max_size=4), st.data())
def test_large_numbers_do_not_overflow(counts: list[int], data: st.DataObject) -> None:
    order, total = order_of(counts, 1), sum(counts)
    positions = np.array(data.draw(st.lists(st.integers(0, total - 1), min_size=1, max_size=9)), np.int64)
    for place, part, number in zip(positions.tolist(), *order._even(positions), strict=True):
        left, rest = place, total
        for wanted in sorted(range(len(counts)), key=lambda i: (-counts[i], i)):
            before = counts[wanted] * left // rest
            if counts[wanted] * (left + 1) // rest > before:
                assert (part, number) == (wanted, before)
                break
            left, rest = left - before, rest - counts[wanted]
    with pytest.raises(RecipeError, match="a mixture has fewer than 2,199,023,255,552 sequences"):
        order_of([MOST], 1)


def test_ranks_that_take_turns_get_every_part() -> None:
    parts, _ = order_of([5000, 5000], 3).turns(np.arange(10_000))
    for rank in range(2):
        assert 0.45 < parts[rank::2].mean() < 0.55
    repeated = (parts[1:] == parts[:-1]).astype(int)
    assert max(len(run) for run in "".join(map(str, repeated)).split("0")) < 16


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Datasets packed in each way, of sequences that are full and others that are not."""
    root = tmp_path_factory.mktemp("store")
    for seed, split in enumerate(("documents", "concat", "best_fit")):
        write_packed(str(root), split, 5, seed, split, 150, tokenizer="aa")
    return root


def described(store: Path, name: str) -> dict[str, Any]:
    return gristmill.open_packed(store / "datasets" / name).described


def write_mix(store: Path, parts: list[dict[str, Any]], **options: Any) -> Path:
    """A mixture in a file of its own, of datasets by their names."""
    named = [{**part, "dataset": f"datasets/{part['dataset']}"} for part in parts]
    path = store / "mix.yaml"
    path.write_text(yaml.safe_dump({"version": 1, "name": "m", "length": LENGTH, "parts": named, **options}))
    return path


def planned(store: Path, parts: list[dict[str, Any]], **options: Any) -> tuple[MixPlan, Mixture]:
    plan = gristmill.mix(write_mix(store, parts, **options))
    return plan, gristmill.open_mixture(plan.url)


def taken(sequences: Any) -> list[tuple[int, ...]]:
    return [(s.part, int(s.addresses[0]), int(s.offsets[0]), *s.tokens.tolist()) for s in sequences]


PARTS = [
    {"dataset": "documents", "weight": 0.5, "epochs": 3},
    {"dataset": "concat", "weight": 0.2},
    {"dataset": "best_fit", "tokens": "1.5k"},
]


@settings(max_examples=25, deadline=None)
@given(st.data())
def test_a_mixture_has_the_tokens_that_were_asked_for(store: Path, data: st.DataObject) -> None:
    names = data.draw(st.lists(st.sampled_from(["documents", "concat", "best_fit"]), min_size=1, unique=True))
    weights = [data.draw(st.floats(0.05, 1)) for _ in names]
    total = data.draw(st.integers(15_000, 20_000))
    parts = [{"dataset": n, "weight": w, "epochs": 100} for n, w in zip(names, weights, strict=True)]
    plan, mixture = planned(store, parts, tokens=total, seed=data.draw(st.integers(0, 9)), window=2)
    sequences = [*mixture.feed()]
    tokens = np.zeros(len(names))
    np.add.at(tokens, [s.part for s in sequences], [len(s.tokens) for s in sequences])
    assert [part.tokens for part in plan.parts] == tokens.tolist(), "the plan tells what is read"
    assert [part.sequences for part in plan.parts] == np.bincount([s.part for s in sequences]).tolist()
    assert abs(tokens.sum() - total) < 0.001 * total
    asked = total * np.array(weights) / sum(weights)
    assert (np.abs(tokens - asked) <= LENGTH / 2 + 1).all(), "no more than half a sequence"
    for number, part in enumerate(plan.parts):
        of_part = taken(s for s in sequences if s.part == number)
        for first in range(0, len(of_part), part.sequences_there):
            epoch = of_part[first : first + part.sequences_there]
            assert len({*epoch}) == len(epoch), "no sequence comes twice before each has come once"


@settings(max_examples=25, deadline=None)
@given(st.data())
def test_ranks_take_every_sequence_once_whenever_they_were_stopped(store: Path, data: st.DataObject) -> None:
    _, mixture = planned(store, PARTS, tokens="5k", seed=2)
    whole = taken(mixture.feed())
    world, later = data.draw(st.integers(1, 5)), data.draw(st.integers(1, 5))
    stop = data.draw(st.integers(0, len(whole) // world))
    feeds = [mixture.feed(rank=rank, world=world) for rank in range(world)]
    before = [taken(islice(feed, stop)) for feed in feeds]
    state = json.loads(json.dumps(feeds[0].state))
    assert not stop or all(feed.state == state for feed in feeds)
    after = [taken(mixture.feed(rank=r, world=later, state=state)) for r in range(later)]
    in_turn = [part[i] for i in range(stop) for part in before]
    in_turn += [part[i] for i in range(max(map(len, after))) for part in after if i < len(part)]
    assert in_turn == whole


def test_batches_say_the_part_and_workers_share_them(store: Path) -> None:
    _, mixture = planned(store, PARTS, tokens="5k", seed=2)
    assert len(mixture) == mixture.described["sequences"]
    alone = [*mixture.feed(world=2).batches(5)]
    copies = [pickle.loads(pickle.dumps(mixture.feed(world=2))) for _ in range(3)]
    each = [[*copy.batches(5, worker, 3)] for worker, copy in enumerate(copies)]
    in_turn = [part[i] for i in range(len(alone)) for part in each if i < len(part)]
    assert [b.tokens.tolist() for b in in_turn] == [b.tokens.tolist() for b in alone]
    assert alone[0].tokens.shape == (5, LENGTH)
    assert Counter(np.concatenate([b.parts for b in alone]).tolist()) == Counter(s.part for s in mixture.feed(world=2))
    rest = mixture.feed(world=2, state=alone[3].state).batches(5)
    assert [b.tokens.tolist() for b in rest] == [b.tokens.tolist() for b in alone[4:]]


def test_a_changed_weight_is_another_plan_with_the_same_order_within_parts(store: Path) -> None:
    one, mixture = planned(store, PARTS, tokens="5k")
    state = mixture.feed().state
    assert Path(one.url).read_bytes() == Path(planned(store, PARTS, tokens="5k")[0].url).read_bytes()
    changed = [PARTS[2], {**PARTS[0], "weight": 0.9}, PARTS[1]]
    _, other = planned(store, changed, tokens="5k")
    for before, after in ((0, 1), (1, 2), (2, 0)):
        first, second = ([s[1:] for s in taken(m.feed()) if s[0] == p] for m, p in ((mixture, before), (other, after)))
        shared = min(len(first), len(second))
        assert first[:shared] == second[:shared]
    with pytest.raises(RecipeError, match=r"the state is of a feed with plan [0-9a-f]{32}, and this one has"):
        other.feed(state=state)
    _, seeded = planned(store, PARTS, tokens="5k", seed=9)
    assert taken(seeded.feed()) != taken(mixture.feed())


def test_whole_epochs_are_whole(store: Path) -> None:
    there = described(store, "concat")
    plan, mixture = planned(store, [{"dataset": "concat", "tokens": 2 * there["tokens"], "epochs": 2}])
    assert (plan.parts[0].epochs, len(mixture)) == (2, 2 * there["sequences"])
    assert {*Counter(taken(mixture.feed())).values()} == {2}


def test_the_command(store: Path) -> None:
    parts = [{**part, "epochs": epochs} for part, epochs in zip(PARTS, (4, 1.5, 6), strict=True)]
    parts[2]["tokens"] = 5 * described(store, "best_fit")["tokens"]
    path = write_mix(store, parts, tokens="75k")
    result = CliRunner().invoke(app, ["mix", str(path), "--out", str(store / "other.json")], env={"COLUMNS": "120"})
    assert result.exit_code == 0, result.output
    lines = [line.split() for line in result.stdout.splitlines()]
    assert [line[0] for line in lines[:5]] == ["mixture", "part", "documents", "concat", "best_fit"]
    assert "! " + str(store / "datasets" / "best_fit") in " ".join(result.stdout.split())
    assert "Muennighoff" in result.stdout
    told = json.loads(CliRunner().invoke(app, ["mix", str(path), "--json"]).stdout)
    assert told["plan"] == str(store / "mix.json")
    assert told["asked"] == 75_000
    assert [part["tokens"] for part in told["parts"]] == [part["tokens"] for part in read(store / "other.json")]
    refused = CliRunner().invoke(app, ["mix", str(path), "--out", str(path)])
    assert refused.exit_code == 2
    assert "the plan would take the place of" in refused.stderr


def read(plan: Path) -> list[dict[str, Any]]:
    parts: list[dict[str, Any]] = files.read_record(str(plan))["parts"]
    return parts


@pytest.mark.parametrize(
    ("parts", "options", "message"),
    [
        ([{"dataset": "concat"}], {}, "mix.yaml:4: .*give `weight` or `tokens`, one of them"),
        ([{"dataset": "concat", "weight": 1}], {}, "say with `tokens` what the mixture has in all"),
        ([{"dataset": "concat", "tokens": 9}], {"tokens": 8}, "are 9 together: leave out those of the mixture"),
        (
            [{"dataset": "concat", "tokens": 9}, {"dataset": "best_fit", "weight": 1}],
            {"tokens": 9},
            "are 9 together, and leave none for parts with weights",
        ),
        ([{"dataset": "concat", "tokens": 9}], {"length": 16}, "concat have 8 tokens, those of the mixture 16"),
        ([{"dataset": "cat", "tokens": 9}], {}, "has no dataset cat; did you mean concat"),
        ([{"dataset": "concat", "tokens": 9, "version": "7"}], {}, f"has no version 7; there is {FOLDER}"),
        ([{"dataset": "concat", "tokens": 9}] * 2, {}, "is a part already: its documents would come twice"),
        ([{"dataset": "concat", "tokens": "1M"}], {}, r"takes [0-9.]+ epochs; `epochs` allows 1\. Allow more"),
        (
            [{"dataset": "concat", "tokens": "1M"}, {"dataset": "best_fit", "tokens": "1M"}],
            {},
            "(?s)mix.yaml has 2 mistakes.*mix.yaml:4: .*concat has.*mix.yaml:6: .*best_fit has",
        ),
        ([{"dataset": "concat", "tokens": 2}], {}, "2 tokens are less than half a sequence"),
        (
            [{"dataset": "concat", "tokens": 9}, {"dataset": "odd", "tokens": 9}],
            {},
            "odd does not go with .*concat: the digest of its tokenizer is bb, and there aa",
        ),
        ([{"dataset": "empty", "tokens": 9}], {}, "has no tokens"),
    ],
)
def test_mistakes_are_told_with_their_lines(
    store: Path, parts: list[dict[str, Any]], options: dict[str, Any], message: str
) -> None:
    if not (store / "datasets" / "odd").exists():
        write_packed(str(store), "concat", 1, 9, "odd", tokenizer="bb")
        write_packed(str(store), "concat", 1, 9, "empty", tokenizer="aa", tokens=0)
    with pytest.raises(RecipeError, match=message) as raised:
        gristmill.mix(write_mix(store, parts, **options))
    assert "mix.yaml" in str(raised.value)


def test_a_plan_is_refused_where_it_or_a_dataset_is_another(tmp_path: Path) -> None:
    url = write_packed(str(tmp_path), "concat", tokenizer="aa")
    path = write_mix(tmp_path, [{"dataset": "x", "tokens": 99}])
    plan = Path(gristmill.mix(path).url)
    manifest = Path(url) / FOLDER / "manifest.json"
    files.write_record(str(manifest), {**files.read_record(str(manifest)), "rows": 1})
    with pytest.raises(RecipeError, match=r"is not what .*mix.json was made of: its manifest has the digest"):
        gristmill.open_mixture(plan)
    whole = plan.read_text()
    plan.write_text(whole.replace('"sequences": 1', '"sequences": 2', 1))
    with pytest.raises(StoreDamaged, match="is no whole plan of a mixture; `gristmill mix"):
        gristmill.open_mixture(plan)
    files.write_record(str(plan), {"files": []})
    with pytest.raises(RecipeError, match="is no plan of a mixture that this version of gristmill reads"):
        gristmill.open_mixture(plan)
    plan.unlink()
    with pytest.raises(RecipeError, match="there is no plan of a mixture at"):
        gristmill.open_mixture(plan)
