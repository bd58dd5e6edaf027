"""The budget: ceilings hold under concurrency, everything that fits is admitted, everything ends."""

from __future__ import annotations

import random
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from gristmill.operators.label.task import Sample
from gristmill.operators.rules.select import Select
from gristmill.pipelines.label.budget import FREE, NOTHING, Amount, Bound, Budget, Ceilings, Ledger, Prices

PRICES = {"a": Prices(input_per_million=0.15, output_per_million=0.6), "b": Prices(input_per_million=3.0)}
CEILINGS = ("documents", "input_tokens", "output_tokens", "cost")


@pytest.mark.parametrize(
    ("given", "count"),
    [
        ("80M", 80_000_000),
        ("1m", 1_000_000),
        ("2k", 2_000),
        ("1.5 B", 1_500_000_000),
        ("12,000", 12_000),
        (7, 7),
        ("0.1T", 100_000_000_000),
        ("9007199254740993", 9007199254740993),
    ],
)
def test_sizes(given: Any, count: int) -> None:
    assert Budget(input_tokens=given).input_tokens == count


@pytest.mark.parametrize("given", ["many", "-1", -1, "5x", 1.5])
def test_what_is_no_size_is_refused(given: Any) -> None:
    with pytest.raises(ValidationError):
        Budget(documents=given)


def test_the_longest_prefix_that_fits_is_admitted() -> None:
    ledger = Ledger(Budget(input_tokens=100, documents=5), {})
    assert ledger.admit("a", [Bound(40, 1), Bound(60, 1), Bound(1, 1)]) == [Bound(40, 1), Bound(60, 1)]
    assert ledger.reached is None
    assert ledger.committed == Amount(2, 100, 2, 0.0)


def test_nothing_in_flight_and_nothing_fits_names_the_ceiling() -> None:
    ledger = Ledger(Budget(cost=1.0, input_tokens=10**9), {"a": Prices(input_per_million=1.0)}, Amount(0, 0, 0, 0.5))
    assert ledger.admit("a", [Bound(500_001, 0)]) == []
    assert ledger.reached == "cost"
    assert ledger.admit("a", [Bound(500_000, 0)]) == [Bound(500_000, 0)]


def test_a_night_has_ceilings_of_its_own() -> None:
    budget = Budget(documents=9, night=Ceilings(documents=4, cost=1.0))
    ledger = Ledger(budget, {"a": Prices(input_per_million=1.0)}, Amount(7, 0, 0, 90.0), None, Amount(2, 0, 0, 0.25))
    assert ledger.admit("a", [Bound(500_000, 0), Bound(250_000, 0), Bound(1, 0)]) == [
        Bound(500_000, 0),
        Bound(250_000, 0),
    ]
    ledger.settle("a", [Bound(500_000, 0), Bound(250_000, 0)], [FREE, Bound(100_000, 0)])
    assert ledger.admit("a", [Bound(650_001, 0)]) == []
    assert ledger.reached == "night.cost"
    assert ledger.admit("a", [Bound(650_000, 0), Bound(0, 0)]) == [Bound(650_000, 0)]
    ledger.settle("a", [Bound(650_000, 0)], [Bound(1, 0)])
    assert ledger.admit("a", [Bound(1, 0)]) == []
    assert ledger.reached == "documents", "the narrower of both"


def test_admit_waits_for_what_is_in_flight() -> None:
    ledger = Ledger(Budget(output_tokens=10), {})
    first = ledger.admit("a", [Bound(0, 10)])
    with ThreadPoolExecutor(1) as pool:
        second = pool.submit(ledger.admit, "a", [Bound(0, 8)])
        ledger.settle("a", first, [Bound(0, 2)])
        assert second.result(timeout=60) == [Bound(0, 8)]
    assert ledger.committed.output_tokens == 10


def test_stop_wakes_whoever_waits() -> None:
    ledger = Ledger(Budget(documents=1), {})
    ledger.admit("a", [Bound(1, 1)])
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(ledger.admit, "a", [Bound(1, 1)])
        ledger.stop()
        assert waiting.result(timeout=60) == []


def test_a_repair_takes_no_document() -> None:
    ledger = Ledger(Budget(documents=1), {})
    reserved = ledger.admit("a", [Bound(10, 1)])
    ledger.settle("a", reserved, [Bound(9, 1)])
    assert ledger.admit("a", [Bound(10, 1, documents=0)])
    assert ledger.admit("a", [Bound(10, 1, documents=0), Bound(10, 1)]) == [Bound(10, 1, 0)]


def test_an_answer_above_its_bound_widens_later_bounds() -> None:
    ledger = Ledger(Budget(input_tokens=1000), {})
    reserved = ledger.admit("a", [Bound(100, 10)])
    ledger.settle("a", reserved, [Bound(150, 10)])
    assert ledger.spent.input_tokens == 150
    assert ledger.admit("a", [Bound(100, 10), Bound(3, 0)]) == [Bound(150, 10), Bound(5, 1)]
    assert ledger.admit("b", [Bound(100, 10)]) == [Bound(100, 10)], "another annotator's bounds stay"


def test_a_reservation_that_is_not_written_down_is_none() -> None:
    def refuse(annotator: str, amount: Amount) -> None:
        raise OSError("disk full")

    ledger = Ledger(Budget(documents=1), {}, on_reserve=refuse)
    with pytest.raises(OSError, match="disk full"):
        ledger.admit("a", [Bound(1, 1)])
    assert ledger.committed == NOTHING


def test_reservations_are_written_down_before_anything_is_asked() -> None:
    written: list[tuple[str, Amount]] = []
    ledger = Ledger(Budget(), PRICES, on_reserve=lambda *told: written.append(told))
    ledger.admit("a", [Bound(1_000_000, 0), Bound(0, 1_000_000)])
    assert written == [("a", Amount(2, 1_000_000, 1_000_000, 0.75))]


questions = st.lists(st.tuples(st.integers(0, 60), st.integers(0, 30)), max_size=60)
ceilings = st.builds(
    Budget,
    documents=st.none() | st.integers(0, 40),
    input_tokens=st.none() | st.integers(0, 900),
    output_tokens=st.none() | st.integers(0, 400),
    cost=st.none() | st.floats(0, 0.003),
)


@settings(max_examples=60)
@given(ceilings, st.dictionaries(st.sampled_from("ab"), questions, min_size=1), st.integers(1, 4), st.integers())
def test_spent_and_reserved_never_pass_a_ceiling(
    budget: Budget, asked: dict[str, list[tuple[int, int]]], threads: int, seed: int
) -> None:
    """Real threads ask in batches, answer in any order, fail, and are charged or not; a watcher looks all the time."""
    before = Amount(1, 10, 5, 0.0001)
    ledger = Ledger(budget, PRICES, before)
    passed: list[str] = []
    over = threading.Event()

    def check() -> None:
        held = ledger.committed
        for name in CEILINGS:
            ceiling = getattr(budget, name)
            if ceiling is not None and getattr(held, name) > max(ceiling, getattr(before, name)):
                passed.append(f"{name}: {getattr(held, name)} > {ceiling}")

    def watch() -> None:
        while not over.is_set():
            check()

    def ask(name: str, bounds: list[tuple[int, int]], draw: random.Random) -> tuple[Amount, list[tuple[int, int]]]:
        total, left = NOTHING, list(bounds)
        while left:
            batch = [Bound(*bound) for bound in left[: draw.randint(1, 8)]]
            admitted = ledger.admit(name, batch)
            if not admitted:
                break
            assert admitted == batch[: len(admitted)]
            left = left[len(admitted) :]
            paid = [
                draw.choice([FREE, bound._replace(documents=0), Bound(draw.randint(0, bound[0]), bound[1])])
                for bound in admitted
            ]
            check()
            ledger.settle(name, admitted, paid)
            total = total.plus(ledger.worth(name, paid))
        return total, left

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        with ThreadPoolExecutor(2 * threads) as pool:
            shares = [(name, bounds[i::threads]) for name, bounds in asked.items() for i in range(threads)]
            futures = [pool.submit(ask, *share, random.Random(seed + i)) for i, share in enumerate(shares)]
            results = [future.result(timeout=60) for future in futures]
    finally:
        over.set()
        watcher.join()
    assert passed == []
    spent = before
    for total, _ in results:
        spent = spent.plus(total)
    assert ledger.spent[:3] == spent[:3] == ledger.committed[:3], "all is settled"
    assert ledger.spent.cost == pytest.approx(spent.cost)
    unasked = [bound for _, left in results for bound in left]
    assert bool(unasked) <= (ledger.reached is not None)


def test_samples_and_selections_take_them_too() -> None:
    assert Sample(documents="50k", by="cluster", clusters="1k").model_dump(include={"documents", "clusters"}) == {  # type: ignore[arg-type]
        "documents": 50_000,
        "clusters": 1_000,
    }
    written, plain = Select(by="random", tokens="1.5B"), Select(by="random", tokens=1_500_000_000)  # type: ignore[arg-type]
    assert written.fingerprint({}) == plain.fingerprint({})
    for told in ("0", "50x", "-1k"):
        with pytest.raises(ValidationError):
            Sample(documents=told)  # type: ignore[arg-type]
