"""Runs of the command line as processes of their own, to be killed and looked after."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from gristmill.pipelines.storage.files import UNFINISHED

ROOT = Path(__file__).resolve().parents[2]
PATIENCE = 120.0  # seconds that anything waited for may take


def command(*arguments: str | Path) -> list[str]:
    """The command line of gristmill, run from the source."""
    return [sys.executable, "-m", "gristmill", *map(str, arguments)]


def start(*arguments: str | Path, env: Mapping[str, str] | None = None) -> subprocess.Popen[str]:
    """Start gristmill as the leader of a process group."""
    return subprocess.Popen(
        command(*arguments),
        cwd=ROOT,
        env={**os.environ, **(env or {})},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def finish(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    """Exit code, standard output and standard error."""
    out, err = process.communicate(timeout=PATIENCE)
    return process.returncode, out, err


def gristmill(*arguments: str | Path, env: Mapping[str, str] | None = None) -> tuple[int, str, str]:
    """Run gristmill to its end: exit code, standard output and standard error."""
    return finish(start(*arguments, env=env))


def wait_for(folder: Path, pattern: str, process: subprocess.Popen[str], patience: float = PATIENCE) -> None:
    """Wait until a file that matches is there; fails where the process ends before."""
    until = time.monotonic() + patience
    while next(folder.glob(pattern), None) is None:
        if process.poll() is not None or time.monotonic() > until:
            pytest.fail(f"no {pattern} in {folder}; the process ended with {process.poll()}: {process.communicate()}")
        time.sleep(0.002)


def group_is_gone(process: subprocess.Popen[str]) -> bool:
    """Whether no process of the group is left, some seconds granted."""
    until = time.monotonic() + 10
    while time.monotonic() < until:
        try:
            os.killpg(process.pid, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.05)
    return False


def tree(folder: Path) -> dict[str, bytes]:
    """Every file below a folder."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def check_no_cut_file(store: Path) -> None:
    """Every Parquet file at a final name opens."""
    for path in store.rglob("*.parquet"):
        pq.read_metadata(path)


def check_no_leftovers(store: Path) -> None:
    """A store after a finished run: no unfinished file, no unfinished run, no lock."""
    assert list(store.rglob(f"*{UNFINISHED}*")) == []
    assert all((run / "run.json").exists() for run in (store / "runs").iterdir())
    assert not (store / "LOCK").exists()
