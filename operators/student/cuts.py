"""Cuts: from which score on texts are taken, by what is wished for of those that are."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gristmill.operators.errors import RecipeError
from gristmill.operators.student.features import Floats

_CUTS = 101
_WISH = re.compile(r"(precision|recall)\s*>=\s*([0-9.]+)|f([0-9.]+)|keep\s+([0-9.]+)")


class Wish(NamedTuple):
    """Wish for the texts that are taken.

    `precision` and `recall` ask for at least so much, and then for the most of the other; `keep` for the share that is
    nearest; `f` for the largest F-beta, beta being the number (Goutte and Gaussier 2005).
    """

    what: Literal["precision", "recall", "f", "keep"]
    value: float

    @classmethod
    def of(cls, text: str) -> Wish:
        """Read `precision >= 0.9`, `recall >= 0.9`, `f0.1` or `keep 0.2`. Raises RecipeError for anything else."""
        found = _WISH.fullmatch(text.strip().lower())
        what = None if found is None else found[1] or ("f" if found[3] else "keep")
        try:
            value = float(found[2] or found[3] or found[4]) if found is not None else 0.0
        except ValueError:
            what = None
        if what is None or value <= 0 or (what != "f" and value > 1):
            raise RecipeError(f"{text!r} is no wish; write precision >= 0.9, recall >= 0.9, f1, f0.1 or keep 0.2")
        return cls(what, value)  # type: ignore[arg-type]


def curve(values: Floats, positive: NDArray[np.bool_], prior: float | None = None) -> list[dict[str, float]]:
    """Return, for cuts that keep every hundredth of the texts (n) more, the share kept, precision, recall and F1.

    Values are taken as the measure `distilled` gives them, in float32. With `prior` texts that are not positive are
    unlabelled, and that share of them is positive in truth: what is kept is a share of them, and precision is
    `prior * recall / kept` (Elkan and Noto 2008, section 2).
    """
    values = values.astype(np.float32).astype(np.float64)
    order = np.argsort(-values, kind="stable")
    hits = np.cumsum(positive[order])
    rows: list[dict[str, float]] = []
    for kept in sorted({max(1, round(share * len(values))) for share in np.linspace(0, 1, _CUTS)}):
        threshold = float(values[order[kept - 1]])
        taken = int((values >= threshold).sum())
        right = int(hits[taken - 1])
        share, precision, recall = taken / len(values), right / taken, right / max(1, int(positive.sum()))
        if prior is not None:
            share = (taken - right) / max(1, int((~positive).sum()))
            precision = min(1.0, prior * recall / share) if share else 1.0
        f1 = 2 * precision * recall / (precision + recall) if right else 0.0
        rows.append({"threshold": threshold, "kept": share, "precision": precision, "recall": recall, "f1": f1})
    return rows


def cut_of(rows: Sequence[Mapping[str, Any]], wish: Wish) -> dict[str, Any] | None:
    """Return the row of a curve that a wish gives; None where none does."""
    what, value = wish
    if what == "keep":
        return dict(min(rows, key=lambda row: abs(row["kept"] - value)))
    if what == "f":
        square = value * value

        def f_beta(row: Mapping[str, Any]) -> float:
            under = square * row["precision"] + row["recall"]
            return float((1 + square) * row["precision"] * row["recall"] / under) if under else 0.0

        return max(map(dict, rows), key=f_beta)
    other = {"precision": "recall", "recall": "precision"}[what]
    enough = [dict(row) for row in rows if row[what] >= value]
    return max(enough, key=lambda row: float(row[other])) if enough else None
