"""A run that is killed, interrupted, doubled or refused leaves nothing wrong behind, and the same command completes."""

from __future__ import annotations

import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.reliability.command import (
    ROOT,
    check_no_cut_file,
    check_no_leftovers,
    command,
    finish,
    gristmill,
    group_is_gone,
    start,
    tree,
    wait_for,
)

#: What lies in the store when a stage is under way.
MOMENTS = {
    "measure": "measures/*/*.parquet",
    "decide": "runs/*/exchange",
    "write": "datasets/test/0*/data-*.parquet",
}


@pytest.fixture(scope="module")
def unkilled(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, bytes]]:
    """The datasets of runs that nobody disturbed, by recipe: filled by `expected`."""
    return {}


@pytest.fixture
def expected(recipe: Path, unkilled: dict[str, dict[str, bytes]]) -> dict[str, bytes]:
    """The files below datasets/ of a run that nobody disturbed."""
    text = recipe.read_text()
    if text not in unkilled:
        code, _, err = gristmill("run", recipe, "--set", "store=./undisturbed")
        assert code == 0, err
        unkilled[text] = tree(recipe.parent / "undisturbed" / "datasets")
    return unkilled[text]


def kill(process: subprocess.Popen[str]) -> None:
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL, "the run was over before it could be killed"


def check_completes(recipe: Path, expected: dict[str, bytes]) -> None:
    """The same command completes what a killed run began, to the same bytes, and leaves nothing of it behind."""
    store = recipe.parent / "store"
    code, _, err = gristmill("run", recipe)
    assert code == 0, err
    assert tree(store / "datasets") == expected
    check_no_leftovers(store)


@pytest.mark.parametrize(
    "stage", [*(pytest.param(name, marks=pytest.mark.slow) for name in ("measure", "decide")), "write"]
)
def test_killed_in_a_stage_the_same_command_completes(recipe: Path, expected: dict[str, bytes], stage: str) -> None:
    store = recipe.parent / "store"
    process = start("run", recipe)
    wait_for(store, MOMENTS[stage], process)
    kill(process)
    assert group_is_gone(process)
    check_no_cut_file(store)
    check_completes(recipe, expected)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(8))
def test_killed_again_and_again_at_any_moment(recipe: Path, expected: dict[str, bytes], seed: int) -> None:
    store, draw = recipe.parent / "store", random.Random(seed)
    for _ in range(4):
        process = start("run", recipe, "--workers", str(draw.randint(1, 4)))
        time.sleep(draw.uniform(1.0, 5.0))
        os.kill(process.pid, signal.SIGKILL)
        process.communicate()
        assert group_is_gone(process)
        check_no_cut_file(store)
    check_completes(recipe, expected)


@pytest.mark.slow
@pytest.mark.ray
def test_a_killed_driver_takes_its_cluster_with_it(recipe: Path, expected: dict[str, bytes]) -> None:
    import psutil

    store = recipe.parent / "store"
    process = start("run", recipe, "--engine", "ray", "--workers", "2")
    wait_for(store, MOMENTS["measure"], process)
    cluster = psutil.Process(process.pid).children(recursive=True)
    assert any("raylet" in child.name() for child in cluster)
    kill(process)
    _, alive = psutil.wait_procs(cluster, timeout=90)  # Ray's agents take their time to notice
    assert [child for child in alive if child.status() != psutil.STATUS_ZOMBIE] == []
    check_no_cut_file(store)
    check_completes(recipe, expected)


def test_interrupted_it_says_so_and_gives_the_store_back(recipe: Path) -> None:
    store = recipe.parent / "store"
    process = start("run", recipe, "--workers", "1")
    wait_for(store, "measures/*/pass.json", process)  # announced before the first shard is read
    process.send_signal(signal.SIGINT)
    code, _, err = finish(process)
    assert code == 130
    assert "interrupted; finished work is kept" in err
    assert "Traceback" not in err
    assert group_is_gone(process)
    assert not (store / "LOCK").exists()
    check_no_cut_file(store)


#: A run whose shards take for ever: what a large shard looks like from outside.
ENDLESS = """
import sys, time
from gristmill.pipelines.cli import main as cli
from gristmill.pipelines.stages import measure as measuring

def forever(task):
    sys.stderr.write("at work\\n")
    time.sleep(10_000)

measuring.measure_shard = forever
sys.argv[0] = "gristmill"
cli.main()
"""


def start_endless(recipe: Path) -> subprocess.Popen[str]:
    """Start a run that is at work on two shards and will not end."""
    line = [sys.executable, "-c", ENDLESS, "run", str(recipe), "--workers", "2"]
    process = subprocess.Popen(line, cwd=ROOT, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stderr is not None
    at_work = 0
    while at_work < 2 and process.poll() is None:
        at_work += process.stderr.readline() == "at work\n"
    return process


@pytest.mark.parametrize(
    ("number", "said"), [(signal.SIGTERM, "SIGTERM"), (signal.SIGHUP, "SIGHUP"), (signal.SIGINT, "")]
)
def test_a_signal_ends_a_run_in_order_whatever_it_is_at(recipe: Path, number: signal.Signals, said: str) -> None:
    """A pod that is preempted gives the store back before it goes: its successor need not wait."""
    process = start_endless(recipe)
    process.send_signal(number)
    code, _, err = finish(process)
    assert code == 128 + number
    assert (f"ended by {said}" if said else "interrupted") + "; finished work is kept" in err
    assert "Traceback" not in err
    assert not (recipe.parent / "store" / "LOCK").exists()


def test_a_second_signal_ends_it_at_once(recipe: Path) -> None:
    process = start_endless(recipe)
    while process.poll() is None:  # signals that come before the first is seen count as one
        process.send_signal(signal.SIGINT)
        time.sleep(0.3)
    code, _, err = finish(process)
    assert code == 130
    assert "interrupted" not in err
    assert (recipe.parent / "store" / "LOCK").exists(), "it did not end in order, which takes it some seconds"
    code, _, err = gristmill("run", recipe)
    assert code == 0, f"the lock of a process that is gone is taken at once: {err}"


def test_of_two_runs_the_second_is_refused(recipe: Path) -> None:
    store = recipe.parent / "store"
    first = start("run", recipe)
    wait_for(store, "LOCK/00000001", first)
    first.send_signal(signal.SIGSTOP)
    try:
        code, _, err = gristmill("run", recipe)
    finally:
        first.send_signal(signal.SIGCONT)
    assert code == 4
    assert f"the store is in use: process {first.pid} on " in err
    assert "Traceback" not in err
    code, _, err = finish(first)
    assert code == 0, err
    check_no_leftovers(store)


def test_a_store_that_may_not_be_written_is_a_clear_error(recipe: Path) -> None:
    closed = recipe.parent / "closed"
    closed.mkdir()
    closed.chmod(0o555)
    line = command("run", recipe, "--set", "store=./closed/store")
    if os.geteuid() == 0:
        if shutil.which("setpriv") is None:
            pytest.skip("root may write anywhere, and there is no setpriv to give that up")
        line = ["setpriv", "--inh-caps=-all", "--bounding-set=-all", *line]
    ended = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert ended.returncode == 1
    assert "closed/store/LOCK/00000001 cannot be written: Permission denied. Give this user the right" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_disk_that_takes_no_more_is_a_clear_error(recipe: Path) -> None:
    """A limit on the size of files stands for the full disk: the write that crosses it fails in its middle."""
    limit = 12_000
    ended = subprocess.run(
        command("run", recipe),
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)),
    )
    assert ended.returncode == 1
    assert "cannot be written: File too large. Make room there" in ended.stderr
    assert "Traceback" not in ended.stderr
    check_no_cut_file(recipe.parent / "store")
    assert not (recipe.parent / "store" / "LOCK").exists()
    code, _, err = gristmill("run", recipe)
    assert code == 0, err
    check_no_leftovers(recipe.parent / "store")
