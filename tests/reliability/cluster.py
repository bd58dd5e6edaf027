"""Ray clusters with token authentication, as `ray start` makes them, and `gristmill submit` to them."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.reliability.command import PATIENCE, command, group_is_gone

RAY = str(Path(sys.executable).with_name("ray"))


@dataclass(frozen=True)
class Head:
    """A running head node, and the environment of those who reach it."""

    port: int
    dashboard: str
    metrics: int
    environment: dict[str, str]
    folder: Path

    def start(self, *arguments: str | Path) -> subprocess.Popen[str]:
        """Start `gristmill submit` with these arguments; both of its outputs come as one."""
        line = command("submit", "--address", self.dashboard, *arguments)
        return subprocess.Popen(
            line,
            cwd=self.folder,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def submit(self, *arguments: str | Path) -> tuple[int, str]:
        """Run `gristmill submit` to its end: exit code and output."""
        process = self.start(*arguments)
        said, _ = process.communicate(timeout=5 * PATIENCE)
        return process.returncode, said

    def ray(self, *arguments: str) -> str:
        """Run `ray job` with these arguments: its output."""
        line = [RAY, "job", *arguments, "--address", self.dashboard]
        return subprocess.run(line, env=self.environment, capture_output=True, text=True, timeout=PATIENCE).stdout

    def figures(self) -> str:
        """The text of the node's Prometheus endpoint."""
        address = f"http://127.0.0.1:{self.metrics}/metrics"
        with urllib.request.urlopen(address, timeout=PATIENCE) as answer:
            return str(answer.read().decode())

    def raylets(self) -> int:
        """Nodes that run below this head's folder: a second cluster of a job would be among them."""
        return len(list(self.folder.glob("session_2*/logs/raylet*.out")))


def free_ports(count: int) -> list[int]:
    """Ports of the loopback that nothing listens on just now, none of them one of Ray's workers'."""
    opened: list[socket.socket] = []
    while len(opened) < count:
        candidate = socket.socket()
        candidate.bind(("127.0.0.1", 0))
        if candidate.getsockname()[1] >= 20_000:
            opened.append(candidate)
    ports = [candidate.getsockname()[1] for candidate in opened]
    for candidate in opened:
        candidate.close()
    return ports


@contextmanager
def started_head(cpus: int = 2) -> Iterator[Head]:
    """A head node in a process group of its own, ended as a group."""
    folder = Path(tempfile.mkdtemp(prefix="ray-", dir="/tmp"))  # Ray's sockets need a short path
    port, dashboard, agent, client, metrics = free_ports(5)
    kept = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"  # `python` of a job is that of the node
    token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
    environment = {**kept, "PATH": path, **token, "RAY_metrics_report_interval_ms": "500"}
    line = [RAY, "start", "--head", "--block", "--disable-usage-stats", f"--num-cpus={cpus}", f"--temp-dir={folder}"]
    line += ["--node-ip-address=127.0.0.1", f"--port={port}", "--dashboard-host=127.0.0.1"]
    line += [f"--dashboard-port={dashboard}", f"--dashboard-agent-listen-port={agent}"]
    line += [f"--ray-client-server-port={client}", f"--metrics-export-port={metrics}"]
    with open(folder / "head.log", "wb") as log:
        started = subprocess.Popen(line, env=environment, stdout=log, stderr=log, start_new_session=True)
    try:
        _wait_until_it_answers(dashboard, started, folder / "head.log")
        yield Head(port, f"http://127.0.0.1:{dashboard}", metrics, environment, folder)
    finally:
        _end(started)
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def added_node(head: Head, cpus: int) -> Iterator[subprocess.Popen[bytes]]:
    """Another node of the cluster, in a process group of its own, which a test may kill."""
    _wait_until_it_runs(head.folder / "head.log")
    folder = Path(tempfile.mkdtemp(prefix="ray-", dir="/tmp"))  # nodes do not share what is sent to them
    log = folder / "node.log"
    line = [RAY, "start", "--block", f"--address=127.0.0.1:{head.port}", f"--num-cpus={cpus}"]
    line += ["--node-ip-address=127.0.0.1", f"--dashboard-agent-listen-port={free_ports(1)[0]}"]
    line += [f"--temp-dir={folder}"]
    with open(log, "wb") as file:
        started = subprocess.Popen(line, env=head.environment, stdout=file, stderr=file, start_new_session=True)
    try:
        _wait_until_it_runs(log, started)
        yield started
    finally:
        _end(started)
        shutil.rmtree(folder, ignore_errors=True)


def _wait_until_it_runs(log: Path, process: subprocess.Popen[bytes] | None = None) -> None:
    until = time.monotonic() + PATIENCE
    while "Ray runtime started" not in log.read_text():
        if time.monotonic() > until or (process is not None and process.poll() is not None):
            pytest.fail(f"the node does not start: {log.read_text()}")
        time.sleep(0.2)


def _end(started: subprocess.Popen[bytes]) -> None:
    """End a node with all of its processes; one that did not start may have left some."""
    for number, patience in ((signal.SIGTERM, 5), (signal.SIGKILL, 20)):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(started.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            started.wait(patience)
    assert group_is_gone(started)


def _wait_until_it_answers(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until:
        with socket.socket() as knock:
            if knock.connect_ex(("127.0.0.1", port)) == 0:
                return
        if process.poll() is not None:
            break
        time.sleep(0.1)
    pytest.fail(f"the head node does not start: {log.read_text()}")
