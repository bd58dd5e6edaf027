"""A language model that is trained from the feed: it learns, and a killed training goes on as if it had not been."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="`make test-lm` installs torch")

from torch.utils.data import DataLoader

import gristmill
from tests.pipelines.stages.test_run import execute

pytestmark = pytest.mark.lm
ONE_THREAD = {**os.environ, "OMP_NUM_THREADS": "1"}  # more of them wait for each other on a machine that others use
SCRIPT = Path(__file__).parents[3] / "configs" / "pretrain.py"


def program(dataset: Path, checkpoint: Path, steps: int) -> list[str]:
    options = {"--dataset": dataset, "--checkpoint": checkpoint, "--steps": steps, "--batch": 8, "--every": 5}
    return [sys.executable, str(SCRIPT), *(str(part) for pair in options.items() for part in pair)]


def test_the_loss_falls_and_a_killed_training_sees_the_same_batches(packed_recipe: Path, tmp_path: Path) -> None:
    execute(packed_recipe)
    dataset = packed_recipe.parent / "store" / "datasets" / "test"
    whole = subprocess.run(
        program(dataset, tmp_path / "whole.pt", 40), capture_output=True, text=True, check=True, env=ONE_THREAD
    )
    lines = whole.stdout.splitlines()
    losses = [float(line.split()[3]) for line in lines]
    assert len(losses) == 40
    assert sum(losses[-5:]) < 0.75 * sum(losses[:5])
    killed = subprocess.Popen(
        program(dataset, tmp_path / "killed.pt", 40), stdout=subprocess.PIPE, text=True, env=ONE_THREAD
    )
    assert killed.stdout is not None
    before = [killed.stdout.readline().strip() for _ in range(23)]
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    killed.stdout.close()
    assert before == lines[:23]
    again = subprocess.run(
        program(dataset, tmp_path / "killed.pt", 40), capture_output=True, text=True, check=True, env=ONE_THREAD
    )
    after = again.stdout.splitlines()
    assert int(after[0].split()[1]) % 5 == 1, "from the last checkpoint on"
    assert 20 < int(after[0].split()[1]) <= 31
    assert after == lines[-len(after) :]


@pytest.mark.parametrize("workers", [0, 2])
def test_tensors_are_the_same_for_any_number_of_workers(packed_recipe: Path, workers: int) -> None:
    execute(packed_recipe)
    packed = gristmill.open_packed(packed_recipe.parent / "store" / "datasets" / "test")
    feed = packed.feed(seed=2, rank=1, world=2)
    found = [*DataLoader(feed.torch(7), batch_size=None, num_workers=workers)]
    expected = [*packed.feed(seed=2, rank=1, world=2).batches(7)]
    assert [batch["tokens"].tolist() for batch in found] == [batch.tokens.tolist() for batch in expected]
    assert [batch["pieces"].tolist() for batch in found] == [batch.pieces.tolist() for batch in expected]
    assert [batch["state"] for batch in found] == [batch.state for batch in expected]
