"""What is asked: what its fingerprint depends on, and what is told of mistakes."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from gristmill.operators.label.task import TaskQuestion, TaskSection

TASK: dict[str, Any] = {
    "instruction": "Rate how useful this text is.",
    "answer": {"choice": {"good": "useful", "bad": "not useful"}},
    "examples": [{"text": "1 + 1 = 2", "answer": "good"}],
    "text": {"max_tokens": 100, "take": "head"},
}


class Task(TaskQuestion):
    """A task as the file has it: with more than what is asked."""

    name: str = "a"
    sample: TaskSection | None = None


def fingerprint(**changed: Any) -> str:
    return TaskQuestion.model_validate({**TASK, **changed}).asked_fingerprint()


@pytest.mark.parametrize(
    "changed",
    [
        {"instruction": "Rate how useful that text is."},
        {"answer": {"choice": {"good": "useful", "bad": "useless"}}},
        {"answer": {"choice": {"bad": "not useful", "good": "useful"}}},
        {"answer": {"multi": {"good": "useful", "bad": "not useful"}}, "examples": []},
        {"answer": {"scale": [0, 5]}, "examples": []},
        {"examples": []},
        {"examples": [{"text": "1 + 1 = 2", "answer": "bad"}]},
        {"examples": [{"text": "1 + 1 = 3", "answer": "good"}]},
        {"text": {"max_tokens": 101, "take": "head"}},
        {"text": {"max_tokens": 100, "take": "tail"}},
        {"text": {}},
    ],
)
def test_the_fingerprint_changes_with_what_is_asked(changed: dict[str, Any]) -> None:
    assert fingerprint(**changed) != fingerprint()


def test_the_fingerprint_changes_with_the_order_of_a_schema_because_the_prompt_does() -> None:
    a, b = {"type": "string"}, {"type": "integer"}
    orders = [{"schema": {"properties": properties}} for properties in ({"a": a, "b": b}, {"b": b, "a": a})]
    assert fingerprint(answer=orders[0], examples=[]) != fingerprint(answer=orders[1], examples=[])


def test_the_fingerprint_changes_with_nothing_else() -> None:
    assert Task.model_validate(TASK).asked_fingerprint() == fingerprint()
    assert Task.model_validate({**TASK, "name": "b", "sample": {}}).asked_fingerprint() == fingerprint()
    assert fingerprint(answer={"choice": {"good": "useful ", " bad": "not useful"}}) == fingerprint()
    asked = TaskQuestion.model_validate(TASK)
    asked.answer.read("A")
    assert asked.asked_fingerprint() == fingerprint()
    defaults = {"text": {"max_tokens": 1500, "take": "head_and_tail"}}
    assert fingerprint(**defaults) == fingerprint(text={})


def test_the_fingerprint_is_that_of_answers_stored_earlier() -> None:
    assert fingerprint() == "b5faf6766c08e51d26f67221a3e91656"


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"examples": [{"text": "x", "answer": "good"}, {"text": "x", "answer": "ugly"}]},
         "the answer of example 2 is not one of this task: 'ugly' is none of good, bad"),
        ({"examples": [{"text": "x", "answer": "A"}]}, "'A' is none of good, bad"),
        ({"examples": [{"text": "x"}]}, "Field required"),
        ({"examples": [{"text": "", "answer": "good"}]}, "at least 1 character"),
        ({"answer": {"scale": [0, 5]}, "examples": [{"text": "x", "answer": 6}]}, "'6' is no whole number from 0 to 5"),
        ({"answer": {"multi": ["a", "b"]}, "examples": [{"text": "x", "answer": "a"}]}, "'a' is no list of labels"),
        ({"answer": {"multi": ["a", "b"]}, "examples": [{"text": "x", "answer": ["c"]}]}, "'c' is none of a, b"),
        ({"answer": {"schema": {"type": "array"}}, "examples": [{"text": "x", "answer": {"a": 1}}]},
         "$: {'a': 1} is not of type 'array'"),
        ({"answer": {"order": ["a"]}}, "pair: teaches more, schema: {...}"),
        ({"text": {"max_tokens": 0}}, "greater than 0"),
        ({"text": {"take": "middle"}}, "'head', 'tail' or 'head_and_tail'"),
        ({"instruction": ""}, "at least 1 character"),
        ({"instructions": "x"}, "Extra inputs"),
    ],
)  # fmt: skip
def test_mistakes_are_told(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError) as caught:
        TaskQuestion.model_validate({**TASK, **changed})
    assert message in str(caught.value)
