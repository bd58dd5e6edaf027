"""Calibration: probabilities that mean what they say, and how far they do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
BINS = 15  #: of the calibration error
LEAST_IN_STRATUM = 50  #: texts that a stratum needs to be calibrated apart
_LEAST_SLOPE, _ROUNDS = 0.05, 50  # of the fit of slope and offsets
_LEAST = 1e-12
_DOUBT, _GAMMA = 0.1, 0.01  # of the estimate of a prior: delta and gamma of Garg et al.


class Shift(NamedTuple):
    """A change of probabilities, of all texts or of a stratum: their log odds become `slopes * log odds + offsets`."""

    slopes: tuple[float, ...]  #: (labels)
    offsets: tuple[float, ...]  #: (labels)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Shift:
        """Return what `_asdict` gave."""
        return cls(*(tuple(map(float, value[part])) for part in cls._fields))


class Calibration(NamedTuple):
    """The way from scores to probabilities.

    `temperature` divides the scores before they are made probabilities (Guo et al. 2017, section 4.2), and a slope and
    an offset for each label bring the log odds to how frequent the labels are: a rare one is said too seldom without
    (of a class of 5 % of AG News, 3,000 labels, F1 is 0.33 without and 0.61 with them). `isotonic` maps
    each probability by steps that never fall (Zadrozny and Elkan 2002); those of one text are then made to add up to 1.
    """

    method: Literal["temperature", "isotonic"]
    temperature: float
    steps: tuple[tuple[tuple[float, ...], tuple[float, ...]], ...] = ()  #: of each label: where they begin, and values
    of_right: tuple[float, ...] = ()  #: probabilities of the right labels of the texts calibrated with, rising
    #: of positive and unlabelled texts: the number of the positive label, and what its odds are multiplied by to be
    #: its probability; all it says is then about unlabelled texts
    positive: tuple[int, float] | None = None
    #: slopes and offsets of all texts, after the temperature; none with `isotonic`
    shift: Shift | None = None
    by: str | None = None  #: the field by which texts are calibrated apart
    strata: tuple[tuple[str, Shift], ...] = ()  #: of some of its values; others are as all texts are

    def probabilities(self, scores: Floats, exclusive: bool, strata: Sequence[str | None] | None = None) -> Floats:
        """Return the probabilities (n, labels) of scores (n, labels); of labels that exclude each other or do not.

        `strata` are the values (n) of the field `by`, where they are known.
        """
        shares = self._of_all(scores, exclusive)
        members = np.array(strata, object)
        for name, fix in self.strata if strata is not None else ():
            here = members == name
            shares[here] = _shifted(shares[here], fix, exclusive)
        return shares

    def _of_all(self, scores: Floats, exclusive: bool) -> Floats:
        """Return the probabilities (n, labels) of texts of any stratum."""
        shares = as_probabilities(scores / self.temperature, exclusive)
        if self.method == "isotonic":
            for label, (bounds, values) in enumerate(self.steps):
                places = np.clip(np.searchsorted(bounds, shares[:, label], side="right") - 1, 0, None)
                shares[:, label] = np.asarray(values)[places]
            if exclusive:
                total = shares.sum(axis=1, keepdims=True)
                shares = np.where(total > 0, shares / np.maximum(total, _LEAST), 1 / shares.shape[1])
        if self.shift is not None:
            shares = _shifted(shares, self.shift, exclusive)
        if self.positive is not None:
            label, factor = self.positive
            odds = shares[:, label] / np.maximum(1 - shares[:, label], _LEAST)
            shares[:, label] = np.minimum(1.0, factor * odds)
            shares[:, 1 - label] = 1 - shares[:, label]
        return shares

    def label_sets(self, shares: Floats, coverage: float) -> NDArray[np.bool_]:
        """Return which labels (n, labels) are in the sets that hold the right one with a probability of `coverage`.

        A set has the labels of at least the probability that as many of the right labels had, of n texts calibrated
        with all but `floor((n + 1) (1 - coverage))` (split conformal prediction, Sadinle, Lei and Wasserman 2019). It
        may be empty: no label is as probable. All sets have all labels where there are too few texts to know.
        """
        rank = int((len(self.of_right) + 1) * (1 - coverage) + 1e-9)
        least = self.of_right[rank - 1] if rank else 0.0
        return shares >= least

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return {
            "method": self.method,
            "temperature": self.temperature,
            "steps": self.steps,
            "of_right": self.of_right,
            "positive": self.positive,
            "shift": None if self.shift is None else self.shift._asdict(),
            "by": self.by,
            "strata": {name: shift._asdict() for name, shift in self.strata},
        }

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Calibration:
        """Return what `to_json` gave. Raises KeyError, TypeError or ValueError for anything else."""
        steps = tuple((tuple(map(float, bounds)), tuple(map(float, values))) for bounds, values in value["steps"])
        if value["method"] not in ("temperature", "isotonic"):
            raise ValueError(f"there is no calibration by {value['method']}")
        of_right = tuple(map(float, value["of_right"]))
        positive = None if value["positive"] is None else (int(value["positive"][0]), float(value["positive"][1]))
        strata = tuple((name, Shift.from_json(fix)) for name, fix in value.get("strata", {}).items())
        shift = None if value.get("shift") is None else Shift.from_json(value["shift"])
        return cls(
            value["method"], float(value["temperature"]), steps, of_right, positive, shift, value.get("by"), strata
        )


def as_probabilities(scores: Floats, exclusive: bool) -> Floats:
    """Return the sigmoids of scores (n, labels), made to add up to 1 where labels exclude each other.

    Each score is that of one label against all others, which a softmax would make too sure: normalised sigmoids
    (Zadrozny and Elkan 2002, section 3) have a third of its calibration error on AG News.
    """
    if not exclusive:
        return 1 / (1 + np.exp(-np.clip(scores, -500, 500)))
    return softmax(-np.logaddexp(0, -scores))


def softmax(scores: Floats) -> Floats:
    """Return the softmax of each row of scores (n, labels)."""
    shares: Floats = np.exp(scores - scores.max(axis=1, keepdims=True))
    return shares / shares.sum(axis=1, keepdims=True)  # type: ignore[no-any-return]


def _shifted(shares: Floats, fix: Shift, exclusive: bool) -> Floats:
    """Return probabilities (n, labels) after a change."""
    if exclusive:
        return softmax(np.log(np.maximum(shares, _LEAST)) * fix.slopes + fix.offsets)
    odds = np.log(np.maximum(shares, _LEAST) / np.maximum(1 - shares, _LEAST))
    return as_probabilities(odds * fix.slopes + fix.offsets, exclusive)


def calibrated(
    scores: Floats,
    targets: Floats,
    exclusive: bool,
    method: Literal["temperature", "isotonic"] = "temperature",
    by: tuple[str, Sequence[str]] | None = None,
) -> Calibration:
    """Return the calibration of scores (n, labels) to soft targets (n, labels), which the model has not learnt from.

    `by` is a field and its values (n): strata of LEAST_IN_STRATUM texts or more are calibrated apart, by a slope and an
    offset of the log odds of each label. Each label counts as if one text more had it, so that no text makes a model
    certain that is right on the few that it is calibrated with (Platt 1999, section 2.2).
    """
    right, given = targets.argmax(axis=1), targets
    targets = _smoothed(given, exclusive)
    found = Calibration(method, _best_temperature(scores, targets, exclusive))
    if method == "isotonic":
        shares = as_probabilities(scores / found.temperature, exclusive)
        steps = (isotonic(*of_label) for of_label in zip(shares.T, targets.T, strict=True))
        found = found._replace(steps=tuple(steps))
    else:
        found = found._replace(shift=_shift_to(found.probabilities(scores, exclusive), targets, exclusive))
    strata = None
    if by is not None:
        name, strata = by
        shares, fixes = found.probabilities(scores, exclusive), []
        for value in sorted({*strata}):
            here = np.array([other == value for other in strata])
            if here.sum() >= LEAST_IN_STRATUM:
                fixes.append((value, _shift_to(shares[here], _smoothed(given[here], exclusive), exclusive)))
        found = found._replace(by=name, strata=tuple(fixes))
    if exclusive:
        shares = found.probabilities(scores, exclusive, strata)
        found = found._replace(of_right=tuple(np.sort(shares[np.arange(len(right)), right]).tolist()))
    return found


def _smoothed(targets: Floats, exclusive: bool) -> Floats:
    """Return soft targets (n, labels) as if one text more had each label."""
    n, k = len(targets), targets.shape[1] if exclusive else 2
    smoothed: Floats = (n * targets + 1) / (n + k)
    return smoothed


def _shift_to(shares: Floats, targets: Floats, exclusive: bool) -> Shift:
    """Return the slopes and offsets by which probabilities (n, labels) come nearest to soft targets (n, labels)."""
    if exclusive:
        slope, offsets = slope_and_offsets(np.log(np.maximum(shares, _LEAST)), targets, _ROUNDS)
        return Shift((slope,) * shares.shape[1], tuple(offsets.tolist()))
    found = []
    for share, target in zip(shares.T, targets.T, strict=True):
        two, sides = (np.stack([1 - side, side], axis=1) for side in (share, target))
        found.append(slope_and_offsets(np.log(np.maximum(two, _LEAST)), sides, _ROUNDS))
    return Shift(tuple(slope for slope, _ in found), tuple(float(offsets[1] - offsets[0]) for _, offsets in found))


def slope_and_offsets(
    scores: Floats, targets: Floats, steps: int, slope: float = 1.0, offsets: Floats | None = None
) -> tuple[float, Floats]:
    """Return slope and offsets (labels) after some steps towards those by which scores tell soft targets best.

    The softmax of `slope * scores + offsets` then has the least log loss; scores, targets: (n, labels).
    """
    offsets = np.zeros(scores.shape[1]) if offsets is None else offsets
    for _ in range(steps):
        expected = softmax(slope * scores + offsets)
        gradient = ((targets - expected) * scores).sum()
        curvature = ((expected * scores**2).sum(axis=1) - (expected * scores).sum(axis=1) ** 2).sum()
        slope = max(_LEAST_SLOPE, slope + gradient / max(float(curvature), _LEAST))
        expected = softmax(slope * scores + offsets)
        missing = np.maximum(targets.sum(axis=0), _LEAST) / np.maximum(expected.sum(axis=0), _LEAST)
        offsets = offsets + np.log(missing)
        offsets = offsets - offsets.mean()
    return slope, offsets


def of_unlabelled(
    calibration: Calibration, scores: Floats, targets: Floats, positive: int, prior: float | None = None
) -> tuple[Calibration, float]:
    """Return the calibration for unlabelled texts, and the share of positive ones among them.

    scores, targets: (n, 2), those that it was calibrated with: positive texts, and unlabelled ones drawn apart. The
    odds of being labelled are those of the densities of either, times how many of either there are; times the share
    `prior` the ratio of the densities is the probability of being positive (Elkan and Noto 2008, section
    2). By default the prior is the ratio of the shares of either that lie above the cut where its upper
    bound is least (Garg et al. 2021, "Mixture Proportion Estimation and PU Learning: A Modern Approach", algorithm 1).
    """
    labelled = targets[:, positive] >= 0.5
    values = calibration.probabilities(scores, exclusive=True)[:, positive]
    if prior is None:
        of_positive, others = np.sort(values[labelled]), np.sort(values[~labelled])
        cuts = np.unique(values)
        above = 1 - np.searchsorted(of_positive, cuts, "left") / len(of_positive)
        others_above = 1 - np.searchsorted(others, cuts, "left") / len(others)
        doubt = sum(np.sqrt(np.log(4 / _DOUBT) / (2 * len(side))) for side in (of_positive, others))
        with np.errstate(divide="ignore", invalid="ignore"):
            bounds = np.where(above > 0, (others_above + (1 + _GAMMA) * doubt) / above, np.inf)
        best = int(bounds.argmin())
        prior = float(min(1.0, others_above[best] / above[best]))
    factor = prior * float((~labelled).sum() / labelled.sum())
    return calibration._replace(of_right=(), positive=(positive, factor)), prior


def log_loss(shares: Floats, targets: Floats, exclusive: bool) -> float:
    """Return the mean log loss (nats) of probabilities beside soft targets (both n, labels)."""
    losses = -targets * np.log(np.maximum(shares, _LEAST))
    if not exclusive:
        losses -= (1 - targets) * np.log(np.maximum(1 - shares, _LEAST))
    return float(losses.sum(axis=1).mean())


def _best_temperature(scores: Floats, targets: Floats, exclusive: bool) -> float:
    """Return the temperature of least log loss, which has one minimum in its logarithm: golden section search."""
    ratio = (np.sqrt(5) - 1) / 2
    low, high = np.log(0.01), np.log(100.0)

    def loss(log_temperature: float) -> float:
        shares = as_probabilities(scores / np.exp(log_temperature), exclusive)
        return log_loss(shares, targets, exclusive)

    a, b = high - ratio * (high - low), low + ratio * (high - low)
    at_a, at_b = loss(a), loss(b)
    while high - low > 1e-4:
        if at_a < at_b:
            high, b, at_b = b, a, at_a
            a = high - ratio * (high - low)
            at_a = loss(a)
        else:
            low, a, at_a = a, b, at_b
            b = low + ratio * (high - low)
            at_b = loss(b)
    return float(np.exp((low + high) / 2))


def isotonic(values: Floats, targets: Floats) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return the steps that never fall and are nearest to the targets: where each begins, and its value.

    Pool adjacent violators (Ayer et al. 1955); equal values are one.
    """
    unique, place = np.unique(values, return_inverse=True)
    weights = np.bincount(place).astype(np.float64)
    means = np.bincount(place, targets) / weights
    blocks: list[list[float]] = []  # value, weight, first
    for first, (mean, weight) in enumerate(zip(means.tolist(), weights.tolist(), strict=True)):
        blocks.append([mean, weight, first])
        while len(blocks) > 1 and blocks[-2][0] >= blocks[-1][0] - _LEAST:
            mean_, weight_, _ = blocks.pop()
            total = blocks[-1][1] + weight_
            blocks[-1][0] = (blocks[-1][0] * blocks[-1][1] + mean_ * weight_) / total
            blocks[-1][1] = total
    bounds = tuple(float(unique[int(first)]) for _, _, first in blocks)
    return bounds, tuple(block[0] for block in blocks)


def expected_calibration_error(confidence: Floats, right: Floats, bins: int = BINS) -> float:
    """Return the mean distance of confidence (n) and how often it is right (n), over bins of equal width."""
    bin_of = np.minimum((confidence * bins).astype(np.int64), bins - 1)
    sizes = np.bincount(bin_of, minlength=bins)
    gaps = np.abs(np.bincount(bin_of, confidence - right, bins))
    return float(gaps.sum() / max(1, sizes.sum()))


def brier_score(shares: Floats, targets: Floats) -> float:
    """Return the mean squared distance of probabilities and targets (both n, labels), summed over labels."""
    return float(((shares - targets) ** 2).sum(axis=1).mean())
