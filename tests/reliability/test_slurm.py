"""The batch script for Slurm, with stand-ins for Slurm's own programs on one node: Ray and gristmill are real."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.reliability.cluster import free_ports
from tests.reliability.command import PATIENCE, ROOT, check_no_leftovers, gristmill, tree, wait_for

pytestmark = [pytest.mark.ray, pytest.mark.slow]
SRUN = """#!/usr/bin/env bash
while [[ $1 == --* ]]; do shift 2; done
exec "$@"
"""


def start(folder: Path, *arguments: str | Path) -> subprocess.Popen[str]:
    """The batch script as sbatch starts it on the first node."""
    programs = folder / "slurm"
    programs.mkdir(exist_ok=True)
    for name, text in (("srun", SRUN), ("scontrol", "#!/bin/sh\necho 127.0.0.1\n")):
        (programs / name).write_text(text)
        (programs / name).chmod(0o755)
    kept = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    slurm = {"SLURM_JOB_ID": str(free_ports(1)[0]), "SLURM_JOB_NODELIST": "here", "SLURM_JOB_NUM_NODES": "1"}
    of_node = {"SLURM_CPUS_ON_NODE": "2", "GRISTMILL_ENV": str(Path(sys.executable).parents[1])}
    return subprocess.Popen(
        ["bash", str(ROOT / "deploy" / "slurm" / "gristmill.sbatch"), *map(str, arguments)],
        env={**kept, **slurm, **of_node, "PATH": f"{programs}{os.pathsep}{kept['PATH']}"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def ended(process: subprocess.Popen[str]) -> tuple[int, str]:
    """Exit code and output of the script; Slurm then ends what it left running."""
    code = process.wait(5 * PATIENCE)
    os.killpg(process.pid, signal.SIGTERM)
    try:
        said, _ = process.communicate(timeout=20)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        said, _ = process.communicate()
    for session in re.findall(r"(/tmp/ray-\d+)/session_", said):
        shutil.rmtree(session, ignore_errors=True)
    return code, said


def test_a_job_that_runs_out_of_time_ends_in_order_and_the_next_goes_on(recipe: Path) -> None:
    store = recipe.parent / "shared"
    line = ("run", recipe, "--set", f"store={store}")
    process = start(recipe.parent, *line)
    wait_for(store, "measures/*/0*.parquet", process, 5 * PATIENCE)
    os.kill(process.pid, signal.SIGTERM)
    code, said = ended(process)
    assert code == 143, said
    assert "finished work is kept" in said
    assert not (store / "LOCK").exists() or not list((store / "LOCK").iterdir())

    code, said = ended(start(recipe.parent, *line))
    assert code == 0, said
    assert "RAY_AUTH_TOKEN" not in said
    assert gristmill("run", recipe)[0] == 0
    assert tree(store / "datasets") == tree(recipe.parent / "store" / "datasets")
    check_no_leftovers(store)
