"""The labels of a task with their definitions, as a task's file gives them."""

from __future__ import annotations

import string
from typing import Annotated, Any

from pydantic import BeforeValidator

from gristmill.operators.label.reading import folded, quoted

#: Codes of labels, and so the most labels that a task may have.
LETTERS = string.ascii_uppercase + string.ascii_lowercase


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
