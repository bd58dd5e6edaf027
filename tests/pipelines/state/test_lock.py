from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from operators.errors import StoreLocked
from pipelines.state.lock import writer_lock


def test_one_writer_at_a_time(tmp_path: Path) -> None:
    with writer_lock(str(tmp_path)):
        with pytest.raises(StoreLocked, match="the store is in use: process"), writer_lock(str(tmp_path)):
            pytest.fail("two writers at once")
        assert (tmp_path / "LOCK").exists()
    assert not (tmp_path / "LOCK").exists()


def test_the_lock_of_a_killed_process_is_taken_over(tmp_path: Path) -> None:
    hold = f"""
import sys, time
from pipelines.state.lock import writer_lock
with writer_lock({str(tmp_path)!r}):
    print("held", flush=True)
    time.sleep(60)
"""
    holder = subprocess.Popen([sys.executable, "-c", hold], stdout=subprocess.PIPE, cwd=Path(__file__).parents[3])
    assert holder.stdout is not None
    assert holder.stdout.readline().strip() == b"held"
    with pytest.raises(StoreLocked), writer_lock(str(tmp_path)):
        pass
    holder.kill()
    holder.wait()
    with writer_lock(str(tmp_path)):
        pass


def test_a_silent_lock_of_another_machine_is_taken_over_and_a_fresh_one_is_not(tmp_path: Path) -> None:
    held = {"owner": "x", "host": "elsewhere", "process": 1, "started": "1", "beat": time.time()}
    (tmp_path / "LOCK").write_text(json.dumps(held))
    with pytest.raises(StoreLocked, match="on elsewhere"), writer_lock(str(tmp_path)):
        pass
    (tmp_path / "LOCK").write_text(json.dumps({**held, "beat": time.time() - 1000}))
    with writer_lock(str(tmp_path)):
        pass
