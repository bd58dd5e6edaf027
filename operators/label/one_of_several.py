"""Answers that are one of several: a choice, a number of a scale, the better of two texts."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Iterable, Mapping
from functools import cached_property
from typing import Any

from pydantic import Field, field_validator

from gristmill.operators.label.contract import Constraint
from gristmill.operators.label.labels import LETTERS, Definitions, Slots, Soft, TaskSection, known_labels, one_of
from gristmill.operators.label.reading import InvalidAnswer, by_name, quoted, read_one

#: Tokens that a code is given where nothing enforces it: a model may put a few words around it.
CODE_TOKENS = 16


class _OneOf(TaskSection):
    """An answer that is one of several, each with a code of its own."""

    @property
    @abstractmethod
    def codes(self) -> Mapping[str, str]:
        """Return code -> answer, in the task's order."""

    def constraint(self) -> Constraint:
        """Return a constraint of one slot."""
        codes = tuple(self.codes)
        return Constraint((codes,), "", codes, f"({'|'.join(codes)})", None, CODE_TOKENS)

    def completion(self, answer: str) -> str:
        """Return what a model writes to give an answer."""
        return next(code for code, label in self.codes.items() if label == answer)

    def read(self, text: str) -> str:
        """Return the answer that a completion gives; raise InvalidAnswer where it gives none."""
        return self.codes[text] if text in self.codes else read_one(text, self.codes)

    def soft(self, answer: str, slots: Slots | None, logprob: float | None) -> Soft:
        """Return the probabilities of all answers, those of the codes made to add up to one."""
        return one_of(answer, slots, self.codes)


class Choice(_OneOf):
    """One label of several."""

    choice: Definitions = Field(description="labels with their definitions, or a list of labels")

    @field_validator("choice")
    @classmethod
    def _check(cls, labels: dict[str, str]) -> dict[str, str]:
        codes = _codes_of(known_labels(labels))
        for label in labels:
            if codes.get(label.upper(), label) != label:
                raise ValueError(
                    f"label {label!r} would be taken for the letter of another option: "
                    "give all labels one letter or digit, or none"
                )
        return labels

    @cached_property
    def codes(self) -> dict[str, str]:
        """Return code -> label: labels of one letter or digit stand for themselves."""
        return _codes_of(self.choice)

    def describe(self) -> str:
        """Return the options, and how to answer."""
        if _stand_for_themselves(self.choice):
            lines = [f"{label}: {text}" if text else label for label, text in self.choice.items()]
        else:
            lines = [f"{code}: {defined(label, self.choice[label])}" for code, label in self.codes.items()]
        return "\n".join(["Options:", *lines, "", self.how])

    @property
    def how(self) -> str:
        """Return how to answer, in a sentence."""
        if _stand_for_themselves(self.choice):
            return f"Answer with one of {', '.join(self.choice)} and nothing else."
        return "Answer with the letter of one option and nothing else."

    def canonical(self, value: Any) -> str:
        """Return the label, from a person's value: its name, whatever its case; raise InvalidAnswer for any other."""
        label = None if value is None else by_name(str(value), tuple(self.choice))
        if label is None:
            raise InvalidAnswer(f"{quoted(str(value))} is none of {', '.join(self.choice)}")
        return label


class Scale(_OneOf):
    """A whole number between two."""

    scale: tuple[int, int] = Field(description="lowest and highest number")

    @field_validator("scale")
    @classmethod
    def _check(cls, value: tuple[int, int]) -> tuple[int, int]:
        low, high = value
        if low >= high:
            raise ValueError(f"give the lowest number first and a higher one after it, not {low} and {high}")
        if high - low >= len(LETTERS):
            raise ValueError(f"{low} to {high} are {high - low + 1} numbers; at most {len(LETTERS)} can be told apart")
        return value

    @cached_property
    def codes(self) -> dict[str, str]:
        """Return code -> number: digits stand for themselves; where a number would be several tokens, letters do."""
        low, high = self.scale
        numbers = [str(number) for number in range(low, high + 1)]
        return dict(zip(numbers if self._digits else LETTERS, numbers, strict=False))

    @property
    def _digits(self) -> bool:
        return self.scale[0] >= 0 and self.scale[1] <= 9

    def describe(self) -> str:
        """Return the numbers, and how to answer."""
        if self._digits:
            return self.how
        lines = [f"{code}: {number}" for code, number in self.codes.items()]
        return "\n".join(["Numbers by letter:", *lines, "", self.how])

    @property
    def how(self) -> str:
        """Return how to answer, in a sentence."""
        low, high = self.scale
        what = "one number" if self._digits else "the letter of one number"
        return f"Answer with {what} from {low} to {high} and nothing else."

    def canonical(self, value: Any) -> str:
        """Return the number, from a person's value: 4, 4.0, or either as text; raise InvalidAnswer for any other."""
        low, high = self.scale
        try:
            number = float(value)
        except (TypeError, ValueError, OverflowError):
            number = math.nan
        if isinstance(value, bool) or not (low <= number <= high and number.is_integer()):
            raise InvalidAnswer(f"{quoted(str(value))} is no whole number from {low} to {high}")
        return str(int(number))


FIRST, SECOND, TIE = "first", "second", "tie"


class Pair(_OneOf):
    """The better of two texts, or a tie."""

    pair: str = Field(min_length=1, description="what the better one is, as in: teaches more")

    @cached_property
    def codes(self) -> dict[str, str]:
        """Return code -> answer."""
        return dict(zip(LETTERS, (FIRST, SECOND, TIE), strict=False))

    def describe(self) -> str:
        """Return what is compared, and how to answer."""
        first, second, tie = self.codes
        lines = [f"{first}: the first", f"{second}: the second", f"{tie}: neither, they are alike"]
        return "\n".join([f"Two documents follow. Which one {self.pair.strip()}?", *lines, "", self.how])

    @property
    def how(self) -> str:
        """Return how to answer, in a sentence."""
        return "Answer with the letter of one option and nothing else."

    def canonical(self, value: Any) -> str:
        """Return first, second or tie, whatever the case; raise InvalidAnswer for anything else."""
        answer = None if value is None else by_name(str(value), (FIRST, SECOND, TIE))
        if answer is None:
            raise InvalidAnswer(f"{quoted(str(value))} is none of {FIRST}, {SECOND}, {TIE}")
        return answer


def _stand_for_themselves(labels: Iterable[str]) -> bool:
    return all(len(label) == 1 and label.isascii() and label.isalnum() for label in labels)


def _codes_of(labels: Iterable[str]) -> dict[str, str]:
    return dict(zip(labels if _stand_for_themselves(labels) else LETTERS, labels, strict=False))


def defined(label: str, text: str) -> str:
    """Return a label with its definition, where it has one."""
    return f"{label} ({text})" if text else label
