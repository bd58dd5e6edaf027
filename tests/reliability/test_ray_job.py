"""`ray job submit` against a head node with token authentication, as deploy/README.md has it."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.reliability.command import ROOT, gristmill, group_is_gone, tree

pytestmark = pytest.mark.ray
RAY = str(Path(sys.executable).with_name("ray"))


@dataclass(frozen=True)
class Head:
    """A running head node: how to reach it."""

    dashboard: str
    environment: dict[str, str]
    folder: Path

    def submit(self, *arguments: str) -> tuple[int, str]:
        """`ray job submit` with these arguments, waited for: exit code and output."""
        line = [RAY, "job", "submit", "--address", self.dashboard, *arguments]
        ended = subprocess.run(
            line, env=self.environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=180
        )
        return ended.returncode, ended.stdout

    def raylets(self) -> int:
        """Nodes that run below this head's folder: a second cluster of a job would be among them."""
        return len(list(self.folder.glob("session_2*/logs/raylet.out")))


def free_ports(count: int) -> list[int]:
    """Ports of the loopback that nothing listens on just now."""
    with_sockets = [socket.socket() for _ in range(count)]
    for opened in with_sockets:
        opened.bind(("127.0.0.1", 0))
    ports = [opened.getsockname()[1] for opened in with_sockets]
    for opened in with_sockets:
        opened.close()
    return ports


@pytest.fixture(scope="module")
def head() -> Iterator[Head]:
    """A head node in a process group of its own, ended as a group."""
    folder = Path(tempfile.mkdtemp(prefix="ray-", dir="/tmp"))  # Ray's sockets need a short path
    port, dashboard, agent, client = free_ports(4)
    kept = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"  # `python` of a job is that of the node
    environment = {**kept, "PATH": path, "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
    line = [RAY, "start", "--head", "--block", "--disable-usage-stats", "--num-cpus=2", f"--temp-dir={folder}"]
    line += ["--node-ip-address=127.0.0.1", f"--port={port}", "--dashboard-host=127.0.0.1"]
    line += [f"--dashboard-port={dashboard}", f"--dashboard-agent-listen-port={agent}"]
    line += [f"--ray-client-server-port={client}"]
    with open(folder / "head.log", "wb") as log:
        started = subprocess.Popen(line, env=environment, stdout=log, stderr=log, start_new_session=True)
    try:
        wait_until_it_answers(dashboard, started, folder / "head.log")
        yield Head(f"http://127.0.0.1:{dashboard}", environment, folder)
    finally:
        os.killpg(started.pid, signal.SIGTERM)
        try:
            started.wait(5)
        except subprocess.TimeoutExpired:
            os.killpg(started.pid, signal.SIGKILL)
            started.wait(20)
        assert group_is_gone(started)
        shutil.rmtree(folder, ignore_errors=True)


def wait_until_it_answers(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    until = time.monotonic() + 90
    while time.monotonic() < until:
        with socket.socket() as knock:
            if knock.connect_ex(("127.0.0.1", port)) == 0:
                return
        if process.poll() is not None:
            break
        time.sleep(0.2)
    pytest.fail(f"the head node does not start: {log.read_text()}")


def run_in_a_job(store: Path, *overrides: str) -> list[str]:
    """The entry point of a job: recipe.yaml of its folder, a store that lies outside of what is sent."""
    sets = [word for value in (f"store={store}", *overrides) for word in ("--set", value)]
    return ["--", "python", "-m", "gristmill", "run", "recipe.yaml", *sets]


def test_a_job_with_gristmill_on_the_nodes_gives_the_local_bytes(head: Head, recipe: Path, tmp_path: Path) -> None:
    assert gristmill("run", recipe)[0] == 0
    for package in ("operators", "pipelines"):  # the user's own: Ray puts the folder of a job on the path
        (recipe.parent / package).mkdir()
        (recipe.parent / package / "__init__.py").write_text("raise ImportError('this is not gristmill')\n")
    store = tmp_path / "shared" / "store"
    installed = {"env_vars": {"PYTHONPATH": str(ROOT)}, "excludes": ["/store", "/shared"]}
    sent = ["--working-dir", str(recipe.parent), "--runtime-env-json", json.dumps(installed)]
    code, log = head.submit(*sent, *run_in_a_job(store))
    assert code == 0, log
    assert tree(store / "datasets") == tree(recipe.parent / "store" / "datasets")
    for line in ("measure  16 shards in ", "write    ", "kept ", f"dataset  {store}/datasets/test/"):
        assert line in log
    assert len(log.splitlines()) < 60, log
    assert "Traceback" not in log
    assert "Deprecat" not in log
    assert head.raylets() == 1, "the job started a second cluster"
    assert head.environment["RAY_AUTH_TOKEN"] not in log

    code, log = head.submit(*sent, *run_in_a_job(store, "decide=[{drop: 'gopher_word < 3'}]"))
    assert code != 0
    assert "there is no column gopher_word; did you mean gopher_words?" in log
    assert "exit code 2" in log


@pytest.mark.slow
def test_a_job_that_brings_gristmill_along_gives_the_local_bytes(head: Head, recipe: Path, tmp_path: Path) -> None:
    """With the runtime environment of deploy/, which leaves out data/: the sources lie on a disk that nodes share.

    The node compiles the kernels of what it is sent: that is the minute that this takes.
    """
    sources = f"sources.docs.path={recipe.parent}/data/docs-*"
    assert gristmill("run", recipe, "--set", sources)[0] == 0
    for package in ("gristmill", "operators", "pipelines"):
        ignore = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / package, recipe.parent / package, symlinks=True, ignore=ignore)
    store = tmp_path / "shared" / "store"
    sent = ["--working-dir", str(recipe.parent), "--runtime-env", str(ROOT / "deploy" / "runtime_env.yaml")]
    code, log = head.submit(*sent, *run_in_a_job(store, sources))
    assert code == 0, log
    assert tree(store / "datasets") == tree(recipe.parent / "store" / "datasets")


def test_without_the_token_nothing_is_submitted(head: Head) -> None:
    stranger = Head(head.dashboard, {**head.environment, "RAY_AUTH_TOKEN": secrets.token_hex(32)}, head.folder)
    code, log = stranger.submit("--", "python", "-c", "print('in')")
    assert code != 0
    assert "oken" in log
