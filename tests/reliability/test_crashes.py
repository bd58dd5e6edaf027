"""A run that ends at any step that changes the disk, and the same command after it: the bytes of an undisturbed run."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.pipelines.label.endpoint import Server, endpoint
from tests.pipelines.label.tasks import ANSWERS, task_file, topical
from tests.reliability.command import ROOT
from tests.reliability.crashes import execute
from tests.reliability.damage import next_night, write_corpus
from tests.support import write_jsonl


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with endpoint(answers=ANSWERS, delay=0.001) as running:
        yield running


#: What a run is about to do; kills of runs that label are among the tests of labelling as well.
OTHERS = ("plain", "labels", "labels of an earlier night")
BEFORE = ["index", *(pytest.param(name, marks=pytest.mark.slow) for name in OTHERS)]


@pytest.fixture(params=BEFORE)
def recipe(request: pytest.FixtureRequest, tmp_path: Path, server: Server) -> Path:
    """A recipe about to be run: for the first time, for a second night, with a task, or with one to go on with."""
    folder = tmp_path / "work"
    path = write_corpus(folder, index=request.param != "plain")
    if request.param == "index":
        next_night(path)
        write_jsonl(folder / "data" / "docs-a.jsonl", topical(30, seed=3))
    if request.param.startswith("labels"):
        sample = {"documents": 40}  # the steps of one answer are those of any other
        annotator = {"name": "api", "engine": "http", "base_url": server.url, "model": "m", "concurrency": 1}
        task_file(folder, annotators=[annotator], sample=sample)
        write_jsonl(folder / "data" / "docs-a.jsonl", topical(30, seed=3))
        held = yaml.safe_load(path.read_text())
        path.write_text(yaml.safe_dump({**held, "label": ["task.yaml"]}, sort_keys=False))
    if request.param == "labels of an earlier night":
        task_file(folder, annotators=[annotator], sample=sample, budget={"documents": 9})
        execute(path)
        task_file(folder, annotators=[annotator], sample=sample)
    return path


def crash(recipe: Path, every: int, first: int, seconds: float) -> tuple[int, int, int]:
    """Return how many runs ended at a step, how many came to their end first, and how many steps a run takes.

    Fails where one of them, or the run after it, went wrong, or where one came to its end that does not label.
    """
    line = [sys.executable, "-m", "tests.reliability.crashes", str(recipe), str(every), str(first), str(seconds)]
    ended = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, timeout=seconds + 300)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    found = re.search(r"(\d+) of (\d+) steps: done, (\d+) not reached", ended.stdout)
    assert found
    done, steps, short = map(int, found.groups())
    labels = "label" in yaml.safe_load(recipe.read_text())
    assert short <= (steps // 20 if labels else 0), ended.stdout
    return done, short, steps


def test_some_steps(recipe: Path) -> None:
    assert crash(recipe, every=151, first=17, seconds=60)[0] >= 3


@pytest.mark.slow
def test_every_step(recipe: Path) -> None:
    tried, short, steps = crash(recipe, every=1, first=1, seconds=4 * 3600)
    assert tried + short == steps >= 100
