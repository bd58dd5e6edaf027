"""The report on a student as values: figures on the texts that it was tested with, cuts, strata, gold, cost."""

from __future__ import annotations

import itertools
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from gristmill.operators.columns import TEXT
from gristmill.operators.errors import RecipeError
from gristmill.operators.measures.language import Language
from gristmill.operators.student.calibration import Calibration
from gristmill.operators.student.cuts import Wish, curve, cut_of
from gristmill.operators.student.features import Floats
from gristmill.operators.student.student import Scorer
from gristmill.pipelines.train import evaluation
from gristmill.pipelines.train.split import LEFT_OUT, Examples, Split

#: What the report gives a cut for, of each label or of the upper half of a scale.
WISHES = ("precision >= 0.9", "precision >= 0.95", "recall >= 0.9", "f1", "f0.1", "keep 0.1", "keep 0.2")
#: Coverages whose label sets the report tells of.
COVERAGES = (0.8, 0.9, 0.95)
_LENGTH, _LENGTHS = "length", 4  # bands of length, of as many texts each
_OTHERS = "(others)"


class _Asked(NamedTuple):
    """Subject of the figures inside strata: one number for each text, and whether it is positive."""

    values: Floats  #: (n)
    positive: NDArray[np.bool_]  #: (n)
    numbers: Floats  #: (n) what would be right in place of the values
    name: str


def figures(
    split: Split, student: Scorer, calibration: Calibration, seed: int, prior: float | None = None
) -> dict[str, Any]:
    """Return figures of a student on the texts of a split that are to test with, and `warnings`.

    `prior` is the share of positive texts among those that are unlabelled, where there are such.
    """
    tested, drawn = split.examples.take(split.tested), split.examples.at_random
    as_they_come = split.examples.targets if drawn is None else split.examples.targets[drawn]
    start = time.perf_counter()
    scores = student.scores(tested.texts)
    seconds = time.perf_counter() - start
    members = strata_of(tested, calibration)
    shares = calibration.probabilities(scores, student.exclusive, members)
    asked = _asked(tested, shares, calibration)
    of_labels = calibration._replace(positive=None)
    of_answers = of_labels.probabilities(scores, student.exclusive, members)
    strata, warnings = _strata(tested, asked)
    by_stratum = _calibration_by_stratum(tested, of_answers, calibration, scores)
    return {
        "kind": tested.kind,
        "labels": list(tested.labels),
        "examples": {
            "learnt": len(split.learnt),
            "calibrated": len(split.calibrated),
            "tested": len(split.tested),
            "left_out": int((split.sides == LEFT_OUT).sum()),  # near copies of texts to test with; labels not known
            "clusters": len(np.unique(split.clusters)),
        },
        "shares": dict(zip(tested.labels, as_they_come.mean(axis=0).tolist(), strict=True)),
        "test": evaluation.evaluate(scores, of_answers, tested.targets, tested.labels, tested.kind, of_labels, seed),
        "gold": _beside_gold(tested, scores, of_answers, of_labels, seed),
        "prior": prior,
        "curves": {
            name: {"rows": rows, "cuts": {wish: cut_of(rows, Wish.of(wish)) for wish in WISHES}}
            for name, rows in _curves(tested, shares, asked, prior).items()
        },
        "sets": _sets(tested, shares, calibration) if prior is None else [],
        "strata": strata,
        "calibration_by_stratum": by_stratum,
        "cost": {"student_seconds_per_1000": 1000 * seconds / len(tested.ids), **tested.about_labels},
        "warnings": warnings,
    }


def strata_of(examples: Examples, calibration: Calibration) -> Sequence[str] | None:
    """Return the stratum of each example that a calibration goes by; None where it goes by none."""
    return None if calibration.by is None else examples.strata[calibration.by]


def _calibration_by_stratum(
    examples: Examples, shares: Floats, calibration: Calibration, scores: Floats
) -> list[dict[str, Any]]:
    """Return the calibration error inside strata that are calibrated apart, and what it would be if they were not."""
    members, rows = strata_of(examples, calibration) or (), []
    common = calibration._replace(strata=(), positive=None).probabilities(scores, examples.exclusive)
    for name, _ in calibration.strata:
        here = np.array([member == name for member in members], np.bool_)
        if here.any():
            error, of_common = (
                evaluation.calibration_error(side[here], examples.targets[here], examples.exclusive)
                for side in (shares, common)
            )
            rows.append({"stratum": name, "texts": int(here.sum()), "ece": error, "ece_common": of_common})
    return rows


def _asked(examples: Examples, shares: Floats, calibration: Calibration) -> _Asked:
    """Return what is asked: of a scale its expected number; of labels the positive, the last of two, or the rarest."""
    targets = examples.targets
    if examples.kind == "scale":
        numbers = np.array([float(label) for label in examples.labels])
        middle = (numbers[0] + numbers[-1]) / 2
        right = targets @ numbers
        return _Asked(shares @ numbers, right >= middle, right, f"at least {middle:g}")
    if calibration.positive is not None:
        label = calibration.positive[0]
    else:
        label = 1 if len(examples.labels) == 2 else int(targets.sum(axis=0).argmin())
    return _Asked(shares[:, label], targets[:, label] >= 0.5, targets[:, label], examples.labels[label])


def _curves(
    examples: Examples, shares: Floats, asked: _Asked, prior: float | None
) -> dict[str, list[dict[str, float]]]:
    """Return the curve of each label, or of the upper half of a scale or the positive label, by its name."""
    if examples.kind == "scale" or prior is not None:
        return {asked.name: curve(asked.values, asked.positive, prior)}
    return {label: curve(shares[:, i], examples.targets[:, i] >= 0.5) for i, label in enumerate(examples.labels)}


def _beside_gold(
    examples: Examples, scores: Floats, shares: Floats, calibration: Calibration, seed: int
) -> dict[str, Any] | None:
    """Return the figures on the texts whose label is known to be right; None where there are none."""
    if examples.is_gold is None or not examples.is_gold.any():
        return None
    gold, about = examples.is_gold, (examples.labels, examples.kind, calibration, seed)
    return evaluation.evaluate(scores[gold], shares[gold], examples.targets[gold], *about)


def _sets(examples: Examples, shares: Floats, calibration: Calibration) -> list[dict[str, float]]:
    """Return how often label sets of a stated coverage hold the right label, and how many labels they have."""
    if not examples.exclusive:
        return []
    right = examples.targets.argmax(axis=1)
    rows = []
    for coverage in COVERAGES:
        chosen = calibration.label_sets(shares, coverage)
        rows.append(
            {
                "coverage": coverage,
                "covered": float(chosen[np.arange(len(right)), right].mean()),
                "labels": float(chosen.sum(axis=1).mean()),
                "empty": float((~chosen.any(axis=1)).mean()),
            }
        )
    return rows


def _strata(examples: Examples, asked: _Asked) -> tuple[dict[str, Any], list[str]]:
    """Return the figures inside each stratum of each grouping of the texts, and what is to be doubted."""
    groups = {**examples.strata, **_by_language(examples), _LENGTH: _by_length(examples)}
    whole = evaluation.auc(asked.values, asked.positive.astype(np.float64))
    strata, warnings = {}, []
    for name, members in groups.items():
        of_name = sorted({*members})
        places = np.array([of_name.index(member) for member in members], np.int64)
        rows, alone = evaluation.inside_strata(asked.values, asked.positive, asked.numbers, places, of_name)
        rows.sort(key=lambda row: _beginning(row["stratum"]) if name == _LENGTH else -row["texts"])
        strata[name] = {"positive": asked.name, "rows": rows, "auc_alone": alone, "auc": whole}
        warnings += evaluation.warnings_of(name, rows, alone, whole)
    return strata, warnings


def _by_length(examples: Examples) -> list[str]:
    lengths = np.array([len(text) for text in examples.texts.to_pylist()])
    edges = np.quantile(lengths, np.arange(1, _LENGTHS) / _LENGTHS).astype(int)
    bounds = [0, *edges.tolist(), int(lengths.max())]
    names = [f"{low:,} to {high:,} characters" for low, high in itertools.pairwise(bounds)]
    return [names[i] for i in np.searchsorted(edges, lengths, side="left").tolist()]


def _beginning(band: str) -> int:
    """Return the number that the name of a band of length begins with."""
    return int(band.partition(" ")[0].replace(",", ""))


def _by_language(examples: Examples) -> dict[str, Sequence[str]]:
    """Return the language of each text; nothing where they are told, are all one, or no model is installed."""
    names = {"lang", "language"}
    if names & {*examples.strata}:
        return {}
    try:
        measure = Language()
        resources = measure.resources()
    except RecipeError:  # the extra `web` has the model
        return {}
    function = measure.open({name: Path(path) for name, path in resources.items()})
    languages = function(pa.record_batch({TEXT: examples.texts}))["lang"].to_pylist()
    counts = Counter(languages)
    told = [str(language) if counts[language] >= evaluation.LEAST_IN_STRATUM else _OTHERS for language in languages]
    return {"language": told} if len({*told}) > 1 else {}
