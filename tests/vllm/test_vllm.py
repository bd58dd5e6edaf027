"""Labels by a real vLLM (a CPU build) through ray.data.llm, with a real model: `make test-vllm`."""

from __future__ import annotations

import json
import math
import os
import re
import signal
import time
from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any

import psutil
import pytest

from gristmill.operators.errors import FatalError, RecipeError
from gristmill.operators.label.contract import Completion, Question, Reply
from gristmill.operators.label.prompt import Cutter, Prompt
from gristmill.operators.label.task import TaskQuestion
from gristmill.pipelines.label.annotators import VllmAnnotator
from gristmill.pipelines.label.questions import HeldChunk
from gristmill.pipelines.label.ray.vllm import open_asker
from tests.label_model import TOPIC, TOPICS, cached_tiny_model, labelled_texts

pytestmark = [pytest.mark.vllm, pytest.mark.ray]

DOCUMENTS = 400
TOO_LONG = Question(b"\xff" * 16, "word " * 2000)
ENV = {"VLLM_CPU_KVCACHE_SPACE": "1", "HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1"}
ENGINE = {"enforce_eager": True, "dtype": "float32", "max_model_len": 512, "block_size": 32}


@pytest.fixture(scope="module", autouse=True)
def cluster() -> Iterator[None]:
    """A cluster with as many CPUs as one engine and one reader need."""
    from gristmill.pipelines.engine.ray_data import RayEngine

    engine = RayEngine(2)
    yield
    engine.close()


def annotator(**options: Any) -> VllmAnnotator:
    """The tiny model on a CPU."""
    smallest = {"name": "tiny", "engine": "vllm", "model": str(cached_tiny_model()), "engine_kwargs": ENGINE}
    return VllmAnnotator.model_validate({**smallest, "placement": {"CPU": 1}, "env": ENV, **options})


def questions(asked: TaskQuestion, n: int = DOCUMENTS) -> list[Question]:
    """Held-out texts, cut as the task says."""
    asker = open_asker(annotator(), asked)
    cutter, prompt = Cutter(asker.tokenizer, asked.text), Prompt(asked, asker.tokenizer.special)
    texts = [prompt.neutralise(cutter.cut(row.text).text) for row in labelled_texts("test", n)]
    return [Question(number.to_bytes(16, "big"), text) for number, text in enumerate(texts)]


def chunked(some: Sequence[Question], size: int = 50) -> list[HeldChunk]:
    return [HeldChunk(tuple(some[start : start + size])) for start in range(0, len(some), size)]


def collect(groups: Iterator[Sequence[Reply]]) -> list[Reply]:
    return [reply for group in groups for reply in group]


def completions(replies: Sequence[Reply]) -> dict[bytes, Completion]:
    """Completions by key; each key at most once."""
    found = {reply.key: reply.completion for reply in replies if reply.completion is not None}
    assert len({reply.key for reply in replies}) == len(replies)
    return found


def expected_slot(asked: TaskQuestion, question: Question, codes: str, given: str = "") -> dict[str, float]:
    """Log-probabilities of codes after a prompt and the beginning of an answer, by plain transformers, unbatched."""
    import torch

    tokenizer, model = reference()
    messages = Prompt(asked).messages(question.document)
    ids = tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=True, return_dict=False)
    ids += tokenizer.encode(given, add_special_tokens=False)
    with torch.no_grad():
        logprobs = model(torch.tensor([ids])).logits[0, -1].double().log_softmax(-1)
    masses: dict[str, float] = {}
    for token, id in tokenizer.get_vocab().items():
        if (code := token.removeprefix("\u0120")) in set(codes):
            masses[code] = masses.get(code, 0.0) + math.exp(logprobs[id])
    return {code: math.log(mass) for code, mass in masses.items()}


@cache
def reference() -> tuple[Any, Any]:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = cached_tiny_model()
    return AutoTokenizer.from_pretrained(folder), AutoModelForCausalLM.from_pretrained(folder).eval()


def assert_close(found: dict[str, float], expected: dict[str, float]) -> None:
    assert found.keys() == expected.keys()
    assert all(abs(math.exp(found[code]) - math.exp(expected[code])) < 1e-3 for code in expected)


@pytest.fixture(scope="module")
def topics() -> list[Reply]:
    """All replies to all documents and one that the model has no room for."""
    begun = time.perf_counter()
    some = questions(TOPIC)
    groups = open_asker(annotator(), TOPIC).answer_chunks(chunked([*some[:70], TOO_LONG, *some[70:]]))
    first = next(groups)
    started = time.perf_counter() - begun
    replies = [*first, *collect(groups)]
    rest = time.perf_counter() - begun - started
    print(f"\nfirst replies after {started:.1f} s, {(len(replies) - len(first)) / rest:.0f} documents/s from then on")
    return replies


def test_choices_are_letters_and_mostly_right(topics: list[Reply]) -> None:
    found = completions(topics)
    assert set(found) == {question.key for question in questions(TOPIC)}
    gold = [row.topic for row in labelled_texts("test", DOCUMENTS)]
    right = sum(
        TOPIC.answer.read(found[question.key].text) == topic
        for question, topic in zip(questions(TOPIC), gold, strict=True)
    )
    assert right / DOCUMENTS > 0.6


def test_soft_labels_are_those_of_transformers(topics: list[Reply]) -> None:
    found = completions(topics)
    for question in questions(TOPIC):
        slots = found[question.key].slots
        assert slots is not None
        assert len(slots) == 1
        assert_close(slots[0], expected_slot(TOPIC, question, "ABCD"))
        soft = TOPIC.answer.soft(TOPIC.answer.read(found[question.key].text), slots, found[question.key].logprob)
        assert soft.probabilities is not None
        assert math.isclose(sum(soft.probabilities.values()), 1.0)


def test_tokens_are_counted(topics: list[Reply]) -> None:
    tokenizer, _ = reference()
    for question in questions(TOPIC)[:20]:
        found = completions(topics)[question.key]
        prompt = Prompt(TOPIC).messages(question.document)
        ids = tokenizer.apply_chat_template(prompt, add_generation_prompt=True, return_dict=False)
        assert (found.input_tokens, found.output_tokens) == (len(ids), 1)


def test_a_document_that_is_too_long_is_a_lasting_error(topics: list[Reply]) -> None:
    (failed,) = [reply for reply in topics if reply.completion is None]
    assert (failed.key, failed.lasting) == (TOO_LONG.key, True)
    assert "512 tokens" in failed.error


def test_half_of_the_chunks_asked_later_are_answered_alike(topics: list[Reply]) -> None:
    half = chunked(questions(TOPIC))[::2]
    later = completions(collect(open_asker(annotator(), TOPIC).answer_chunks(half)))
    assert set(later) == {question.key for chunk in half for question in chunk.held}
    before = completions(topics)
    assert all(later[key].text == before[key].text for key in later)


def test_several_labels_have_a_slot_each() -> None:
    some = questions(TOPICS, 40)
    found = completions(collect(open_asker(annotator(), TOPICS).answer([some])))
    assert len(found) == len(some)
    for question in some:
        text, slots = found[question.key].text, found[question.key].slots
        assert re.fullmatch("[YN]( [YN]){3}", text)
        assert slots is not None
        assert len(slots) == 4
        for place, slot in enumerate(slots):
            assert_close(slot, expected_slot(TOPICS, question, "YN", text[: 2 * place].rstrip()))


def test_a_schema_is_enforced() -> None:
    schema = {
        "type": "object",
        "properties": {"topic": {"enum": ["sport", "money"]}},
        "required": ["topic"],
        "additionalProperties": False,
    }
    asked = TaskQuestion.model_validate({"instruction": "Name the topic.", "answer": {"schema": schema}})
    some = questions(TOPIC)[:10]
    found = completions(collect(open_asker(annotator(max_output_tokens=128), asked).answer([some])))
    assert len(found) == len(some)
    for completion in found.values():
        assert json.loads(asked.answer.read(completion.text))["topic"] in ("sport", "money")
        assert completion.logprob is not None
        assert completion.logprob < 0
        assert completion.slots is None


def test_an_engine_that_is_killed_loses_and_repeats_no_answer() -> None:
    some = questions(TOPIC)
    groups = open_asker(annotator(batch_size=8), TOPIC).answer_chunks(chunked(some, 8))
    replies = list(next(groups))
    (engine,) = [
        process for process in psutil.process_iter(["cmdline"]) if "vLLMEngineStage" in str(process.info["cmdline"])
    ]
    os.kill(engine.pid, signal.SIGKILL)
    replies += collect(groups)
    assert set(completions(replies)) == {question.key for question in some}


def test_an_engine_that_cannot_start_is_told_of_at_once() -> None:
    with pytest.raises(FatalError, match=r"tiny did not start on the Ray cluster: .*no_such_argument"):
        collect(open_asker(annotator(engine_kwargs={"no_such_argument": 1}), TOPIC).answer([questions(TOPIC)[:1]]))


def test_engines_that_the_cluster_has_no_room_for_are_refused() -> None:
    with pytest.raises(RecipeError, match=r"room for 1 engine\. Set replicas: 1, or add nodes"):
        open_asker(annotator(replicas=2), TOPIC)
    with pytest.raises(RecipeError, match=r"1 worker with 1 CPU and 1 GPU each.*takes placement: \{CPU: 1\}"):
        open_asker(annotator(placement={"GPU": 1}), TOPIC)
