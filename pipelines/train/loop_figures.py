"""Quality of the two sides of a loop, on the same texts, and how far one is ahead of the other."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gristmill.operators.student.features import Floats
from gristmill.operators.student.samplers import Places
from gristmill.pipelines.train.evaluation import f1, macro_f1, spearman
from gristmill.pipelines.train.loop_state import RANDOM, SAMPLED
from gristmill.pipelines.train.split import Examples

REPEATS = 1000  # of the bootstrap


@dataclass(frozen=True)
class Tested:
    """Texts (n) that the sides are tested with, and draws from them for intervals."""

    examples: Examples
    wanted: int | None  #: the label whose F1 is told; None for that of all
    draws: Places  #: (REPEATS, n)

    @classmethod
    def of(cls, examples: Examples, wanted: int | None, seed: int) -> Tested:
        """Return examples to test with."""
        n = len(examples.ids)
        return cls(examples, wanted, np.random.default_rng(seed).integers(n, size=(REPEATS, n)))

    @property
    def measure(self) -> str:
        """Return the name of the quality that is told."""
        if self.examples.kind == "scale":
            return "rank correlation"
        return "macro-F1" if self.wanted is None else f"F1 of {self.examples.labels[self.wanted]}"

    def qualities(self, shares: Floats) -> Floats:
        """Return the quality of probabilities (n, labels): that on all texts, then that on each draw."""
        every = [np.arange(len(shares)), *self.draws]
        if self.examples.kind == "scale":
            numbers = np.array([float(label) for label in self.examples.labels])
            told, right = shares @ numbers, self.examples.targets @ numbers
            return np.array([spearman(told[some], right[some]) or 0.0 for some in every])
        if self.examples.exclusive and self.wanted is None:
            truth, answers = self.examples.targets.argmax(axis=1), shares.argmax(axis=1)
            k = shares.shape[1]
            return np.array(
                [
                    macro_f1(np.bincount(truth[some] * k + answers[some], minlength=k * k).reshape(k, k))
                    for some in every
                ]
            )
        fits, answered = (self._answers(side) for side in (self.examples.targets, shares))
        columns = range(shares.shape[1]) if self.wanted is None else [self.wanted]
        return np.array([np.mean([f1(fits[some, i], answered[some, i]) for i in columns]) for some in every])

    def _answers(self, shares: Floats) -> NDArray[np.bool_]:
        """Return which labels (n, labels) are the answer."""
        best = shares.argmax(axis=1)[:, None] == np.arange(shares.shape[1])
        answers: NDArray[np.bool_] = best if self.examples.exclusive else shares >= 0.5
        return answers


def compared(tested: Tested, shares: Mapping[str, Floats]) -> dict[str, Any]:
    """Return the quality of each side by its probabilities (n, labels), and the difference, with intervals of 95 %.

    Both sides are drawn together, so that the difference has an interval of its own.
    """
    qualities = {side: tested.qualities(of_side) for side, of_side in shares.items()}
    row: dict[str, Any] = {"measure": tested.measure, "tested": len(tested.examples.ids)}
    row |= {side: _interval(values) for side, values in qualities.items()}
    if SAMPLED in qualities and RANDOM in qualities:
        row["ahead"] = _interval(qualities[SAMPLED] - qualities[RANDOM])
    if tested.wanted is not None:
        row["tested_with_label"] = int((tested.examples.targets[:, tested.wanted] >= 0.5).sum())
    return row


def _interval(values: Floats) -> list[float]:
    """Return the first value, and the interval of 95 % of the others."""
    low, high = np.percentile(values[1:], [2.5, 97.5])
    return [float(values[0]), float(low), float(high)]
