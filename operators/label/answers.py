"""Kinds of answers: how each is asked for, what a backend may enforce of it, how it is read, how sure it is.

| kind                        | a completion            | the answer                     |
|-----------------------------|-------------------------|--------------------------------|
| choice: {label: definition} | one letter              | the label                      |
| scale: [low, high]          | one digit (or letter)   | the number                     |
| multi: {label: definition}  | Y or N for each label   | a JSON list of labels          |
| pair: the better one        | one letter              | first, second or tie           |
| schema: {...}               | JSON                    | the JSON                       |

Of all but the last every code is one token, so that its log-probability is that of the answer.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cached_property
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Discriminator, Field, Tag, field_validator

from gristmill.operators.label.contract import Constraint
from gristmill.operators.label.labels import (
    LETTERS,
    UNKNOWN,
    Definitions,
    Slots,
    Soft,
    TaskSection,
    each_of,
    known_labels,
    mass,
)
from gristmill.operators.label.one_of_several import CODE_TOKENS, FIRST, SECOND, TIE, Choice, Pair, Scale, defined
from gristmill.operators.label.reading import (
    InvalidAnswer,
    as_json,
    by_name,
    parsed,
    quoted,
    read_json,
    shortened,
    told,
)

YES, NO = "Y", "N"
_YES_OR_NO = {"y": True, "yes": True, "n": False, "no": False}
if TYPE_CHECKING:  # recipes without such a task do not load it
    from jsonschema import Draft202012Validator
SCHEMA_TOKENS = 512


class Multi(TaskSection):
    """Any of several labels, none and all included."""

    multi: Definitions = Field(description="labels with their definitions, or a list of labels")

    @field_validator("multi")
    @classmethod
    def _check(cls, labels: dict[str, str]) -> dict[str, str]:
        return known_labels(labels)

    def constraint(self) -> Constraint:
        """Return a constraint with a slot for each label."""
        n = len(self.multi)
        pattern = f"[{YES}{NO}]( [{YES}{NO}]){{{n - 1}}}"
        return Constraint(((YES, NO),) * n, " ", None, pattern, None, 2 * n + CODE_TOKENS)

    def describe(self) -> str:
        """Return the labels in their order, and how to answer."""
        lines = [f"{i}: {defined(label, text)}" for i, (label, text) in enumerate(self.multi.items(), 1)]
        return "\n".join(["Labels, in this order:", *lines, "", self.how])

    @property
    def how(self) -> str:
        """Return how to answer, in a sentence."""
        return (
            f"For each of the {len(self.multi)} labels in this order answer {YES} if it fits and {NO} if it does not, "
            "with a blank between two and nothing else."
        )

    def completion(self, answer: str) -> str:
        """Return what a model writes to give an answer."""
        labels = json.loads(answer)
        return " ".join(YES if label in labels else NO for label in self.multi)

    def canonical(self, value: Any) -> str:
        """Return a JSON list of labels in order, from a person's list or one in JSON; raise InvalidAnswer otherwise."""
        return self._stored(parsed(value) if isinstance(value, str) and value.lstrip().startswith("[") else value)

    def read(self, text: str) -> str:
        """Return a JSON list of labels, in the task's order; raise InvalidAnswer where there is none.

        It is read from a row of Y and N (yes and no), or from a JSON list of labels.
        """
        text = told(text)
        fits = [_YES_OR_NO.get(word) for word in text.strip(" \t\r\n\"'`*.").replace(",", " ").lower().split()]
        if not fits or None in fits:
            return self._stored(self._listed(text))
        if len(fits) != len(self.multi):
            raise InvalidAnswer(f"{quoted(text)} has {len(fits)} answers for {len(self.multi)} labels")
        return as_json([label for label, fit in zip(self.multi, fits, strict=True) if fit])

    def _listed(self, text: str) -> Any:
        try:
            value = read_json(text)
        except InvalidAnswer:
            raise InvalidAnswer(f"{quoted(text)} is no row of {YES} and {NO}") from None
        return value["labels"] if isinstance(value, dict) and [*value] == ["labels"] else value

    def _stored(self, value: Any) -> str:
        if not isinstance(value, list | tuple):
            raise InvalidAnswer(f"{quoted(str(value))} is no list of labels")
        labels = tuple(self.multi)
        matches = [None if label is None else by_name(str(label), labels) for label in value]
        if None in matches:
            raise InvalidAnswer(f"{quoted(str(value[matches.index(None)]))} is none of {', '.join(labels)}")
        return as_json([label for label in labels if label in matches])

    def soft(self, answer: str, slots: Slots | None, logprob: float | None) -> Soft:
        """Return the probability that each label fits, given the answers before it; the answer's is their product."""
        return each_of(json.loads(answer), slots, self.multi, YES, NO)


class Free(TaskSection):
    """JSON, by a schema."""

    json_schema: dict[str, Any] = Field(alias="schema", description="JSON schema (2020-12) of the answer")

    @field_validator("json_schema")
    @classmethod
    def _check(cls, schema: dict[str, Any]) -> dict[str, Any]:
        from jsonschema import Draft202012Validator, SchemaError
        from referencing import Registry
        from referencing.exceptions import Unresolvable
        from referencing.jsonschema import DRAFT202012

        try:
            Draft202012Validator.check_schema(schema)
        except SchemaError as error:
            raise ValueError(f"this is no JSON schema: {error.json_path}: {shortened(error.message)}") from None
        resolver = Registry().resolver_with_root(DRAFT202012.create_resource(schema))
        for reference in _references(schema):
            try:
                resolver.lookup(reference)
            except Unresolvable:
                raise ValueError(f"$ref {reference!r} leads nowhere in this schema; no other is looked up") from None
        return schema

    @cached_property
    def _validator(self) -> Draft202012Validator:
        from jsonschema import Draft202012Validator
        from referencing import Registry

        return Draft202012Validator(self.json_schema, registry=Registry())

    def __getstate__(self) -> dict[Any, Any]:
        """Return the state without the validator, which cannot be pickled."""
        state = super().__getstate__()
        return {**state, "__dict__": {"json_schema": self.json_schema}}

    def constraint(self) -> Constraint:
        """Return a constraint without slots: the schema."""
        return Constraint((), "", None, None, self.json_schema, SCHEMA_TOKENS)

    def describe(self) -> str:
        """Return the schema, and how to answer."""
        return f"JSON schema:\n{json.dumps(self.json_schema, ensure_ascii=False)}\n\n{self.how}"

    @property
    def how(self) -> str:
        """Return how to answer, in a sentence."""
        return "Answer with JSON that fits this schema and nothing else."

    def completion(self, answer: str) -> str:
        """Return what a model writes to give an answer."""
        return answer

    def canonical(self, value: Any) -> str:
        """Return the answer as it is stored, from a person's value or JSON text; raise InvalidAnswer otherwise."""
        return self._stored(parsed(value if isinstance(value, str) else as_json(value)))

    def read(self, text: str) -> str:
        """Return the JSON, with no blanks and keys as given; raise InvalidAnswer where there is none that fits."""
        return self._stored(read_json(text))

    def _stored(self, value: Any) -> str:
        try:
            error = next(self._validator.iter_errors(value), None)
        except (RecursionError, ArithmeticError) as limit:
            raise InvalidAnswer(f"it cannot be held against the schema ({limit})") from None
        if error is not None:
            raise InvalidAnswer(f"{error.json_path}: {shortened(error.message)}")
        return as_json(value)

    def soft(self, answer: str, slots: Slots | None, logprob: float | None) -> Soft:
        """Return the probability of all that was generated."""
        return Soft(None if logprob is None else mass(logprob), None, None, None)


def _references(schema: Any) -> Iterator[str]:
    """Yield all `$ref` of a schema."""
    if isinstance(schema, dict):
        if isinstance(schema.get("$ref"), str):
            yield schema["$ref"]
        schema = list(schema.values())
    if isinstance(schema, list):
        for inner in schema:
            yield from _references(inner)


KINDS = {"choice": Choice, "scale": Scale, "multi": Multi, "pair": Pair, "schema": Free}


def _kind(value: Any) -> str | None:
    if isinstance(value, TaskSection):
        return next(f"answer[{key}]" for key, kind in KINDS.items() if isinstance(value, kind))
    named = [key for key in KINDS if isinstance(value, dict) and key in value]
    return f"answer[{named[0]}]" if len(named) == 1 else None


AnswerFormat = Annotated[
    Annotated[Choice, Tag("answer[choice]")]
    | Annotated[Scale, Tag("answer[scale]")]
    | Annotated[Multi, Tag("answer[multi]")]
    | Annotated[Pair, Tag("answer[pair]")]
    | Annotated[Free, Tag("answer[schema]")],
    Discriminator(
        _kind,
        custom_error_type="answer_kind",
        custom_error_message=(
            "Input should be one of choice: {...}, scale: [0, 5], multi: {...}, pair: teaches more, schema: {...}"
        ),
    ),
]


__all__ = [
    "FIRST",
    "LETTERS",
    "SECOND",
    "TIE",
    "UNKNOWN",
    "AnswerFormat",
    "Choice",
    "Free",
    "InvalidAnswer",
    "Multi",
    "Pair",
    "Scale",
    "Slots",
    "Soft",
]
