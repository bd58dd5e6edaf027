"""The Ray engine where it differs: killed workers, names, clusters that are not there."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time

import psutil
import pytest

from gristmill.operators.errors import FatalError
from gristmill.pipelines.engine.base import Engine
from gristmill.pipelines.engine.ray_data import ROOT, RayEngine
from tests.pipelines.engine.work import Deadly, Slow, square, survive

pytestmark = pytest.mark.ray


def workers_of(name: str) -> list[psutil.Process]:
    """Worker processes of this process's cluster that run a function just now: Ray puts its name into their title."""
    found = []
    for process in psutil.Process().children(recursive=True):
        try:
            if f"ray::MapBatches({name})" in " ".join(process.cmdline()):
                found.append(process)
        except psutil.Error:
            continue
    return found


def test_an_item_that_always_kills_its_worker_is_named_and_the_others_go_on(ray_engine: Engine) -> None:
    items = [Deadly("good-0"), Deadly("deadly-1.jsonl"), Deadly("good-2"), Deadly("good-3")]
    outcomes = {o.index: o for o in ray_engine.map(survive, items)}
    assert [outcomes[i].value for i in (0, 2, 3)] == ["good-0", "good-2", "good-3"]
    assert isinstance(outcomes[1].error, FatalError)
    assert str(outcomes[1].error).startswith("survive(deadly-1.jsonl) ended its worker process 5 times")
    assert "Memory is the usual cause" in str(outcomes[1].error)


def test_workers_killed_from_outside_cost_nothing(ray_engine: Engine) -> None:
    killed: list[int] = []

    def kill() -> None:
        until = time.monotonic() + 60
        while len(killed) < 3 and time.monotonic() < until:
            for process in workers_of("Slow"):
                if process.pid not in killed:
                    os.kill(process.pid, signal.SIGKILL)
                    killed.append(process.pid)
                    break
            time.sleep(0.2)

    killer = threading.Thread(target=kill)
    killer.start()
    outcomes = list(ray_engine.map(Slow(0.4), range(12)))
    killer.join()
    assert sorted(o.unwrap() for o in outcomes) == [i * i for i in range(12)]
    assert len(killed) == 3


@pytest.mark.slow
def test_a_private_cluster_ends_with_its_engine() -> None:
    script = """
import psutil
from gristmill.pipelines.engine.ray_data import RayEngine
engine = RayEngine(1)
assert [o.unwrap() for o in engine.map(abs, [-3])] == [3]
started = psutil.Process().children(recursive=True)
assert any("raylet" in " ".join(p.cmdline()) for p in started)
engine.close()
_, alive = psutil.wait_procs(started, timeout=10)
print(len(started), [p.cmdline() for p in alive if p.is_running() and p.status() != psutil.STATUS_ZOMBIE])
"""
    ended = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.split()[1] == "[]", ended.stdout
    assert "Deprecat" not in ended.stderr


def test_a_cluster_that_does_not_answer_is_named() -> None:
    script = """
from gristmill.operators.errors import FatalError
from gristmill.pipelines.engine import open_engine
try:
    open_engine("auto", None)
except FatalError as error:
    print(error)
"""
    environment = {**os.environ, "RAY_ADDRESS": "127.0.0.1:1"}
    ended = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=120, env=environment
    )
    assert ended.stdout.startswith("no Ray cluster answers at RAY_ADDRESS=127.0.0.1:1"), ended.stderr
    assert "use --engine local" in ended.stdout


def test_a_joined_cluster_is_not_ended(ray_engine: Engine) -> None:
    other = RayEngine()
    assert other.workers == ray_engine.workers == 2
    other.close()
    assert RayEngine(5).workers == 5, "a cluster may grow with the work"
    assert [o.unwrap() for o in ray_engine.map(square, [4])] == [16]
