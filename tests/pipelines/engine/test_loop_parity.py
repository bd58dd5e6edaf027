"""The loop chooses the same texts and makes the same student on threads and on Ray."""

from __future__ import annotations

from pathlib import Path

import pytest

from gristmill.pipelines.engine.base import Engine
from gristmill.pipelines.engine.local import LocalEngine
from gristmill.pipelines.train.loop import LoopOptions
from tests.pipelines.train.test_loop import Corpus, letter


@pytest.mark.ray
@pytest.mark.parametrize("sampler", [pytest.param("llkd", marks=pytest.mark.slow), "bandit"])
def test_ray_gives_the_same_student(tmp_path: Path, ray_engine: Engine, sampler: str) -> None:
    corpus, options = Corpus(tmp_path, n=500, files=3), LoopOptions(2, 260, sampler, "sport")
    for name, engine in (("local", LocalEngine(2)), ("ray", ray_engine)):
        corpus.loop(corpus.oracle(letter), options, name, engine=engine)
    assert corpus.parts("ray", 2) == corpus.parts("local", 2)
    for file in ("bin", "bin.calibration.json", "bin.loop/rounds.md"):
        assert (tmp_path / f"ray.{file}").read_bytes() == (tmp_path / f"local.{file}").read_bytes()
