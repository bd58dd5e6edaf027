"""Free answers: JSON, by a schema."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cached_property
from typing import TYPE_CHECKING, Any

from pydantic import Field, field_validator

from gristmill.operators.label.contract import Constraint
from gristmill.operators.label.reading import InvalidAnswer, as_json, parsed, read_json, shortened
from gristmill.operators.label.section import TaskSection
from gristmill.operators.label.soft import Slots, Soft, mass

if TYPE_CHECKING:  # recipes without such a task do not load it
    from jsonschema import Draft202012Validator

SCHEMA_TOKENS = 512


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
