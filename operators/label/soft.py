"""Soft labels: how sure an answer is, from the log-probabilities of the codes it is read from."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

Slots = Sequence[Mapping[str, float]]


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
    shares = [found / coverage for found in masses]
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
