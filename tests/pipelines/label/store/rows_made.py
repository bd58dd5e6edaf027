"""Rows that tests of the label store are made of."""

from __future__ import annotations

from gristmill.pipelines.label.store.schema import Annotation, AnswerRow

BIG = Annotation("big", "some/model", "rev-1")


def key(i: int) -> bytes:
    """A content id of its own for each number."""
    return i.to_bytes(16, "little")


def answered(i: int, answer: str = "4", attempt: int = 1, tokens: int = 100) -> AnswerRow:
    """A valid answer."""
    return AnswerRow(key(i), attempt, answer, 0.75, {"4": 0.75, "5": 0.25}, 0.99, 0.56, None, tokens, 1, tokens / 1024)


def refused(i: int) -> AnswerRow:
    """A document that the model does not take."""
    return AnswerRow(key(i), 1, None, error="too long for the model")


def rejected(i: int, attempt: int = 1, tokens: int = 100) -> AnswerRow:
    """An answer that is not valid."""
    return AnswerRow(key(i), attempt, None, input_tokens=tokens, output_tokens=1, raw=f"raw {i}", error=f"reason {i}")
