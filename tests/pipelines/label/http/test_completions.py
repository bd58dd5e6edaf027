from __future__ import annotations

import math
from typing import Any

import pytest

from gristmill.operators.label.answers import Choice
from gristmill.operators.label.contract import Message
from gristmill.operators.label.prompt import Estimate
from gristmill.pipelines.label.http.replies import Answered, completion_of

CONSTRAINT = Choice(choice=["physics", "biology"]).constraint()  # type: ignore[arg-type]
MESSAGES: list[Message] = [{"role": "user", "content": "What is it about? " * 20}]
TOLD = [
    {"token": " A", "logprob": math.log(0.6), "top_logprobs": [
        {"token": " A", "logprob": math.log(0.6)}, {"token": "A", "logprob": math.log(0.1)},
        {"token": "B", "logprob": math.log(0.2)}, {"token": "The", "logprob": math.log(0.05)},
    ]},
    {"token": "<|im_end|>", "logprob": math.log(0.5), "top_logprobs": []},
]  # fmt: skip


def said(**choice: Any) -> dict[str, Any]:
    return {"choices": [{"message": {"content": "A"}, **choice}], "usage": {"prompt_tokens": 7, "completion_tokens": 2}}


def test_slots_add_up_variants_and_the_logprob_is_of_all_tokens() -> None:
    found = completion_of(Answered(said(logprobs={"content": TOLD})), CONSTRAINT, MESSAGES, Estimate())
    assert found.slots is not None
    assert {code: math.exp(value) for code, value in found.slots[0].items()} == pytest.approx({"A": 0.7, "B": 0.2})
    assert found.logprob == pytest.approx(math.log(0.6 * 0.5))
    assert (found.text, found.input_tokens, found.output_tokens) == ("A", 7, 2)


@pytest.mark.parametrize(
    "logprobs", [None, {}, {"content": None}, {"content": []}, {"content": [{"logprob": 1}]}, {"content": [3]}, "x"]
)
def test_without_readable_logprobs_there_are_no_slots(logprobs: Any) -> None:
    found = completion_of(Answered(said(logprobs=logprobs)), CONSTRAINT, MESSAGES, Estimate())
    assert found.slots is None
    assert found.logprob is None


@pytest.mark.parametrize("usage", [None, {}, {"prompt_tokens": None}, "x"])
def test_tokens_are_counted_where_the_endpoint_does_not_tell_them(usage: Any) -> None:
    found = completion_of(Answered({**said(), "usage": usage}), CONSTRAINT, MESSAGES, Estimate())
    assert [found.input_tokens, found.output_tokens] == Estimate().count([MESSAGES[0]["content"], "A"])


@pytest.mark.parametrize(
    ("message", "text"),
    [
        ({"content": None}, ""),
        ({}, ""),
        ({"content": None, "refusal": "No."}, "No."),
        ({"content": "B"}, "B"),
    ],
)
def test_the_text_of_a_message(message: dict[str, Any], text: str) -> None:
    assert completion_of(Answered(said(message=message)), CONSTRAINT, MESSAGES, Estimate()).text == text
