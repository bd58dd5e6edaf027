"""Tokens of a model's vocabulary that stand for the codes of a task."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from gristmill.operators.errors import RecipeError
from gristmill.operators.label.contract import Constraint

Encode = Callable[[str], list[int]]


@dataclass(frozen=True)
class SlotTokens:
    """Tokens of each code of one slot."""

    variants: dict[str, tuple[int, ...]]  #: code -> ids of the single tokens that stand for it
    before: tuple[int, ...]  #: ids between the code before and this one; () if the separator is part of the code's
    written: dict[str, int]  #: code -> id of the token by which the model is shown its own answer


def slot_tokens(constraint: Constraint, encode: Encode, model: str) -> list[SlotTokens]:
    """Return the tokens of all slots. A code is a token by itself, one with a blank before it, or both.

    encode: token ids of a text, special ones not added. Raises RecipeError for a code that is no single token.
    """
    slots: list[SlotTokens] = []
    for number, codes in enumerate(constraint.slots):
        variants = {code: _single_tokens(code, encode, model) for code in codes}
        if number == 0:
            slots.append(SlotTokens(variants, (), {code: ids[0] for code, ids in variants.items()}))
        else:
            previous = constraint.slots[number - 1][0]
            slots.append(SlotTokens(variants, *_following(previous, constraint.separator, codes, encode, model)))
    return slots


def _single_tokens(code: str, encode: Encode, model: str) -> tuple[int, ...]:
    """Return the ids of the tokens that are a code, or a code after a blank. Raises RecipeError if there is none."""
    encoded = [encode(text) for text in (code, f" {code}")]
    single = dict.fromkeys(ids[0] for ids in encoded if len(ids) == 1)
    if not single:
        raise RecipeError(
            f"the tokenizer of {model} has no single token for the code {code!r} of an answer, which this task needs; "
            "use a model with another tokenizer, or ask for a schema"
        )
    return tuple(single)


def _following(
    previous: str, separator: str, codes: tuple[str, ...], encode: Encode, model: str
) -> tuple[tuple[int, ...], dict[str, int]]:
    """Return the tokens between two codes, and the one of each code that comes after them."""
    first = encode(previous)
    rests = {code: encode(f"{previous}{separator}{code}") for code in codes}
    gaps = {tuple(ids[len(first) : -1]) for ids in rests.values()}
    if len(gaps) > 1 or any(ids[: len(first)] != first for ids in rests.values()):
        raise RecipeError(
            f"the tokenizer of {model} has no single token for each of {', '.join(codes)} after "
            f"{previous + separator!r}, which this task needs; use a model with another tokenizer"
        )
    return gaps.pop(), {code: ids[-1] for code, ids in rests.items()}
