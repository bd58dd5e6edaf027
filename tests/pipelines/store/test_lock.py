from __future__ import annotations

import json
import multiprocessing
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from multiprocessing.synchronize import Barrier
from pathlib import Path

import pytest

from gristmill.operators.errors import StoreLocked
from gristmill.pipelines.store import lock
from gristmill.pipelines.store.lock import check_held, writer_lock

ROOT = Path(__file__).parents[3]
HOLD = """
import sys, time
from gristmill.pipelines.store import lock
lock.HEARTBEAT = 0.05
with lock.writer_lock(sys.argv[1]) as held:
    print("held", flush=True)
    sys.stdin.readline()
    held.check()
    print("still held", flush=True)
"""


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Owners count as dead after a fraction of a second."""
    for name, seconds in {"HEARTBEAT": 0.05, "STALE": 0.4, "WATCH": 0.02, "WITHDRAWAL": 0.5}.items():
        monkeypatch.setattr(lock, name, seconds)


@pytest.fixture
def holder(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds the store."""
    line = [sys.executable, "-c", HOLD, str(tmp_path)]
    process = subprocess.Popen(line, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.communicate()


def write_foreign(store: Path, number: int = 1, **changes: str) -> Path:
    """The lock file of an owner on another machine."""
    owner = {"token": "x", "host": "elsewhere", "process": "1", "started": "1", "place": "there 1", "machine": "there"}
    path = store / "LOCK" / f"{number:08d}"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps({**owner, **changes}) + "\n")
    return path


def beating(path: Path) -> Callable[[], None]:
    """Give a file signs of life until the returned function is called."""
    stop = threading.Event()

    def beat() -> None:
        while not stop.wait(0.05):
            path.touch()

    thread = threading.Thread(target=beat)
    thread.start()
    return lambda: (stop.set(), thread.join())[1]


def test_one_writer_at_a_time(tmp_path: Path) -> None:
    with writer_lock(str(tmp_path)) as held:
        with (
            pytest.raises(StoreLocked, match=f"the store is in use: process {os.getpid()} on"),
            writer_lock(str(tmp_path)),
        ):
            pytest.fail("two writers at once")
        held.check()
    assert not (tmp_path / "LOCK").exists()


def test_in_memory_too() -> None:
    with writer_lock("memory://locked"):
        with pytest.raises(StoreLocked), writer_lock("memory://locked"):
            pytest.fail("two writers at once")
        check_held("memory://locked")
    with writer_lock("memory://locked"):
        pass


def test_the_lock_of_a_killed_process_is_taken_over_at_once(tmp_path: Path, holder: subprocess.Popen[str]) -> None:
    with pytest.raises(StoreLocked), writer_lock(str(tmp_path)):
        pass
    holder.kill()
    holder.wait()
    start = time.monotonic()
    with writer_lock(str(tmp_path)) as held:
        assert held.file.number == 2
        assert sorted(os.listdir(tmp_path / "LOCK")) == ["00000002"]
    assert time.monotonic() - start < 5


def test_a_paused_process_of_this_machine_keeps_the_lock(
    tmp_path: Path, holder: subprocess.Popen[str], impatient: None
) -> None:
    holder.send_signal(signal.SIGSTOP)
    time.sleep(2 * lock.STALE)
    with pytest.raises(StoreLocked), writer_lock(str(tmp_path)):
        pytest.fail("taken from a live owner")
    holder.send_signal(signal.SIGCONT)
    assert holder.communicate("go\n", timeout=60)[0] == "still held\n"


@pytest.mark.usefixtures("impatient")
def test_an_owner_elsewhere_is_taken_for_dead_only_when_it_is_silent(tmp_path: Path) -> None:
    path = write_foreign(tmp_path)
    stop = beating(path)
    said: list[str] = []
    try:
        with pytest.raises(StoreLocked, match="process 1 on elsewhere"), writer_lock(str(tmp_path), said.append):
            pytest.fail("taken from a live owner")
    finally:
        stop()
    assert "watching for up to" in said[0]
    with writer_lock(str(tmp_path)):
        assert not path.exists()


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("skew", [-86_400, 130, 86_400])
def test_clocks_do_not_matter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, skew: int) -> None:
    now = time.time
    monkeypatch.setattr(time, "time", lambda: now() + skew)
    path = write_foreign(tmp_path)
    os.utime(path, (now() + skew, now() + skew))
    stop = beating(path)
    try:
        with pytest.raises(StoreLocked), writer_lock(str(tmp_path)):
            pytest.fail("taken from a live owner")
    finally:
        stop()


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("changes", [{"host": "this"}, {"place": "there 2"}], ids=["host name", "process numbers"])
def test_a_live_owner_of_the_same_name_elsewhere_keeps_it(
    tmp_path: Path, changes: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lock.socket, "gethostname", lambda: "this")
    path = write_foreign(tmp_path, **changes)
    stop = beating(path)
    try:
        with pytest.raises(StoreLocked), writer_lock(str(tmp_path)):
            pytest.fail("taken from a live owner")
    finally:
        stop()


@pytest.mark.usefixtures("impatient")
def test_an_owner_that_lost_the_store_is_stopped_before_it_commits(tmp_path: Path) -> None:
    with writer_lock(str(tmp_path)) as held:
        (tmp_path / "LOCK" / "00000001").unlink()  # as if it had been silent, and another had taken the store
        path = write_foreign(tmp_path, held.file.number + 1)
        with pytest.raises(StoreLocked, match="this run no longer holds the store"):
            check_held(str(tmp_path))
    assert path.exists(), "the other's lock stays"


@pytest.mark.usefixtures("impatient")
def test_a_sign_of_life_does_not_bring_back_a_removed_lock(tmp_path: Path) -> None:
    with writer_lock(str(tmp_path)) as held:
        (tmp_path / "LOCK" / "00000001").unlink()
        time.sleep(3 * lock.HEARTBEAT)
        assert os.listdir(tmp_path / "LOCK") == []
        with pytest.raises(StoreLocked):
            held.check()


@pytest.mark.usefixtures("impatient")
def test_a_run_that_came_too_late_disturbs_nobody(tmp_path: Path) -> None:
    """It judged an owner that is long gone, and creates a number after that one's while somebody holds a lower one."""
    with writer_lock(str(tmp_path)) as held:
        late = write_foreign(tmp_path, 7)
        timer = threading.Timer(0.2, late.unlink)  # it withdraws
        timer.start()
        held.check()
        timer.join()


def test_an_unfinished_file_is_no_owner(tmp_path: Path) -> None:
    (tmp_path / "LOCK").mkdir()
    (tmp_path / "LOCK" / "00000001.unfinished-1234").write_text("{")
    with writer_lock(str(tmp_path)) as held:
        held.check()


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("content", [b"", b"\0" * 40, b"{}\n"])
def test_a_lock_that_names_nobody_and_does_not_change_is_nobodys(tmp_path: Path, content: bytes) -> None:
    write_foreign(tmp_path).write_bytes(content)
    with writer_lock(str(tmp_path)) as held:
        held.check()


def test_the_lock_of_an_earlier_version_is_told(tmp_path: Path) -> None:
    (tmp_path / "LOCK").write_text("{}")
    with pytest.raises(StoreLocked, match="earlier version"), writer_lock(str(tmp_path)):
        pass


def _race(folder: str, me: int, races: int, takers: int, barrier: Barrier) -> None:
    """One of several processes that take a store at the same time, again and again; each seems to be a machine."""
    draw = random.Random(me)
    lock.HEARTBEAT, lock.STALE, lock.WATCH, lock.WITHDRAWAL = 0.03, 0.15, 0.01, 0.3
    lock._machine = lambda: f"machine {me}" if me % 2 else "one machine"
    skew = draw.uniform(-1e5, 1e5)
    real = time.time
    time.time = lambda: real() + skew
    for race in range(races):
        store = Path(folder, f"{race:04d}")
        if me == 0:
            store.mkdir()
            if race % 3:
                write_foreign(store, race % 5 + 1)
        barrier.wait(60)
        for _ in range(2):
            try:
                with writer_lock(str(store)) as held:
                    if draw.random() < 0.2:  # paused, without a sign of life
                        held._stop.set()
                        time.sleep(3 * lock.STALE)
                    held.check()
                    _commit(store, f"{me}")
            except StoreLocked:
                time.sleep(draw.uniform(0, 0.1))
        barrier.wait(60)


def _commit(store: Path, who: str) -> None:
    """Read what was committed last, and commit something that follows it."""
    current = store / "CURRENT"
    before = current.read_text() if current.exists() else "start"
    time.sleep(0.002)
    with open(store / "log", "a") as log:
        log.write(f"{before} -> {who}-{time.monotonic_ns()}\n")
    temporary = store / f"new-{who}"
    temporary.write_text(log_end(store))
    os.replace(temporary, current)


def log_end(store: Path) -> str:
    return (store / "log").read_text().splitlines()[-1].split(" -> ")[1]


def check_races(folder: Path, races: int, takers: int = 8) -> None:
    """No two writers both committed: each commit follows the one before it."""
    spawn = multiprocessing.get_context("spawn")
    barrier = spawn.Barrier(takers)
    run = [spawn.Process(target=_race, args=(str(folder), me, races, takers, barrier)) for me in range(takers)]
    for process in run:
        process.start()
    for process in run:
        process.join(60 + 5 * races)
        assert process.exitcode == 0
    committed = 0
    for race in range(races):
        store = folder / f"{race:04d}"
        assert not (store / "LOCK").exists() or os.listdir(store / "LOCK") == []
        if (store / "log").exists():
            steps = [line.split(" -> ") for line in (store / "log").read_text().splitlines()]
            assert [before for before, _ in steps] == ["start", *(after for _, after in steps[:-1])], f"race {race}"
            committed += len(steps)
    assert committed > races / 2, "most races have a winner"


def test_of_eight_that_take_the_store_at_once_never_two_commit(tmp_path: Path) -> None:
    check_races(tmp_path, 15)


@pytest.mark.slow
def test_a_thousand_races(tmp_path: Path) -> None:
    check_races(tmp_path, 1000)
