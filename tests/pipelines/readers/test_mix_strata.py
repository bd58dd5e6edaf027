"""Strata of packed datasets: read alone, and as parts of mixtures with weights, caps and repetitions."""

from __future__ import annotations

import pickle
from collections import Counter
from fractions import Fraction
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

import gristmill
from gristmill.operators.errors import RecipeError
from gristmill.pipelines.readers.mix_plan import MixPlan
from gristmill.pipelines.readers.mixture import Mixture
from gristmill.pipelines.readers.packed_tokens import PackedSequence
from gristmill.pipelines.storage import files
from tests.pipelines.readers.test_mixture import taken
from tests.pipelines.readers.test_packed import FOLDER, LENGTH, write_packed

SOURCES, BUCKETS, SIZES = (
    ("web", "code"),
    ("up to 50%", "50% to 90%", "above 90%"),
    ("up to 5", "5 to 100", "above 100"),
)
BY = [
    {"column": "source"},
    {"column": "quality", "cuts": [50.0, 90.0], "percent": True, "limits": [0.3, 0.8]},
    {"column": "size", "cuts": [5.0, 100.0], "percent": False},
]
COUNTS = ("documents", "tokens", "sequences")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset of 12 strata, the first three in two shards each, and one without strata."""
    root = tmp_path_factory.mktemp("store")
    code = [("code", BUCKETS[0], SIZES[0]), ("code", BUCKETS[1], SIZES[2]), ("code", None, SIZES[0])]
    names = [*product(SOURCES[:1], BUCKETS, SIZES), *code]
    strata = [dict(zip(("source", "quality", "size"), name, strict=True)) for name in names]
    write_packed(str(root), "best_fit", 15, 3, "web", 9, tokenizer="aa")
    manifest = root / "datasets" / "web" / FOLDER / "manifest.json"
    record = files.read_record(str(manifest))
    packed = record["packed"]
    listed = [{**shard, "stratum": strata[i % len(strata)]} for i, shard in enumerate(packed["shards"])]
    of = [[shard for shard in listed if shard["stratum"] == told] for told in strata]
    counted = [
        {"stratum": told, **{name: sum(shard[name] for shard in shards) for name in COUNTS}}
        for told, shards in zip(strata, of, strict=True)
    ]
    told = {**packed, "by": BY, "strata": counted, "shards": listed}
    files.write_record(str(manifest), {"files": [], "packed": told})
    write_packed(str(root), "concat", 3, 4, "plain", tokenizer="aa")
    return root


def planned(store: Path, parts: list[dict[str, Any]], **options: Any) -> tuple[MixPlan, Mixture]:
    path = store / "mix.yaml"
    named = [{"dataset": "datasets/web", **part} for part in parts]
    path.write_text(
        yaml.safe_dump({"version": 1, "name": "m", "length": LENGTH, "parts": named, **options}, sort_keys=False)
    )
    plan = gristmill.mix(path)
    return plan, gristmill.open_mixture(plan.url)


def stratum_of(store: Path) -> list[dict[str, Any]]:
    """The stratum of each shard of the dataset: that of a document by its address // 100."""
    return [shard["stratum"] for shard in gristmill.open_packed(store / "datasets" / "web").described["shards"]]


def shards_of(sequence: PackedSequence) -> set[int]:
    return {address // 100 for address in sequence.addresses.tolist()}


def tokens_of(store: Path, **where: Any) -> int:
    tokens: int = gristmill.open_packed(store / "datasets" / "web", where=where).described["tokens"]
    return tokens


WHERE = st.fixed_dictionaries(
    {},
    optional={
        "source": st.sampled_from(SOURCES),
        "quality": st.lists(st.sampled_from([*BUCKETS[:2], None]), min_size=1, unique=True),
        "size": st.lists(st.sampled_from(SIZES), min_size=1, unique=True),
    },
)


@settings(max_examples=15)
@given(WHERE, st.integers(0, 99), st.integers(1, 3))
def test_strata_that_are_chosen_are_read_whole_and_alone(
    store: Path, where: dict[str, Any], seed: int, world: int
) -> None:
    wanted = {name: value if isinstance(value, list) else [value] for name, value in where.items()}
    shards = {i for i, told in enumerate(stratum_of(store)) if all(told[n] in of for n, of in wanted.items())}
    if not shards:
        with pytest.raises(RecipeError, match="has no tokens with"):
            gristmill.open_packed(store / "datasets" / "web", where=where)
        return
    chosen = gristmill.open_packed(store / "datasets" / "web", where=where)
    everything = gristmill.open_packed(store / "datasets" / "web")
    every = [everything.sequence(i) for i in range(len(everything))]
    expected = Counter(tuple(s.tokens.tolist()) for s in every if shards_of(s) <= shards)
    ranks = [[*chosen.feed(seed=seed, rank=rank, world=world)] for rank in range(world)]
    assert Counter(tuple(s.tokens.tolist()) for rank in ranks for s in rank) == expected
    assert (chosen.described["sequences"], len(chosen)) == (expected.total(), expected.total())
    assert chosen.described["tokens"] == sum(len(tokens) for tokens in expected.elements())
    assert len(chosen.described["strata"]) == len({str(stratum_of(store)[i]) for i in shards})
    copy = pickle.loads(pickle.dumps(chosen.feed(seed=seed)))
    assert taken(copy) == taken(chosen.feed(seed=seed))
    if where:
        state = chosen.feed(seed=seed).state
        with pytest.raises(RecipeError, match="the state is of a feed with"):
            gristmill.open_packed(store / "datasets" / "web", where={"source": "web", "size": SIZES[0]}).feed(
                seed=seed, state={**state, "strata": "0"}
            )


@settings(max_examples=6)
@given(st.data())
def test_strata_have_the_tokens_that_were_asked_for(store: Path, data: st.DataObject) -> None:
    draw = data.draw(st.lists(st.floats(0.05, 1), min_size=5, max_size=5))
    total = data.draw(st.integers(20_500, 21_000))
    weights = dict(zip(BUCKETS, draw[:3], strict=True))
    parts = [
        {"where": {"source": "web"}, "by": "quality", "weight": weights, "epochs": 100},
        {"where": {"source": "code", "size": [SIZES[0], SIZES[2]]}, "weight": draw[3], "epochs": 100},
        {"dataset": "datasets/plain", "weight": draw[4], "epochs": 100},
    ]
    plan, mixture = planned(store, parts, tokens=total, seed=data.draw(st.integers(0, 9)))
    sequences = [*mixture.feed()]
    tokens = np.zeros(5)
    np.add.at(tokens, [s.part for s in sequences], [len(s.tokens) for s in sequences])
    asked = total * np.array([draw[0], draw[1], draw[2], draw[3], draw[4]]) / sum(draw)
    assert [part.tokens for part in plan.parts] == tokens.tolist()
    assert (np.abs(tokens - asked) <= LENGTH / 2 + 1).all(), "no more than half a sequence"
    assert abs(tokens.sum() - total) < 0.001 * total
    strata = stratum_of(store)
    for sequence in sequences:
        told = plan.parts[sequence.part].where
        assert (told is None) == (sequence.part == 4)
        for column, values in (told or {}).items():
            assert {strata[shard][column] for shard in shards_of(sequence)} <= {*values}
    for number, part in enumerate(plan.parts):
        of_part = taken(s for s in sequences if s.part == number)
        for first in range(0, len(of_part), part.sequences_there):
            epoch = of_part[first : first + part.sequences_there]
            assert len({*epoch}) == len(epoch), "no sequence comes twice before each has come once"
    world = data.draw(st.integers(1, 4))
    ranks = [taken(mixture.feed(rank=rank, world=world)) for rank in range(world)]
    assert [ranks[i % world][i // world] for i in range(len(sequences))] == taken(sequences)


def test_another_weight_leaves_the_order_within_strata(store: Path) -> None:
    def orders(weights: dict[str, int]) -> dict[Any, list[Any]]:
        _, mixture = planned(store, [{"by": ["quality"], "weight": {"null": 1, **weights}, "epochs": 20}], tokens="9k")
        found: dict[Any, list[Any]] = {}
        for sequence in mixture.feed():
            found.setdefault(str(mixture.parts[sequence.part].where), []).append(taken([sequence])[0][1:])
        return found

    one, other = (orders(dict(zip(BUCKETS, weights, strict=True))) for weights in ((1, 2, 3), (3, 0, 2)))
    assert len(one) == 4
    assert {*one} - {*other} == {"{'quality': ['50% to 90%']}"}
    for name, sequences in other.items():
        shared = min(len(sequences), len(one[name]))
        assert sequences[:shared] == one[name][:shared]


def test_weights_of_several_columns(store: Path) -> None:
    weight = {"web": dict(zip(BUCKETS, (1, 2, 0), strict=True)), "code": {BUCKETS[0]: 1, BUCKETS[1]: 0, "null": 4}}
    plan, _ = planned(store, [{"by": ["source", "quality"], "weight": weight, "epochs": 100}], tokens="16k")
    assert {(p.where["source"][0], p.where["quality"][0]): p.asked for p in plan.parts if p.where} == {
        ("web", BUCKETS[0]): 2000,
        ("web", BUCKETS[1]): 4000,
        ("code", BUCKETS[0]): 2000,
        ("code", None): 8000,
    }


@pytest.mark.parametrize("epochs", [0.5, 1, 3])
def test_large_clusters_come_more_often(store: Path, epochs: float) -> None:
    repeat = ["size > 5 -> 2", "size > 100 -> 3.5"]
    of = [tokens_of(store, source="web", size=size) for size in SIZES]
    whole = of[0] + 2 * of[1] + Fraction("3.5") * of[2]
    tokens = int(whole * Fraction(epochs))
    part = {"where": {"source": "web"}, "epochs": epochs, "repeat": repeat, "tokens": tokens}
    plan, mixture = planned(store, [part])
    assert [p.where["size"] for p in plan.parts if p.where] == [[size] for size in SIZES]
    for planned_part, often, there in zip(plan.parts, (1, 2, 3.5), of, strict=True):
        assert planned_part.repeat == often
        assert abs(planned_part.tokens - often * epochs * there) <= LENGTH / 2 + 1
    counts = Counter(sequence[1:] for sequence in taken(mixture.feed()))
    strata = stratum_of(store)
    if epochs == 1:
        for sequence, n in counts.items():
            size = strata[sequence[0] // 100]["size"]
            assert n in {SIZES[0]: (1,), SIZES[1]: (2,), SIZES[2]: (3, 4)}[size]
    assert [remark for remark in plan.remarks if "epochs" in remark][:1] == (
        [f"{store}/datasets/web, source web, size 5 to 100: 6.00 epochs. " + plan.remarks[0].split("epochs. ")[1]]
        if epochs == 3
        else []
    )
    with pytest.raises(RecipeError, match=r"which takes [0-9.]+ epochs"):
        planned(store, [{**part, "tokens": tokens + 50, "epochs": epochs}])


def test_one_factor_for_all_leaves_the_part_whole(store: Path) -> None:
    part = {"where": {"size": ["above 100"]}, "repeat": "size > 100 -> 2", "epochs": 1}
    tokens = 2 * tokens_of(store, size="above 100")
    plan, _ = planned(store, [{**part, "tokens": tokens}])
    assert [(p.epochs, p.repeat) for p in plan.parts] == [(2, 2)]


def test_the_same_file_gives_the_same_plan(store: Path) -> None:
    parts = [{"where": {"source": "web"}, "weight": 1, "epochs": 20, "repeat": "size > 5 -> 2"}]
    first = Path(planned(store, parts, tokens="5k")[0].url).read_bytes()
    assert Path(planned(store, parts, tokens="5k")[0].url).read_bytes() == first
    _, mixture = planned(store, parts, tokens="5k")
    state = mixture.feed().state
    _, other = planned(store, [{**parts[0], "where": {"source": "code"}}], tokens="5k")
    with pytest.raises(RecipeError, match="the state is of a feed with plan"):
        other.feed(state=state)


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        (
            [{"where": {"source": "web"}, "weight": 1}, {"where": {"quality": BUCKETS[:2]}, "weight": 1}],
            r"mix.yaml:6: .*web: documents with source web, quality up to 50%, size up to 5 are in the part at "
            r".*mix.yaml:5 too, and would come twice",
        ),
        ([{"where": {"source": "web"}, "weight": 1}, {"weight": 1}], "are in the part at .*mix.yaml:5 too"),
        ([{"weight": 1}, {"weight": 1}], "is a part already: its documents would come twice. `epochs` reads it again"),
        ([{"where": {"sourse": "web"}, "weight": 1}], "is not packed by sourse; did you mean source?"),
        ([{"where": {"source": "wbe"}, "weight": 1}], "has no tokens with source wbe; did you mean web?"),
        ([{"where": {"source": True}, "weight": 1}], "has no tokens with source true; there is code, web"),
        ([{"where": {"source": "web", "quality": None}, "weight": 1}], "no tokens with quality null, source web"),
        (
            [{"dataset": "datasets/plain", "where": {"source": "web"}, "weight": 1}],
            r"plain is packed without strata; `write: {pack: {by: \[source\]}}` in its recipe packs them apart",
        ),
        ([{"by": "source", "weight": {"web": 1}}], "has source code too: give each a weight; 0 leaves it out"),
        ([{"by": "source", "weight": {"web": 1, "cod": 1}}], "has no tokens with source cod; did you mean code?"),
        (
            [
                {
                    "by": ["source", "quality"],
                    "weight": {"web": {BUCKETS[0]: 1, BUCKETS[1]: 1, BUCKETS[2]: 0}, "code": {BUCKETS[0]: 1}},
                }
            ],
            "has quality 50% to 90%, null too where source code: give each a weight",
        ),
        ([{"by": "source", "weight": 1}], "goes with a weight for each of its values"),
        ([{"weight": {"web": 1}}], "goes with a weight for each of its values"),
        ([{"by": "source", "weight": {"web": 0, "code": 0}}], "with `by` one of them at least"),
        ([{"by": "source", "weight": {"web": -1, "code": 1}}], "a weight is a number, 0 or more, not -1"),
        ([{"by": ["source", "size"], "weight": {"web": 1}}], "each value of the first has weights of the next one's"),
        ([{"by": "source", "where": {"source": "web"}, "weight": {"web": 1}}], "source has one place: in `by`, or in"),
        ([{"weight": 1, "repeat": "size >= 5 -> 2"}], "'size >= 5 -> 2' is not COLUMN > NUMBER -> TIMES, such as"),
        ([{"weight": 1, "repeat": "size > 5 -> 0"}], "is not COLUMN > NUMBER -> TIMES"),
        ([{"weight": 1, "repeat": "size > 6 -> 2"}], "is packed by size cut at 5, 100, and not where `repeat` says"),
        ([{"weight": 1, "repeat": "quality > 50 -> 2"}], "is packed by quality cut at 50%, 90%, and not where"),
        ([{"weight": 1, "repeat": "source > 5 -> 2"}], "is packed by source as it is, and not cut at numbers"),
        ([{"weight": 1, "repeat": ["size > 5 -> 2", "quality > 50% -> 2"]}], "rules of one part go by one column"),
    ],
)
def test_mistakes_are_told_with_their_lines(store: Path, parts: list[dict[str, Any]], message: str) -> None:
    path = store / "mix.yaml"
    head = f"version: 1\nname: m\nlength: {LENGTH}\nparts:\n"
    named = [{"dataset": "datasets/web", **part} for part in parts]
    lines = [f"  - {yaml.safe_dump(part, default_flow_style=True, width=1000).strip()}\n" for part in named]
    path.write_text(head + "".join(lines) + "tokens: 900\n")
    with pytest.raises(RecipeError, match=message) as raised:
        gristmill.mix(path)
    assert "mix.yaml:" in str(raised.value)
