"""Figures of a student on texts that it has not seen: over all, at each cut, and inside each stratum."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gristmill.operators.student.calibration import (
    BINS,
    Calibration,
    Floats,
    as_probabilities,
    brier_score,
    expected_calibration_error,
    log_loss,
)
from gristmill.operators.student.linear import Kind
from gristmill.pipelines.train.report import average_precision, roc_auc

REPEATS = 1000  # of the bootstrap
#: Texts that a stratum needs to be told by itself.
LEAST_IN_STRATUM = 20
#: By how much the AUC of a label from the stratum alone must be below that of the student, or the report warns.
_MARGIN = 0.05
#: From this AUC on a stratum tells the label well.
_TELLS = 0.75
_FLAT = 1e-3


def evaluate(
    scores: Floats,
    shares: Floats,
    targets: Floats,
    labels: Sequence[str],
    kind: Kind,
    calibration: Calibration,
    seed: int,
) -> dict[str, Any]:
    """Return the figures of scores (n, labels) and of the probabilities that a calibration made of them.

    Beside soft targets (n, labels), they are those of the most probable answer.

    Intervals are those of 95 % of a bootstrap over the texts. A label without an example, or without another, has no
    AUC.
    """
    exclusive = kind != "multi"
    result: dict[str, Any] = {"texts": len(scores)}
    if exclusive:
        truth, answers = targets.argmax(axis=1), shares.argmax(axis=1)
        result |= _of_answers(truth, answers, labels, seed)
    else:
        fits, answered = targets >= 0.5, shares >= 0.5
        result["f1"] = {label: f1(fits[:, i], answered[:, i]) for i, label in enumerate(labels)}
        result["macro_f1"] = float(np.mean([*result["f1"].values()]))
        result["all_right"] = float((fits == answered).all(axis=1).mean())
    result["auc"] = {label: auc(shares[:, i], targets[:, i]) for i, label in enumerate(labels)}
    result["average_precision"] = {label: _precision(shares[:, i], targets[:, i]) for i, label in enumerate(labels)}
    if kind == "scale":
        numbers = np.array([float(label) for label in labels])
        result["spearman"] = spearman(shares @ numbers, targets @ numbers)
        result["mean_error"] = float(np.abs(shares @ numbers - targets @ numbers).mean())
    before = as_probabilities(scores, exclusive)
    result["calibration"] = {
        "method": calibration.method,
        "by": calibration.by,
        "temperature": calibration.temperature,
        "ece": calibration_error(shares, targets, exclusive),
        "ece_before": calibration_error(before, targets, exclusive),
        "brier": brier_score(shares, targets),
        "brier_before": brier_score(before, targets),
        "log_loss": log_loss(shares, targets, exclusive),
        "log_loss_before": log_loss(before, targets, exclusive),
        "reliability": reliability_rows(*_certainty(shares, targets, exclusive)),
    }
    return result


def calibration_error(shares: Floats, targets: Floats, exclusive: bool) -> float:
    """Return the expected calibration error of the answers that probabilities (n, labels) give."""
    return expected_calibration_error(*_certainty(shares, targets, exclusive))


def _certainty(shares: Floats, targets: Floats, exclusive: bool) -> tuple[Floats, Floats]:
    """Return how probable each answer is, and 1 where it is right: of several labels each has an answer."""
    if exclusive:
        return shares.max(axis=1), (shares.argmax(axis=1) == targets.argmax(axis=1)).astype(np.float64)
    right: Floats = ((shares >= 0.5) == (targets >= 0.5)).astype(np.float64).ravel()
    return np.maximum(shares, 1 - shares).ravel(), right


def _of_answers(
    truth: NDArray[np.int64], answers: NDArray[np.int64], labels: Sequence[str], seed: int
) -> dict[str, Any]:
    k = len(labels)
    confusion = np.bincount(truth * k + answers, minlength=k * k).reshape(k, k)
    draw = np.random.default_rng(seed)
    drawn = [
        _rates(sample.reshape(k, k)) for sample in draw.multinomial(len(truth), confusion.ravel() / len(truth), REPEATS)
    ]
    low, high = np.percentile(np.array(drawn), [2.5, 97.5], axis=0)
    accuracy, macro = _rates(confusion)
    f1 = _f1_of(confusion)
    return {
        "accuracy": accuracy,
        "accuracy_interval": [float(low[0]), float(high[0])],
        "macro_f1": macro,
        "macro_f1_interval": [float(low[1]), float(high[1])],
        "f1": dict(zip(labels, f1.tolist(), strict=True)),
        "confusion": confusion.tolist(),
        "most_frequent": float(confusion.sum(axis=1).max() / len(truth)),
    }


def _rates(confusion: NDArray[np.int64]) -> tuple[float, float]:
    """Return accuracy and macro-F1 of a confusion matrix (true, answered)."""
    return float(np.trace(confusion) / confusion.sum()), macro_f1(confusion)


def macro_f1(confusion: NDArray[np.int64]) -> float:
    """Return the mean F1 of a confusion matrix (true, answered), over the labels that occur in it."""
    occurs = (confusion.sum(axis=0) + confusion.sum(axis=1)) > 0
    return float(_f1_of(confusion)[occurs].mean())


def _f1_of(confusion: NDArray[np.int64]) -> Floats:
    both = confusion.sum(axis=0) + confusion.sum(axis=1)
    scores: Floats = 2 * np.diag(confusion) / np.maximum(both, 1)
    return scores


def f1(fits: NDArray[np.bool_], answered: NDArray[np.bool_]) -> float:
    """Return the F1 of what was answered to fit (n) beside what fits (n)."""
    return float(2 * (fits & answered).sum() / max(1, int(fits.sum() + answered.sum())))


def _sides(values: Floats, targets: Floats) -> tuple[Floats, Floats] | None:
    positive = targets >= 0.5
    return None if positive.all() or not positive.any() else (values[positive], values[~positive])


def auc(values: Floats, targets: Floats) -> float | None:
    """Return the AUC of values (n) for targets (n) of 0.5 or more; None where all or none are."""
    sides = _sides(values, targets)
    return None if sides is None else roc_auc(*sides)


def _precision(values: Floats, targets: Floats) -> float | None:
    sides = _sides(values, targets)
    return None if sides is None else average_precision(*sides)


def reliability_rows(confidence: Floats, right: Floats) -> list[dict[str, float]]:
    """Return for each bin that holds something how sure answers are, and how often they are right."""
    bins = np.minimum((confidence * BINS).astype(np.int64), BINS - 1)
    rows = []
    for i in np.unique(bins).tolist():
        here = bins == i
        rows.append(
            {"confidence": float(confidence[here].mean()), "right": float(right[here].mean()), "n": int(here.sum())}
        )
    return rows


def spearman(first: Floats, second: Floats) -> float | None:
    """Return the rank correlation of two numbers (n), ties at their mean rank; None where one is constant."""
    a, b = (_ranks(values) for values in (first, second))
    spread = a.std() * b.std()
    return None if spread == 0 else float(((a - a.mean()) * (b - b.mean())).mean() / spread)


def _ranks(values: Floats) -> Floats:
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    ranks: Floats = ((last - counts + 1 + last) / 2)[place]
    return ranks


def inside_strata(
    values: Floats, positive: NDArray[np.bool_], numbers: Floats, strata: NDArray[np.int64], names: Sequence[str]
) -> tuple[list[dict[str, Any]], float | None]:
    """Return the figures of each stratum of texts (n), and the AUC of what is positive from the stratum alone."""
    rows = []
    for i, name in enumerate(names):
        here = np.flatnonzero(strata == i)
        if not len(here):
            continue
        hits, n = positive[here].sum(), len(here)
        row = {
            "stratum": name,
            "texts": n,
            "positive": float(hits / n),
            "auc": auc(values[here], positive[here].astype(np.float64)) if n >= LEAST_IN_STRATUM else None,
            "spearman": spearman(values[here], numbers[here]) if n >= LEAST_IN_STRATUM else None,
            "constant": bool(n >= LEAST_IN_STRATUM and float(values[here].std()) < _FLAT),
        }
        rows.append(row)
    return rows, _auc_alone(positive, strata, len(names))


def _auc_alone(positive: NDArray[np.bool_], strata: NDArray[np.int64], k: int) -> float | None:
    """Return the AUC of the rate of positives of a text's stratum: ties count half, so that chance gives 0.5."""
    hits, sizes = np.bincount(strata, positive, k), np.bincount(strata, minlength=k)
    rates = hits / np.maximum(sizes, 1)
    return auc(rates[strata], positive.astype(np.float64))


def warnings_of(name: str, rows: Sequence[Mapping[str, Any]], alone: float | None, whole: float | None) -> list[str]:
    """Return reasons to doubt the figures that lie in a grouping of the texts."""
    told = []
    if alone is not None and whole is not None and alone >= _TELLS and alone >= whole - _MARGIN:
        told.append(
            f"{name} alone tells what is positive nearly as well as the student (AUC {alone:.2f} and {whole:.2f}): it "
            f"may have learnt to tell the {name} and little else; look at the figures inside each"
        )
    inner = [(row["auc"], row["texts"]) for row in rows if row["auc"] is not None]
    if inner and whole is not None and whole >= _TELLS:
        mean = sum(value * n for value, n in inner) / sum(n for _, n in inner)
        if mean < 0.5 + (whole - 0.5) / 2:
            told.append(f"inside the same {name} the AUC is {mean:.2f} on average, over all {whole:.2f}")
    flat = [str(row["stratum"]) for row in rows if row["constant"]]
    if flat:
        told.append(f"all texts of {name} {', '.join(flat[:3])} have the same score")
    return told
