"""Calls in processes with limits: answers in order, and no call pays for another."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from gristmill.operators.errors import FatalError, RecipeError
from gristmill.pipelines.engine.limited_process import (
    ATTEMPTS,
    CallLimits,
    ExceededError,
    Excess,
    LimitedProcesses,
)
from tests.pipelines.engine.work import KilledWhilePreparing, nothing, obey, prepare_in_vain

LIMITS = CallLimits(seconds=1, memory=1 << 28)


@pytest.fixture
def processes() -> LimitedProcesses:
    return LimitedProcesses(nothing)


def answers(processes: LimitedProcesses, orders: list[Any], limits: CallLimits = LIMITS) -> list[Any]:
    results = processes.ask_each(limits, obey, ((order,) for order in orders))
    return [result.excess if isinstance(result, ExceededError) else result for result in results]


def test_answers_come_in_order_of_any_size(processes: LimitedProcesses) -> None:
    orders = [bytes([i % 256]) * size for i, size in enumerate([0, 1, 5_000_000, 10, 700_000, 700_000, 3] * 5)]
    assert answers(processes, orders) == orders
    assert answers(processes, []) == []
    assert processes.ask(LIMITS, obey, b"one") == b"one"


@pytest.mark.parametrize(
    ("order", "excess"), [("exit", Excess.MEMORY), ("killed", Excess.MEMORY), ("memory", Excess.MEMORY)]
)
def test_a_call_that_ends_its_process_is_the_only_one_to_fail(
    processes: LimitedProcesses, order: str, excess: Excess
) -> None:
    orders: list[Any] = [*range(5), order, *range(5, 9), order, order, 9]
    expected = [excess if each == order else each for each in orders]
    assert answers(processes, orders) == expected
    assert answers(processes, [order]) == [excess]
    with pytest.raises(ExceededError):
        processes.ask(LIMITS, obey, order)


def test_a_call_that_takes_too_long_is_the_only_one_to_fail(processes: LimitedProcesses) -> None:
    assert answers(processes, ["a", "spin", "b"]) == ["a", Excess.TIME, "b"]


def test_an_error_of_the_function_is_raised_and_the_next_calls_get_their_own_answers(
    processes: LimitedProcesses,
) -> None:
    with pytest.raises(RecipeError, match="an error"):
        answers(processes, [1, "error", 2, 3])
    assert answers(processes, [4, 5]) == [4, 5]


def test_who_stops_asking_leaves_no_answers_to_the_next(processes: LimitedProcesses) -> None:
    results = processes.ask_each(LIMITS, obey, ((i,) for i in range(100)))
    assert [next(results), next(results)] == [0, 1]
    results.close()
    assert answers(processes, ["x", "y"]) == ["x", "y"]


def test_a_process_that_was_ended_between_two_calls_is_replaced(processes: LimitedProcesses) -> None:
    os.kill(processes.ask(LIMITS, obey, "pid"), signal.SIGKILL)
    time.sleep(0.2)
    assert answers(processes, [1, 2]) == [1, 2]


def test_killed_from_outside_at_any_time_nothing_is_lost(processes: LimitedProcesses) -> None:
    over = threading.Event()
    process = processes.ask(LIMITS, obey, "pid")

    def kill() -> None:
        over.wait(0.05)
        os.kill(process, signal.SIGKILL)

    killer = threading.Thread(target=kill)
    killer.start()
    orders = [bytes(50_000 + i) for i in range(2000)]
    assert answers(processes, orders) == orders
    killer.join()


@pytest.mark.parametrize("times", [1, ATTEMPTS - 1])
def test_killed_before_it_is_ready_a_process_costs_no_call(tmp_path: Path, times: int) -> None:
    processes = LimitedProcesses(KilledWhilePreparing(tmp_path, times))
    assert answers(processes, [1, 2]) == [1, 2]
    assert len(list(tmp_path.iterdir())) == times


def test_processes_that_are_always_killed_before_they_are_ready_end_the_run(tmp_path: Path) -> None:
    processes = LimitedProcesses(KilledWhilePreparing(tmp_path, 1000))
    with pytest.raises(FatalError, match=r"5 processes in a row .* before they were ready"):
        answers(processes, [1, 2])
    assert len(list(tmp_path.iterdir())) == ATTEMPTS


def test_a_preparation_that_fails_ends_the_run_and_tells_why() -> None:
    with pytest.raises(FatalError, match="could not be prepared: ImportError: no such library"):
        answers(LimitedProcesses(prepare_in_vain), [1, 2])


def test_a_call_whose_new_process_is_killed_is_asked_again(processes: LimitedProcesses, tmp_path: Path) -> None:
    order = (ATTEMPTS - 1, tmp_path)
    assert answers(processes, [order, 1]) == [order, 1]
    assert len(list(tmp_path.iterdir())) == ATTEMPTS - 1


def test_many_threads_ask_at_once(processes: LimitedProcesses) -> None:
    results: dict[int, list[Any]] = {}

    def ask(k: int) -> None:
        results[k] = answers(processes, [f"{k} {i}" for i in range(50)])

    threads = [threading.Thread(target=ask, args=(k,)) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == {k: [f"{k} {i}" for i in range(50)] for k in range(4)}


def test_the_processor_seconds_of_calls_are_told(processes: LimitedProcesses) -> None:
    spent: list[float] = []
    assert list(processes.ask_each(LIMITS, obey, [("work",), ("work",)], spent.append)) == ["worked", "worked"]
    assert len(spent) == 2
    assert all(0.1 <= seconds < 1 for seconds in spent)
