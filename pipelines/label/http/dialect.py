"""Dialects of requests: OpenAI-compatible endpoints refuse different parts of a request.

The first question is asked in the richest dialect; what is refused is said more plainly until it is accepted.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from gristmill.operators.label.contract import Constraint


class Concession(NamedTuple):
    """One way to write a part of a request."""

    name: str  #: for people; "" for what every endpoint should know
    fields: dict[str, Any]  #: of the request's body


@dataclass(frozen=True)
class Ladder:
    """All ways to write one part of a request, the richest first."""

    words: tuple[str, ...]  #: words by which an endpoint's complaint names it
    steps: tuple[Concession, ...]


@dataclass(frozen=True)
class Dialect:
    """A way to ask: the first step of each ladder."""

    ladders: tuple[Ladder, ...]

    @property
    def fields(self) -> dict[str, Any]:
        """Return the fields that it adds to a request's body."""
        return {key: value for ladder in self.ladders for key, value in ladder.steps[0].fields.items()}

    def plainer(self, *complaints: str) -> Dialect | None:
        """Return the next plainer dialect; None if there is none.

        The part that the first complaint names becomes plainer, else that of the next, else the first that can.
        """
        at = next((at for complaint in complaints if (at := self._named(complaint)) is not None), None)
        if at is None:
            at = next((at for at, ladder in enumerate(self.ladders) if len(ladder.steps) > 1), None)
        return None if at is None else self._stepped(at)

    def names(self, complaint: str) -> bool:
        """Return whether a complaint names something that can be said more plainly."""
        return self._named(complaint) is not None

    def __str__(self) -> str:
        return ", ".join(name for ladder in self.ladders if (name := ladder.steps[0].name))

    def _named(self, complaint: str) -> int | None:
        lower = complaint.lower()
        named = (at for at, ladder in enumerate(self.ladders) if any(word in lower for word in ladder.words))
        return next((at for at in named if len(self.ladders[at].steps) > 1), None)

    def _stepped(self, at: int) -> Dialect:
        stepped = replace(self.ladders[at], steps=self.ladders[at].steps[1:])
        return Dialect((*self.ladders[:at], stepped, *self.ladders[at + 1 :]))


def richest(constraint: Constraint, logprobs: bool) -> Dialect:
    """Return the dialect to begin with."""
    limit = constraint.max_tokens
    return Dialect(
        (
            Ladder(
                (
                    "structured_outputs",
                    "response_format",
                    "json_schema",
                    "json_object",
                    "json mode",
                    "grammar",
                    "schema",
                ),
                (*_enforced(constraint), Concession("nothing enforced", {})),
            ),
            Ladder(
                ("logprobs",),
                (*(_TOLD if logprobs else ()), Concession("no log-probabilities", {})),
            ),
            Ladder(
                ("max_tokens", "max_completion_tokens"),
                (
                    Concession("", {"max_tokens": limit}),
                    Concession("max_completion_tokens", {"max_completion_tokens": limit}),
                ),
            ),
            Ladder(("temperature",), (Concession("", {"temperature": 0}), Concession("its own temperature", {}))),
        )
    )


_TOLD = tuple(Concession(f"{n} log-probabilities", {"logprobs": True, "top_logprobs": n}) for n in (20, 5))


def _enforced(constraint: Constraint) -> tuple[Concession, ...]:
    if constraint.schema is not None:
        named = {"name": "answer", "schema": constraint.schema, "strict": True}
        return (
            Concession("json_schema", {"response_format": {"type": "json_schema", "json_schema": named}}),
            Concession("json_object", {"response_format": {"type": "json_object"}}),
        )
    if constraint.text_choices is not None:
        return (Concession("structured_outputs", {"structured_outputs": {"choice": list(constraint.text_choices)}}),)
    return (Concession("structured_outputs", {"structured_outputs": {"regex": constraint.pattern}}),)
