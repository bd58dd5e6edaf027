from __future__ import annotations

from typing import Any

import pytest

from gristmill.operators.label.answers import Choice, Free, Multi
from gristmill.operators.label.contract import Constraint
from gristmill.pipelines.label.http.dialect import Dialect, richest

CHOICE = Choice(choice={"physics": "", "biology": ""}).constraint()
MULTI = Multi(multi={"physics": "", "biology": ""}).constraint()
SCHEMA: dict[str, Any] = {"type": "object", "properties": {"a": {"type": "integer"}}}
FREE = Free(schema=SCHEMA).constraint()


def test_the_richest_dialect_of_each_kind_of_answer() -> None:
    rest = {"logprobs": True, "top_logprobs": 20, "temperature": 0}
    assert richest(CHOICE, True).fields == {
        "structured_outputs": {"choice": ["A", "B"]}, "max_tokens": CHOICE.max_tokens, **rest
    }  # fmt: skip
    assert richest(MULTI, True).fields["structured_outputs"] == {"regex": MULTI.pattern}
    assert richest(FREE, True).fields["response_format"] == {
        "type": "json_schema",
        "json_schema": {"name": "answer", "schema": SCHEMA, "strict": True},
    }
    assert "structured_outputs" not in richest(FREE, True).fields
    assert not {"logprobs", "top_logprobs"} & richest(CHOICE, False).fields.keys()


@pytest.mark.parametrize(
    ("complaint", "gone", "new"),
    [
        ("Unknown parameter: 'structured_outputs'.", {"structured_outputs"}, {}),
        ("top_logprobs must be at most 5", {}, {"top_logprobs": 5}),
        (
            "Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead.",
            {"max_tokens"},
            {"max_completion_tokens": CHOICE.max_tokens},
        ),
        ("temperature does not support 0", {"temperature"}, {}),
    ],
)
def test_what_a_complaint_names_is_said_more_plainly(complaint: str, gone: set[str], new: dict[str, Any]) -> None:
    dialect = richest(CHOICE, True)
    plainer = dialect.plainer(complaint)
    assert plainer is not None
    assert plainer.fields == {k: v for k, v in dialect.fields.items() if k not in gone} | new


def test_the_parameter_counts_before_the_message() -> None:
    plainer = richest(CHOICE, True).plainer("temperature", "structured_outputs and temperature do not go together")
    assert plainer is not None
    assert "structured_outputs" in plainer.fields
    assert "temperature" not in plainer.fields


@pytest.mark.parametrize(("constraint", "steps"), [(CHOICE, 5), (MULTI, 5), (FREE, 6)])
def test_complaints_that_name_nothing_go_through_all_dialects_and_end(constraint: Constraint, steps: int) -> None:
    seen: list[str] = []
    dialect: Dialect | None = richest(constraint, True)
    while dialect is not None:
        seen.append(repr(dialect.fields))
        dialect = dialect.plainer("", "bad request")
    assert len(seen) == len(set(seen)) == steps + 1
    assert seen[-1] == repr({"max_completion_tokens": constraint.max_tokens})


def test_a_dialect_in_words() -> None:
    dialect = richest(CHOICE, True)
    assert str(dialect) == "structured_outputs, 20 log-probabilities"
    plainer = dialect.plainer("structured_outputs")
    assert plainer is not None
    assert str(plainer) == "nothing enforced, 20 log-probabilities"
