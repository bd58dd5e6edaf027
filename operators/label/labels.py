"""Labels, as a task's file gives them and as an answer is sure of them; and the base of all parts of a task.

How sure an answer is, its soft label, comes from the log-probabilities of the codes that it is read from.
"""

from __future__ import annotations

import math
import string
from collections.abc import Collection, Mapping, Sequence
from typing import Annotated, Any, NamedTuple

from pydantic import BaseModel, BeforeValidator, ConfigDict

from gristmill.operators.label.reading import folded, quoted

#: Codes of labels, and so the most labels that a task may have.
LETTERS = string.ascii_uppercase + string.ascii_lowercase
Slots = Sequence[Mapping[str, float]]


class TaskSection(BaseModel):
    """A part of a task: frozen, unknown keys are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)


def _as_definitions(value: Any) -> Any:
    """Turn `[a, b]` into `{a: "", b: ""}`; a label may be a number and a definition empty."""
    if isinstance(value, list):
        labels, texts = [_as_text(label, "a label") for label in value], [""] * len(value)
    elif isinstance(value, dict):
        labels = [_as_text(label, "a label") for label in value]
        texts = ["" if text is None else _as_text(text, f"the definition of {label}") for label, text in value.items()]
    else:
        return value
    if len(set(labels)) != len(labels):
        raise ValueError("name each label once")
    return dict(zip(labels, texts, strict=True))


def _as_text(value: Any, what: str) -> str:
    if isinstance(value, bool):
        raise ValueError(f"{what} is {str(value).lower()}: put it in quotes, YAML takes yes, no, on and off for that")
    if not isinstance(value, str | int | float):
        raise ValueError(f"{what} must be text, not {quoted(str(value))}")
    return str(value).strip()


def known_labels(labels: dict[str, str]) -> dict[str, str]:
    """Return the labels; raise ValueError where they are too few, too many, or not told apart by their names."""
    if not 2 <= len(labels) <= len(LETTERS):
        raise ValueError(f"give 2 to {len(LETTERS)} labels, not {len(labels)}")
    names = [folded(label) for label in labels]
    if "" in names:
        raise ValueError("a label is empty: give each a name")
    if twice := next((label for label, name in zip(labels, names, strict=True) if names.count(name) > 1), None):
        raise ValueError(f"another label is {twice!r} but for its case or blanks: labels must differ by more")
    return labels


Definitions = Annotated[
    dict[str, str],
    BeforeValidator(_as_definitions, json_schema_input_type=dict[str, str] | list[str]),
]


class Soft(NamedTuple):
    """The certainty of an answer. A value that cannot be known is None."""

    probability: float | None  #: of the answer
    probabilities: dict[str, float] | None  #: of each label; of a multi-label task, that it fits
    coverage: float | None  #: share of the probability that fell on valid codes at all
    entropy: float | None  #: of the labels, nats


UNKNOWN = Soft(None, None, None, None)


def mass(logprob: float) -> float:
    """Return the probability of a natural log-probability: at most one whatever its noise, zero for NaN."""
    return math.exp(min(logprob, 0.0)) if logprob > -math.inf else 0.0


def one_of(answer: str, slots: Slots | None, codes: Mapping[str, str]) -> Soft:
    """Return the certainty of one of several labels (codes: code -> label), their shares made to add up to one."""
    if slots is None:
        return UNKNOWN
    masses = [mass(slots[0].get(code, -math.inf)) for code in codes]
    coverage = sum(masses)
    if coverage == 0.0:
        return UNKNOWN
    shares = [value / coverage for value in masses]
    by_label = dict(zip(codes.values(), shares, strict=True))
    return Soft(by_label[answer], by_label, min(1.0, coverage), _entropy(shares))


def each_of(chosen: Collection[str], slots: Slots | None, labels: Collection[str], yes: str, no: str) -> Soft:
    """Return the certainty of a yes or no for each label, given the answers before it; the answer's is their product.

    The entropy is the sum of the slots' entropies, the coverage the product of theirs.
    """
    if slots is None:
        return UNKNOWN
    probability, coverage, entropy = 1.0, 1.0, 0.0
    fits: dict[str, float] = {}
    for label, slot in zip(labels, slots, strict=True):
        fitting, not_fitting = (mass(slot.get(code, -math.inf)) for code in (yes, no))
        covered = fitting + not_fitting
        if covered == 0.0:
            return UNKNOWN
        shares = (fitting / covered, not_fitting / covered)
        fits[label] = shares[0]
        probability *= shares[0] if label in chosen else shares[1]
        coverage *= min(1.0, covered)
        entropy += _entropy(shares)
    return Soft(probability, fits, coverage, entropy)


def _entropy(probabilities: Sequence[float]) -> float:
    return sum(-p * math.log(p) for p in probabilities if p > 0.0)
