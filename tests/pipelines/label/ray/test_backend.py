"""Labels on Ray without a model: chunks through actors, actors that die, what a cluster has no room for."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import pytest

from gristmill.operators.errors import FatalError, RecipeError, ShardError
from gristmill.operators.label.contract import Reply
from gristmill.pipelines.engine.base import RETRIES
from gristmill.pipelines.label.questions import Chunk
from gristmill.pipelines.label.ray.backend import answer_with_actors
from gristmill.pipelines.label.ray.resources import Placement
from tests.pipelines.label.ray.ray_work import Broken, Doubler, Numbers, Stored, key, no_model

pytestmark = pytest.mark.ray

ONE_CPU = {"CPU": 1.0}


@pytest.fixture(scope="module", autouse=True)
def cluster() -> Iterator[None]:
    """A cluster with two CPUs: one for a model, one to read with."""
    from gristmill.pipelines.engine.ray_data import RayEngine

    engine = RayEngine(2)
    yield
    engine.close()


def answered(
    chunks: Sequence[Chunk], asker: Callable[[], Doubler], replicas: int = 1
) -> tuple[list[Reply], Exception | None]:
    """All replies that come, and the error that ends them."""
    replies: list[Reply] = []
    try:
        for some in answer_with_actors("doubler", Placement(replicas, 1, ONE_CPU), asker, chunks):
            replies += some
    except Exception as error:
        return replies, error
    return replies, None


def assert_doubled(replies: list[Reply], numbers: Sequence[int]) -> None:
    """Each number is answered once, and rightly."""
    assert sorted(reply.key for reply in replies) == [key(number) for number in numbers]
    doubles = {reply.key: reply.completion.text for reply in replies if reply.completion}
    assert doubles == {key(number): str(2 * number) for number in numbers}


def test_each_question_is_answered_once_by_an_asker_opened_once(tmp_path: Path) -> None:
    chunks = [Numbers(first, 5) for first in range(0, 60, 5)]
    replies, error = answered(chunks, partial(Doubler, str(tmp_path)))
    assert error is None
    assert_doubled(replies, range(60))
    assert len(list(tmp_path.glob("opened-*"))) == 1


def test_no_chunks_start_nothing(tmp_path: Path) -> None:
    assert answered([], partial(Doubler, str(tmp_path))) == ([], None)
    assert answered([Numbers(0, 0)], partial(Doubler, str(tmp_path))) == ([], None)
    assert not list(tmp_path.iterdir())


def test_an_actor_that_is_killed_loses_and_repeats_no_answer(tmp_path: Path) -> None:
    chunks = [Numbers(first, 5) for first in range(0, 40, 5)]
    replies, error = answered(chunks, partial(Doubler, str(tmp_path), kill_once=17))
    assert error is None
    assert_doubled(replies, range(40))
    assert len(list(tmp_path.glob("opened-*"))) == 2


@pytest.mark.slow
def test_a_chunk_that_always_ends_its_actor_is_given_up_by_name_after_all_others(tmp_path: Path) -> None:
    chunks = [Numbers(first, 5) for first in range(0, 40, 5)]
    replies, error = answered(chunks, partial(Doubler, str(tmp_path), kill_always=17))
    assert isinstance(error, FatalError)
    assert "could not answer numbers from 15:" in str(error)
    assert_doubled(replies, [number for number in range(40) if not 15 <= number < 20])
    assert len(list(tmp_path.glob("opened-*"))) <= 3 * (RETRIES + 1) + 3


def test_a_chunk_that_cannot_be_read_leaves_the_others(tmp_path: Path) -> None:
    replies, error = answered([Broken(0, 5), Numbers(5, 5), Stored(10, 5)], partial(Doubler, str(tmp_path)))
    assert isinstance(error, ShardError)
    assert str(error) == "shard of 0 has changed"
    assert_doubled(replies, range(5, 10))


def test_without_a_model_nothing_is_tried_again() -> None:
    replies, error = answered([Numbers(0, 5), Numbers(5, 5)], no_model)
    assert isinstance(error, FatalError)
    assert (str(error), replies) == ("no such model", [])


def test_more_engines_than_the_cluster_has_room_for_are_refused_before_anything_starts(tmp_path: Path) -> None:
    _, error = answered([Numbers(0, 5)], partial(Doubler, str(tmp_path)), replicas=2)
    assert isinstance(error, RecipeError)
    assert str(error) == (
        "doubler asks for 2 engines of 1 worker with 1 CPU each, and for 1 CPU to read documents with. The Ray cluster "
        "has 2 CPU on 1 node: room for 1 engine. Set replicas: 1, or add nodes"
    )
    assert not list(tmp_path.iterdir())


def test_closing_the_replies_gives_the_cluster_back(tmp_path: Path) -> None:
    import ray

    chunks = [Numbers(first, 5) for first in range(0, 1000, 5)]
    replies = answer_with_actors("doubler", Placement(1, 1, ONE_CPU), partial(Doubler, str(tmp_path)), chunks)
    next(replies)
    replies.close()
    for _ in range(300):
        if ray.available_resources().get("CPU") == 2:
            return
        time.sleep(0.1)
    pytest.fail(f"still held: {ray.available_resources()}")
