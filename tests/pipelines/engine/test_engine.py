"""What both engines promise."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from gristmill.operators.errors import FatalError, RecipeError, RetryableError
from gristmill.pipelines.engine import local, open_engine
from gristmill.pipelines.engine.base import RETRIES, Engine, check_reach
from gristmill.pipelines.engine.local import LocalEngine
from tests.pipelines.engine.work import Flaky, Touch, fail_on_odd, give_a_function, square


def test_every_item_has_one_outcome(engine: Engine) -> None:
    outcomes = list(engine.map(square, range(50)))
    assert sorted((o.index, o.unwrap()) for o in outcomes) == [(i, i * i) for i in range(50)]
    assert list(engine.map(square, [])) == []


def test_an_exception_is_that_items_outcome_and_the_others_go_on(engine: Engine) -> None:
    errors = {o.index: o.error for o in engine.map(fail_on_odd, range(5)) if o.error is not None}
    assert sorted(errors) == [1, 3]
    assert repr(errors[1]) == "ValueError('one is odd')"
    assert "three fails because of its oddness" in str(errors[3])
    with pytest.raises(ValueError, match="one is odd"):
        next(iter(engine.map(fail_on_odd, [1]))).unwrap()


def test_what_may_pass_is_tried_again_a_bounded_number_of_times(engine: Engine, tmp_path: Path) -> None:
    for failures in (2, RETRIES + 5):
        (tmp_path / str(failures)).mkdir()
    (passing,) = engine.map(Flaky(tmp_path / "2", 2), [7])
    assert passing.unwrap() == 7
    (lasting,) = engine.map(Flaky(tmp_path / str(RETRIES + 5), RETRIES + 5), [7])
    assert isinstance(lasting.error, RetryableError)
    assert len(list((tmp_path / str(RETRIES + 5)).iterdir())) == RETRIES + 1


def test_what_cannot_pass_is_tried_once(engine: Engine, tmp_path: Path) -> None:
    (outcome,) = engine.map(Flaky(tmp_path, 9, PermissionError), [7])
    assert isinstance(outcome.error, PermissionError)
    assert len(list(tmp_path.iterdir())) == 1


def test_who_stops_listening_stops_the_work(engine: Engine, tmp_path: Path) -> None:
    outcomes = iter(engine.map(Touch(tmp_path), range(200)))
    next(outcomes)
    outcomes.close()  # type: ignore[attr-defined]
    time.sleep(0.5)  # what was under way ends
    done = len(list(tmp_path.iterdir()))
    time.sleep(0.5)
    assert len(list(tmp_path.iterdir())) == done < 200


@pytest.mark.ray
def test_a_result_that_cannot_travel_is_an_error(ray_engine: Engine) -> None:
    (outcome,) = ray_engine.map(give_a_function, [1])
    assert isinstance(outcome.error, FatalError)
    assert "pickle" in str(outcome.error)


def test_auto_is_local_without_a_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    assert (open_engine("auto", 3).name, open_engine("auto", 3).workers) == ("local", 3)


@pytest.mark.ray
def test_auto_is_ray_where_a_cluster_is_announced(ray_engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "auto")
    joined = open_engine("auto", 1)
    assert (joined.name, joined.workers) == ("ray", 1)
    joined.close()
    assert [o.unwrap() for o in ray_engine.map(square, [3])] == [9], "the cluster outlives who joined it"


def test_workers_default_to_the_cores_of_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local.os, "sched_getaffinity", lambda _: {0, 1, 5}, raising=False)
    assert LocalEngine().workers == 3
    monkeypatch.delattr(local.os, "sched_getaffinity")
    monkeypatch.setattr(local.os, "cpu_count", lambda: 8)
    assert (LocalEngine().workers, LocalEngine(2).workers) == (8, 2)


def test_memory_is_out_of_reach_for_ray() -> None:
    class Ray:
        name = "ray"

    with pytest.raises(RecipeError, match=r"memory://store lies in the memory .* --engine local"):
        check_reach(Ray(), ["/data/x", "memory://store"])  # type: ignore[arg-type]
    check_reach(Ray(), ["/data/x", "s3://store"])  # type: ignore[arg-type]
    check_reach(LocalEngine(1), ["memory://store"])
