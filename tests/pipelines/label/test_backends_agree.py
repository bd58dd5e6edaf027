"""The same model gives the same answers and probabilities in this process and behind an OpenAI-compatible endpoint."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from gristmill.operators.label.contract import Reply
from gristmill.operators.label.task import TaskQuestion
from gristmill.pipelines.label.annotators import HttpAnnotator
from gristmill.pipelines.label.http import backend as http
from gristmill.pipelines.label.local import backend as local
from tests.label_model import TOPIC, TOPICS, labelled_texts
from tests.pipelines.label.chat_server import NAME, chat_server
from tests.pipelines.label.local.model_support import annotator, questions_of, replies_of

pytestmark = pytest.mark.lm

ROWS = labelled_texts("test", 200)


@pytest.fixture(scope="module")
def url(tiny_model: Path) -> Iterator[str]:
    """The base_url of the tiny model's server."""
    with chat_server(tiny_model) as base_url:
        yield base_url


def both(asked: TaskQuestion, model: Path, url: str) -> list[tuple[Reply, Reply]]:
    """For each text the reply of the backend `transformers` and that of the backend `http`."""
    here = local.open_asker(annotator(model), asked)
    there = http.open_asker(
        HttpAnnotator(name="there", engine="http", base_url=url, model=NAME, concurrency=8, tokenizer=str(model)), asked
    )
    questions = questions_of(asked, here, [row.text for row in ROWS])
    assert questions == questions_of(asked, there, [row.text for row in ROWS])
    try:
        return list(zip(replies_of(here, questions), replies_of(there, questions), strict=True))
    finally:
        there.close()


@pytest.mark.parametrize("asked", [TOPIC, TOPICS], ids=["choice", "multi"])
def test_soft_labels_agree(asked: TaskQuestion, tiny_model: Path, url: str) -> None:
    agreed = 0
    for ours, theirs in both(asked, tiny_model, url):
        assert ours.completion is not None
        assert theirs.completion is not None
        assert ours.completion.input_tokens == theirs.completion.input_tokens
        if theirs.completion.slots is None:  # of several codes nothing holds the endpoint to their form
            assert asked is TOPICS
            continue
        assert ours.completion.text == theirs.completion.text
        assert ours.completion.output_tokens == theirs.completion.output_tokens
        answer = asked.answer.read(ours.completion.text)
        here = asked.answer.soft(answer, ours.completion.slots, ours.completion.logprob)
        there = asked.answer.soft(answer, theirs.completion.slots, theirs.completion.logprob)
        assert here.probabilities is not None
        assert there.probabilities == pytest.approx(here.probabilities, abs=1e-3)
        if asked is TOPIC:
            assert sum(there.probabilities.values()) == pytest.approx(1, abs=1e-9)
        assert there.probability == pytest.approx(here.probability, abs=1e-3)
        assert there.coverage == pytest.approx(here.coverage, abs=1e-3)
        assert there.entropy == pytest.approx(here.entropy, abs=5e-3)
        agreed += 1
    assert agreed > 0.95 * len(ROWS)


def test_topics_are_named_well_above_chance_over_http(tiny_model: Path, url: str) -> None:
    said = [theirs.completion for _, theirs in both(TOPIC, tiny_model, url)]
    right = [c is not None and TOPIC.answer.read(c.text) == row.topic for c, row in zip(said, ROWS, strict=True)]
    assert sum(right) / len(right) >= 0.7
