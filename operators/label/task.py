"""The part of a labelling task that decides what an answer is about: what is asked, of how much of a text.

Its fingerprint names the answers in the label store. The annotator, the documents and the budget are no part.
"""

from __future__ import annotations

import json
from typing import Any, Literal

from pydantic import Field, ValidationInfo, field_validator

from gristmill.operators.base import digest_of
from gristmill.operators.label.answers import AnswerFormat
from gristmill.operators.label.reading import InvalidAnswer
from gristmill.operators.label.section import TaskSection

#: Raise it when the same task makes another prompt or reads another answer from the same completion.
PROMPT_VERSION = 1


class Example(TaskSection):
    """A text with its answer, shown to the model before the document."""

    text: str = Field(min_length=1)
    answer: Any = Field(description="a label, a number, a list of labels, or what the schema asks for")


class TextPart(TaskSection):
    """The part of a document that the model sees."""

    max_tokens: int = Field(default=1500, gt=0, description="longer texts are cut to this many tokens")
    take: Literal["head", "tail", "head_and_tail"] = Field(default="head_and_tail", description="which part is kept")


class TaskQuestion(TaskSection):
    """The question that is asked of a document, and the way that the answer is read."""

    instruction: str = Field(min_length=1, description="what the model is to do, in words")
    answer: AnswerFormat = Field(description="one of choice, scale, multi, schema")
    examples: tuple[Example, ...] = Field(default=(), description="texts with their answers, shown to the model")
    text: TextPart = Field(default=TextPart(), description="how much of a document the model sees")

    @field_validator("examples")
    @classmethod
    def _are_answered(cls, examples: tuple[Example, ...], known: ValidationInfo) -> tuple[Example, ...]:
        answer: AnswerFormat | None = known.data.get("answer")
        if answer is None:  # wrong itself, which is reported
            return examples
        for i, example in enumerate(examples):
            try:
                answer.canonical(example.answer)
            except InvalidAnswer as error:
                raise ValueError(f"the answer of example {i + 1} is not one of this task: {error}") from None
        return examples

    def asked_fingerprint(self) -> str:
        """Return a hex digest of all that decides the prompt and how its answer is read."""
        asked = self.model_dump(mode="json", by_alias=True, include=set(TaskQuestion.model_fields))
        # As text, because the order of labels, and of a schema's keys, is part of the prompt.
        return digest_of([PROMPT_VERSION, json.dumps(asked, ensure_ascii=False)])


__all__ = ["PROMPT_VERSION", "Example", "TaskQuestion", "TaskSection", "TextPart"]
