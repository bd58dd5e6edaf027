"""The backend `vllm` without vLLM: what it asks for, how it reads Ray's rows, what it says where it cannot run."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest

from gristmill.operators.errors import RecipeError
from gristmill.operators.label.answers import Choice, Free, Multi
from gristmill.operators.label.task import TaskQuestion
from gristmill.pipelines.label.annotators import VllmAnnotator
from gristmill.pipelines.label.local.tokens import slot_tokens
from gristmill.pipelines.label.ray import vllm
from gristmill.pipelines.label.ray.vllm import open_asker, read_row, sampling_parameters

CHOICE = Choice(choice={"physics": "", "sport": ""})
MULTI = Multi(multi={"physics": "", "sport": "", "money": ""})
SCHEMA = {"type": "object", "properties": {"topic": {"type": "string"}}}
FREE = Free.model_validate({"schema": SCHEMA})
ANNOTATOR = VllmAnnotator(name="big", engine="vllm", model="m")
ASKED = TaskQuestion.model_validate({"instruction": "Name the topic.", "answer": {"choice": ["physics", "sport"]}})


def joined(text: str) -> list[int]:
    """Tokens of a vocabulary where each character is one, and so is each letter with a blank before it."""
    ids: list[int] = []
    for letter in text:
        if ids and ids[-1] == ord(" ") and letter.isalpha():
            ids[-1] = 1000 + ord(letter)
        else:
            ids.append(ord(letter))
    return ids


def apart(text: str) -> list[int]:
    """Tokens of a vocabulary where each character is one."""
    return [ord(letter) for letter in text]


def token(text: str, logprob: float) -> dict[str, Any]:
    return {"logprob": logprob, "rank": 1, "decoded_token": text}


def row(text: str, logprobs: list[dict[int, dict[str, Any]]], **columns: Any) -> dict[str, Any]:
    """A row of Ray's processor; the first token of each position was written."""
    generated = [next(iter(told)) for told in logprobs]
    told = {"generated_text": text, "generated_tokens": generated, "logprobs": logprobs}
    return {"key": b"k", "num_input_tokens": 70, "num_generated_tokens": len(generated), **told, **columns}


def test_a_choice_is_one_token_of_those_that_bear_codes() -> None:
    constraint = CHOICE.constraint()
    ids = [ord("A"), 1000 + ord("A"), ord("B"), 1000 + ord("B")]
    assert sampling_parameters(constraint, slot_tokens(constraint, joined, "m")) == {
        "temperature": 0.0,
        "max_tokens": 1,
        "allowed_token_ids": ids,
        "logprob_token_ids": ids,
    }


def test_several_labels_are_as_many_tokens_where_the_blank_is_part_of_them_and_a_pattern_elsewhere() -> None:
    constraint = MULTI.constraint()
    simple = sampling_parameters(constraint, slot_tokens(constraint, joined, "m"))
    assert simple["max_tokens"] == 3
    assert set(simple["allowed_token_ids"]) == {ord("Y"), 1000 + ord("Y"), ord("N"), 1000 + ord("N")}
    spelled = sampling_parameters(constraint, slot_tokens(constraint, apart, "m"))
    assert spelled["structured_outputs"] == {"regex": constraint.pattern}
    assert spelled["max_tokens"] >= 5
    assert spelled["logprob_token_ids"] == [ord("Y"), ord("N")]


def test_a_schema_goes_out_as_text_with_the_annotators_own_limit() -> None:
    asked = sampling_parameters(FREE.constraint(), [], 99)
    assert json.loads(asked["structured_outputs"]["json"]) == SCHEMA
    assert (asked["max_tokens"], asked["logprobs"]) == (99, 0)


def test_variants_of_a_code_are_added_up() -> None:
    told = {65: token("A", math.log(0.3)), 1065: token(" A", math.log(0.2)), 66: token("B", math.log(0.1))}
    completion = read_row(CHOICE.constraint(), row("A", [told], __inference_error__="")).completion
    assert completion is not None
    assert completion.slots is not None
    assert completion.slots[0] == pytest.approx({"A": math.log(0.5), "B": math.log(0.1)})
    assert (completion.text, completion.input_tokens, completion.output_tokens) == ("A", 70, 1)
    assert completion.logprob == pytest.approx(math.log(0.5))


@pytest.mark.parametrize("written", ["YNY", "Y N Y"])
def test_codes_are_parted_as_the_answer_is_read_whether_or_not_the_model_wrote_blanks(written: str) -> None:
    told = [{1: token("Y", -0.1), 2: token("N", -2.4)}, {3: token(" N", -0.2)}, {1: token("Y", -0.3)}]
    completion = read_row(MULTI.constraint(), row(written, told)).completion
    assert completion is not None
    assert completion.text == "Y N Y"
    assert MULTI.read(completion.text) == '["physics","money"]'
    assert completion.logprob == pytest.approx(-0.6)


def test_free_answers_have_the_log_probability_of_all_their_tokens() -> None:
    told = [{5: token("{", -0.5)}, {6: token("}", -0.25)}]
    completion = read_row(FREE.constraint(), row("{}", told)).completion
    assert completion is not None
    assert (completion.text, completion.slots, completion.logprob) == ("{}", None, -0.75)


@pytest.mark.parametrize(
    ("error", "lasting"),
    [
        ("VLLMValidationError: This model's maximum context length is 512 tokens. However, you requested 0", True),
        ("ValueError: The decoder prompt (length 900) is longer than the maximum model length of 512.", True),
        ("ValueError: The provided JSON schema contains features not supported by xgrammar", False),
        ("RuntimeError: CUDA error: an illegal memory access was encountered", False),
    ],
)
def test_only_a_document_that_is_too_long_is_a_lasting_error(error: str, lasting: bool) -> None:
    reply = read_row(CHOICE.constraint(), {"key": b"k", "__inference_error__": error, "generated_tokens": []})
    assert (reply.key, reply.completion, reply.error, reply.lasting) == (b"k", None, error, lasting)


def test_without_vllm_the_message_names_three_ways_to_a_model(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vllm.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(RecipeError, match=r"big is answered by vLLM, which is not installed here") as caught:
        open_asker(ANNOTATOR, ASKED)
    for way in ("gristmill[vllm]", "engine: http", "engine: transformers"):
        assert way in str(caught.value)


def test_without_a_cluster_the_message_says_how_to_be_on_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vllm.importlib.util, "find_spec", lambda name: object())
    monkeypatch.setattr(vllm, "on_ray", lambda: False)
    with pytest.raises(RecipeError, match=r"this run is not on one: add --engine ray"):
        open_asker(ANNOTATOR, ASKED)
