"""The backend `transformers` in actors of a Ray cluster answers as it does in this process."""

from __future__ import annotations

import math
from collections.abc import Iterator

import pytest

from gristmill.operators.errors import RecipeError
from gristmill.operators.label.contract import Question
from gristmill.pipelines.label.annotators import TransformersAnnotator
from gristmill.pipelines.label.backends import open_asker
from gristmill.pipelines.label.local import backend as local
from gristmill.pipelines.label.questions import HeldChunk, StreamingAsker
from gristmill.pipelines.label.ray.backend import open_replicas
from tests.label_model import TOPIC, cached_tiny_model, labelled_texts

pytestmark = [pytest.mark.lm, pytest.mark.ray]


@pytest.fixture(scope="module", autouse=True)
def cluster() -> Iterator[None]:
    """A cluster with two CPUs: one for a model, one to read with."""
    from gristmill.pipelines.engine.ray_data import RayEngine

    engine = RayEngine(2)
    yield
    engine.close()


def annotator(**options: object) -> TransformersAnnotator:
    smallest = {"name": "tiny", "engine": "transformers", "model": str(cached_tiny_model()), "device": "cpu"}
    return TransformersAnnotator.model_validate({**smallest, **options})


def test_actors_answer_as_this_process_does() -> None:
    texts = [row.text[:150] for row in labelled_texts("test", 60)]
    questions = [Question(number.to_bytes(16, "big"), text) for number, text in enumerate(texts)]
    here, there = local.open_asker(annotator(), TOPIC), open_replicas(annotator(), TOPIC)
    assert isinstance(there, StreamingAsker)
    assert there.revision == here.revision
    assert there.tokenizer.count(texts) == here.tokenizer.count(texts)
    expected = {reply.key: reply.completion for some in here.answer([questions]) for reply in some}
    chunks = [HeldChunk(tuple(questions[start : start + 20])) for start in range(0, 60, 20)]
    found = {reply.key: reply.completion for some in there.answer_chunks(chunks) for reply in some}
    assert found.keys() == expected.keys()
    for key, completion in expected.items():
        other = found[key]
        assert completion is not None
        assert completion.slots is not None
        assert other is not None
        assert other.slots is not None
        assert other.text == completion.text
        for code, logprob in completion.slots[0].items():
            assert math.isclose(other.slots[0][code], logprob, abs_tol=1e-4)


def test_several_models_are_held_by_one_cluster() -> None:
    opened = [open_asker(annotator(name=name), TOPIC) for name in ("first", "second")]
    assert all(isinstance(asker, StreamingAsker) for asker in opened)


def test_more_replicas_than_the_cluster_has_room_for_are_refused() -> None:
    with pytest.raises(RecipeError, match=r"tiny asks for 2 engines.*Set replicas: 1, or add nodes"):
        open_replicas(annotator(replicas=2), TOPIC)
    with pytest.raises(RecipeError, match=r"1 worker with 1 CPU and 1 GPU each"):
        open_replicas(annotator(device="cuda"), TOPIC)
