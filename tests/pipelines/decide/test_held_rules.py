"""Held rules: what they say of any list of rules with other limits is what `compare` says of both lists."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gristmill.operators.base import Rule
from gristmill.operators.rules.drop import Drop
from gristmill.operators.rules.exact_dedup import ExactDedup
from gristmill.operators.rules.gopher_rules import GopherRules
from gristmill.operators.rules.select import Select
from gristmill.operators.rules.thresholds import Thresholds
from gristmill.pipelines.config.tuning import tuned
from gristmill.pipelines.decide.comparison import Variant, compare
from gristmill.pipelines.decide.driver import Means
from gristmill.pipelines.decide.funnel import Decided
from gristmill.pipelines.decide.groups import MOST_VALUES
from gristmill.pipelines.decide.held_rules import HeldRules, Superseded
from gristmill.pipelines.decide.last_pass import BothDecided
from gristmill.pipelines.engine.local import LocalEngine
from tests.pipelines.decide.fakes import MemoryShard, documents, split

N = 1100
BY = ["source", "lang", "crowd"]
NUMBERS = st.sampled_from(["-1", "0", "2", "3.5", "4", "7", "1e3", "0.5"])
OFF = {name: None for name in GopherRules.model_fields if name.startswith(("min_", "max_"))}


@st.composite
def rule(draw: st.DrawFn, kind: int) -> Rule:
    """A rule of one kind, with limits of its own: two of a kind differ in limits alone."""
    a, b = draw(NUMBERS), draw(NUMBERS)
    whole, part = draw(st.integers(0, 9)), draw(st.sampled_from([0.0, 0.25, 0.5, 1.0]))
    return [
        lambda: Drop(when=f"words < {a} or quality > {b} or lang in ('de') and words > {whole}"),
        lambda: Drop(when=f"quality < {a}", name="bad"),
        lambda: GopherRules(**OFF | {"min_words": whole, "max_dup_lines": part, "languages": ("en", "fr")}),
        lambda: Thresholds(by="lang", minimum={"words": {"en": whole, "de": 3}}, name="own"),
        lambda: ExactDedup(by="key"),
        lambda: Select(by="quality", method="top", documents=20 * whole),
        lambda: Drop(when=f"quality < quantile({part})", name="worst"),
        lambda: Drop(when=f"cast(word AS BIGINT) < {whole} and word != 'x'", name="fragile"),
    ][kind]()


def lists(kinds: Sequence[int]) -> st.SearchStrategy[tuple[Rule, ...]]:
    return st.tuples(*(rule(kind) for kind in kinds))


ORDERS = st.lists(st.sampled_from(range(7)), min_size=1, max_size=5, unique=True)


@pytest.fixture(scope="module")
def shards() -> list[MemoryShard]:
    draw = np.random.default_rng(0)
    some = lambda values: [None if i % 13 == 0 else v for i, v in enumerate(values)]  # noqa: E731
    numbers = draw.integers(0, 90, N) / 10
    numbers[::17] = np.nan
    table = documents(N)
    for name, column in {
        "key": [f"k{i}" for i in draw.integers(0, N // 2, N)],
        "quality": pa.array(some(numbers.tolist())),
        "words": pa.array(draw.integers(0, 10, N), pa.uint32()),
        "gopher_words": pa.array(some(draw.integers(0, 10, N).tolist()), pa.uint32()),
        "gopher_dup_lines": pa.array(draw.random(N)),
        "lang": some([["en", "de", "fr"][i] for i in draw.integers(0, 3, N)]),
        "crowd": [f"c{i}" for i in range(N)],
        "source": [["docs", "web"][i] for i in draw.integers(0, 2, N)],
        "word": ["x" if i % 2 else str(i % 7) for i in range(N)],
    }.items():
        table = table.append_column(name, column if isinstance(column, pa.Array) else pa.array(column))
    return split(table, [150, 0, 7, 500, N - 657])


def plain(decided: Decided) -> tuple[Decided, int, int, int]:
    """An outcome with the counts of all shards as one."""
    return replace(decided, shards=()), decided.kept, decided.kept_bytes, decided.kept_tokens


def same(told: BothDecided, right: BothDecided) -> None:
    assert (plain(told.before), plain(told.after)) == (plain(right.before), plain(right.after))
    assert (told.moves, told.changed) == (right.moves, right.changed)


class Questions:
    """Rules that are held, and what `compare` says of them."""

    def __init__(self, rules: Sequence[Rule], shards: Sequence[MemoryShard], folder: str) -> None:
        self.rules, self.shards, self.folder, self.n = rules, shards, Path(folder), 0
        self.told: list[float] = []
        self.held = HeldRules(rules, shards, BY, self.means("held"), self.told.append)

    def means(self, name: str) -> Means:
        return Means(LocalEngine(2), str(self.folder / name / "scratch"), str(self.folder / name / "run"))

    def check(self, rules: Sequence[Rule], examples: int = 4) -> None:
        self.n += 1
        right = compare(
            Variant(self.rules, self.shards), Variant(rules, self.shards), BY, examples, self.means(f"{self.n}")
        )
        stop = threading.Event()
        same(self.held.compared(rules, examples, str(self.folder / f"own-{self.n}"), stop), right)
        last, told = self.held.moved(rules)
        if told is not None:
            first = compare(
                *(Variant(each[:last], self.shards) for each in (self.rules, rules)),
                BY,
                0,
                self.means(f"{self.n}-first"),
            )
            same(told, first)


@pytest.mark.slow
@settings(max_examples=60)
@given(st.data())
def test_it_says_what_a_comparison_says(shards: list[MemoryShard], data: st.DataObject) -> None:
    check_some(shards, data.draw(ORDERS), data)


@pytest.mark.parametrize("kinds", [(0, 3, 2), (1, 4, 0), (2, 5, 6, 1)])
@settings(max_examples=1)
@given(data=st.data())
def test_it_says_what_a_comparison_says_of_some(
    shards: list[MemoryShard], kinds: Sequence[int], data: st.DataObject
) -> None:
    check_some(shards, kinds, data)


def check_some(shards: list[MemoryShard], kinds: Sequence[int], data: st.DataObject) -> None:
    with TemporaryDirectory() as folder, tuned(held_rows=data.draw(st.sampled_from([1, 160, 10_000]))):
        questions = Questions(data.draw(lists(kinds)), shards, folder)
        for _ in range(2):
            questions.check(data.draw(lists(kinds)))


def test_what_follows_conditions_is_told_at_once_and_nothing_of_what_looks_at_all(
    shards: list[MemoryShard], tmp_path: Path
) -> None:
    rules = [Drop(when="words < 2"), Drop(when="quality < 1", name="bad"), ExactDedup(by="key"), Drop(when="words > 8")]
    held = Questions(rules, shards, str(tmp_path)).held
    last, told = held.moved([rules[0], Drop(when="quality < 4", name="bad"), *rules[2:]])
    assert (last, told is not None) == (2, True)
    last, told = held.moved([*rules[:3], Drop(when="words > 5")])
    assert (last, told is not None) == (4, True)
    assert held.moved([*rules[:2], ExactDedup(by="quality"), rules[3]]) == (2, None)
    assert held.moved(rules)[1] is None  # nothing differs


def test_a_clause_that_cannot_be_computed_on_all_documents_is_not_held(
    shards: list[MemoryShard], tmp_path: Path
) -> None:
    """`word` is no number where the clause before drops the document: in turn they can be computed, at once not."""
    rules = [Drop(when="word = 'x' or cast(word AS BIGINT) < 3")]
    questions = Questions(rules, shards, str(tmp_path))
    assert questions.held.moved([Drop(when="word = 'x' or cast(word AS BIGINT) < 5")]) == (1, None)
    questions.check([Drop(when="word = 'x' or cast(word AS BIGINT) < 5")])


def test_progress_goes_up_to_one(shards: list[MemoryShard], tmp_path: Path) -> None:
    rules = [Drop(when="words < 2"), ExactDedup(by="key"), Drop(when="quality < 1")]
    told = Questions(rules, shards, str(tmp_path)).told
    assert told == sorted(told)
    assert told[-1] == 1.0


def test_an_answer_that_nobody_waits_for_is_given_up(shards: list[MemoryShard], tmp_path: Path) -> None:
    rules = [Drop(when="words < 2"), ExactDedup(by="key")]
    held, stop = Questions(rules, shards, str(tmp_path)).held, threading.Event()
    stop.set()
    with pytest.raises(Superseded):
        held.compared([Drop(when="words < 3"), rules[1]], 0, str(tmp_path / "own"), stop)


def test_the_corpus_has_a_column_of_too_many_values_though_no_shard_has(shards: list[MemoryShard]) -> None:
    assert max(shard.rows for shard in shards) < MOST_VALUES < N
