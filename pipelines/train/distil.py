"""`gristmill distil`: a student of labels, calibrated, with a report on texts that it has not seen.

A text and its near copies are on one side: learnt from, calibrated with, or tested. The same examples give the same
student, byte for byte, in any order.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from gristmill.operators.columns import TEXT
from gristmill.operators.errors import RecipeError
from gristmill.operators.kernels.bands import agreements, band_keys
from gristmill.operators.kernels.union_find import smallest_members
from gristmill.operators.measures.distilled import CALIBRATION
from gristmill.operators.measures.minhash import MinHash
from gristmill.operators.student.calibration import Calibration, calibrated, log_loss
from gristmill.operators.student.features import Floats, Ngrams, SparseRows
from gristmill.operators.student.linear import Kind, StudentFit, fit
from gristmill.pipelines.storage import files
from gristmill.pipelines.train import evaluation
from gristmill.pipelines.train.explained_scores import EXAMPLES
from gristmill.pipelines.train.student_report import markdown

#: Strengths of the losses that are tried; the one of least log loss on the calibration part is taken.
STRENGTHS = (0.3, 1.0, 3.0, 10.0)
LEARN, CALIBRATE, TEST = range(3)
#: Shares of the examples to calibrate with and to test with.
SHARES = {CALIBRATE: 0.1, TEST: 0.2}
#: What the report gives a cut for, of each label or of the upper half of a scale.
WISHES: Mapping[str, evaluation.Wish] = {
    "precision >= 0.9": ("precision", 0.9), "precision >= 0.95": ("precision", 0.95), "recall >= 0.9": ("recall", 0.9),
    "f1": ("f", 1.0), "f0.1": ("f", 0.1), "keep 0.1": ("keep", 0.1), "keep 0.2": ("keep", 0.2),
}  # fmt: skip
_PERMUTATIONS, _BANDS, _ROWS = 112, 28, 4  # the bands catch 98 % of the pairs at a Jaccard similarity of 0.6
_ALIKE = 0.45  # share of the lanes that must agree
_LEAST_EXAMPLES = 50
_LENGTHS = 4  # bands of length, of as many texts each
_EXCERPT = 200


@dataclass(frozen=True)
class Examples:
    """Texts with soft labels."""

    kind: Kind
    labels: tuple[str, ...]
    ids: Sequence[str]
    texts: pa.LargeStringArray
    targets: Floats  #: (n, labels); of labels that exclude each other each row adds up to 1
    strata: Mapping[str, Sequence[str]] = field(default_factory=dict)  #: groupings of the texts: (n) each


@dataclass(frozen=True)
class Options:
    """Options of the training of a student."""

    ngram: int = 2
    buckets: int = 1 << 18
    seed: int = 0
    calibration: Literal["temperature", "isotonic"] = "temperature"


def distil(examples: Examples, out: str, options: Options = Options(), test: Examples | None = None) -> dict[str, Any]:
    """Learn from examples; write the student to `out`, its calibration and examples beside it; return the report.

    `test` are examples to test with, in place of a part of the others; those that are near copies of one of them are
    not learnt from. Raises RecipeError where there are too few examples, or a label is in none of them.
    """
    together, given = _together(examples, test, options.seed)
    sides, clusters = _sides(together, given)
    together, sides, unknown = _known_labels(together, sides)
    learnt = np.flatnonzero(sides == LEARN)
    ngrams = Ngrams(options.ngram, options.buckets)
    counts = ngrams.occurrences(together.texts)
    rarity = counts.rarity(options.buckets, sides == LEARN)
    rows = counts.rows(rarity)
    fits = {strength: _fit(together, ngrams, rows, rarity, learnt, strength) for strength in STRENGTHS}
    exclusive, targets = together.kind != "multi", together.targets
    apart = sides == CALIBRATE
    calibrations, losses = {}, {}
    for strength, fitted in fits.items():
        scores = fitted.student.scores(together.texts.filter(pa.array(apart)))
        calibrations[strength] = calibrated(scores, targets[apart], exclusive, options.calibration)
        losses[strength] = log_loss(calibrations[strength].probabilities(scores, exclusive), targets[apart], exclusive)
    strength = min(losses, key=lambda value: (losses[value], value))
    fitted, calibration = fits[strength], calibrations[strength]
    report = _report(out, together, sides, clusters, fitted, calibration, options)
    report["strength"], report["rounds"] = strength, fitted.rounds
    report["warnings"] += [
        f"no text to learn from has the label {label}: the student does not know it" for label in unknown
    ]
    report["learning_curve"] = _learning_curve(together, sides, ngrams, rows, rarity, strength, calibration)
    _write(out, together, learnt, rows, fitted, calibration, report)
    return report


def _together(examples: Examples, test: Examples | None, seed: int) -> tuple[Examples, NDArray[np.int64]]:
    """Return all examples and which are to test with (TEST, else -1), each text once with the mean of its targets.

    They are in the order of a hash of (seed, text), whatever the order they came in.
    """
    parts = [examples] if test is None else [test, examples]  # a text on both sides is one to test with
    if test is not None and test.labels != examples.labels:
        shown = ", ".join(sorted({*test.labels} ^ {*examples.labels})) or "their order"
        raise RecipeError(f"the texts to test with have other labels than those to learn from: {shown}")
    places: dict[str, list[tuple[int, int]]] = {}
    for number, part in enumerate(parts):
        for i, text in enumerate(part.texts.to_pylist()):
            if text and not (places.get(text) and places[text][0][0] != number):
                places.setdefault(text, []).append((number, i))
    texts = sorted(places, key=lambda text: _key(text, seed))
    first = [min(places[text], key=lambda place: parts[place[0]].ids[place[1]]) for text in texts]
    targets = np.array([_mean([parts[number].targets[i] for number, i in places[text]]) for text in texts])
    names = [name for name in examples.strata if all(name in part.strata for part in parts)]
    together = Examples(
        examples.kind,
        examples.labels,
        [parts[number].ids[i] for number, i in first],
        pa.array(texts, pa.large_string()),
        targets.reshape(len(texts), len(examples.labels)),
        {name: [parts[number].strata[name][i] for number, i in first] for name in names},
    )
    return together, np.array([TEST if test is not None and number == 0 else -1 for number, _ in first], np.int64)


def _mean(rows: Sequence[Floats]) -> list[float]:
    """Return the mean of each column, the same in whatever order the rows come."""
    return [math.fsum(column) / len(rows) for column in zip(*rows, strict=True)]


def _key(text: str, seed: int) -> bytes:
    return hashlib.blake2b(text.encode(), digest_size=16, salt=seed.to_bytes(8, "little", signed=True)).digest()


def near_copies(texts: pa.LargeStringArray) -> NDArray[np.int64]:
    """Return for each text (n) the smallest number of a text in its cluster of near copies, by MinHash signatures."""
    measure = MinHash(permutations=_PERMUTATIONS, column="signature")
    signed = measure.open({})(pa.record_batch({TEXT: texts}))["signature"]
    known = np.flatnonzero(np.asarray(signed.is_valid()))
    lanes = np.frombuffer(b"".join(signed.drop_null().to_pylist()), "<u2").reshape(-1, _PERMUTATIONS)
    keys = np.empty((len(known), _BANDS), np.uint64)
    lanes.flags.writeable = False
    band_keys(lanes, _BANDS, _ROWS, keys)
    left, right = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
    for band in range(_BANDS):
        order = np.argsort(keys[:, band], kind="stable")
        same = np.flatnonzero(keys[order[1:], band] == keys[order[:-1], band])
        a, b = order[same], order[same + 1]
        alike = agreements(_fixed(lanes[a]), _fixed(lanes[b])) >= _ALIKE * _PERMUTATIONS
        left.append(known[a[alike]])
        right.append(known[b[alike]])
    return smallest_members(len(texts), np.concatenate(left), np.concatenate(right))  # type: ignore[no-any-return]


def _fixed(array: NDArray[Any]) -> NDArray[Any]:
    array.flags.writeable = False
    return array


def _sides(examples: Examples, given: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the side of each example (n), -1 where it is left out, and its cluster of near copies (n).

    Clusters are drawn in the order of their first texts, apart for each label. One that holds a text that was given to
    test with is left out but for that.
    """
    clusters = near_copies(examples.texts)
    tested = {*clusters[given == TEST].tolist()}
    of_label: dict[int, list[int]] = {}
    for cluster in np.unique(clusters).tolist():  # the number of a cluster is that of its first text
        if cluster not in tested:
            of_label.setdefault(int(examples.targets[cluster].argmax()), []).append(cluster)
    side_of: dict[int, int] = {}
    for members in of_label.values():
        test = 0 if tested else round(SHARES[TEST] * len(members))
        calibrate = round(SHARES[CALIBRATE] * len(members))
        for place, cluster in enumerate(members):
            side_of[cluster] = TEST if place < test else CALIBRATE if place < test + calibrate else LEARN
    sides = np.array([side_of.get(cluster, -1) for cluster in clusters.tolist()], np.int64)
    sides[given == TEST] = TEST
    return sides, clusters


def _known_labels(examples: Examples, sides: NDArray[np.int64]) -> tuple[Examples, NDArray[np.int64], list[str]]:
    """Return examples and sides without the labels that no text to learn from has, and those labels.

    A text that has no other is left out.
    """
    learnt = sides == LEARN
    if learnt.sum() < _LEAST_EXAMPLES:
        raise RecipeError(f"there are {learnt.sum()} different texts to learn from; give {_LEAST_EXAMPLES} or more")
    for side, what in ((CALIBRATE, "calibrate"), (TEST, "test")):
        if not (sides == side).any():
            raise RecipeError(f"{len(sides)} texts leave none to {what} with; give more, of each label")
    has = examples.targets[learnt].sum(axis=0) > 0
    labels = [label for label, known in zip(examples.labels, has.tolist(), strict=True) if known]
    unknown = [label for label in examples.labels if label not in labels]
    if len(labels) < (1 if examples.kind == "multi" else 2):
        raise RecipeError(
            f"no text to learn from has the label {', '.join(unknown)}; a student needs two labels or more"
        )
    targets = examples.targets[:, has]
    if examples.kind != "multi":
        total = targets.sum(axis=1, keepdims=True)
        sides = np.where(total[:, 0] > 0, sides, -1)
        targets = targets / np.where(total > 0, total, 1)
    return replace(examples, labels=tuple(labels), targets=targets), sides, unknown


def _fit(
    examples: Examples,
    ngrams: Ngrams,
    rows: SparseRows,
    rarity: Floats,
    learnt: NDArray[np.int64],
    strength: float,
) -> StudentFit:
    """Return the student of some of the rows."""
    return fit(examples.kind, examples.labels, ngrams, rows.take(learnt), rarity, examples.targets[learnt], strength)


def _report(
    out: str,
    examples: Examples,
    sides: NDArray[np.int64],
    clusters: NDArray[np.int64],
    fitted: StudentFit,
    calibration: Calibration,
    options: Options,
) -> dict[str, Any]:
    tested = np.flatnonzero(sides == TEST)
    texts = examples.texts.take(pa.array(tested))
    scores, targets = fitted.student.scores(texts), examples.targets[tested]
    shares = calibration.probabilities(scores, fitted.student.exclusive)
    report: dict[str, Any] = {
        "model": out,
        "kind": examples.kind,
        "labels": list(examples.labels),
        "examples": {
            "learnt": int((sides == LEARN).sum()),
            "calibrated": int((sides == CALIBRATE).sum()),
            "tested": len(tested),
            "left_out": int((sides == -1).sum()),  # near copies of texts to test with, and labels that are not known
            "clusters": len(np.unique(clusters)),
        },
        "shares": dict(zip(examples.labels, examples.targets.mean(axis=0).tolist(), strict=True)),
        "options": {"ngram": options.ngram, "buckets": options.buckets, "seed": options.seed},
        "test": evaluation.evaluate(scores, targets, examples.labels, examples.kind, calibration, options.seed),
    }
    values, positive, numbers, what = _positive(examples, shares, targets)
    report["curves"] = {
        name: {
            "rows": (rows := evaluation.curve(v, p)),
            "cuts": {w: evaluation.cut_of(rows, WISHES[w]) for w in WISHES},
        }
        for name, v, p in _of_labels(examples, shares, targets)
    }
    groups = dict(examples.strata)
    lengths = np.array([len(text) for text in examples.texts.to_pylist()])
    edges = np.quantile(lengths, np.arange(1, _LENGTHS) / _LENGTHS).astype(int)
    bounds = [0, *edges.tolist(), int(lengths.max())]
    names = [f"{low:,} to {high:,} characters" for low, high in itertools.pairwise(bounds)]
    groups["length"] = [names[i] for i in np.searchsorted(edges, lengths, side="left").tolist()]
    whole = evaluation.auc(values, positive.astype(np.float64))
    report["strata"], report["warnings"] = {}, []
    for name, members in groups.items():
        of_name = sorted({*members})
        places = np.array([of_name.index(members[i]) for i in tested.tolist()], np.int64)
        rows, alone = evaluation.inside_strata(values, positive, numbers, places, of_name)
        report["strata"][name] = {"positive": what, "rows": rows, "auc_alone": alone, "auc": whole}
        report["warnings"] += evaluation.warnings_of(name, rows, alone, whole)
    return report


def _positive(examples: Examples, shares: Floats, targets: Floats) -> tuple[Floats, NDArray[np.bool_], Floats, str]:
    """Return one number for each text, what is positive, the number that is right, and the name of what is positive.

    Of a scale they are the expected numbers, and its upper half; else probabilities of a label: the last of two, or
    the rarest of more.
    """
    if examples.kind == "scale":
        numbers = np.array([float(label) for label in examples.labels])
        middle = (numbers[0] + numbers[-1]) / 2
        return shares @ numbers, targets @ numbers >= middle, targets @ numbers, f"at least {middle:g}"
    if len(examples.labels) == 2:
        return shares[:, 1], targets[:, 1] >= 0.5, targets[:, 1], examples.labels[1]
    rarest = int(targets.sum(axis=0).argmin())
    return shares[:, rarest], targets[:, rarest] >= 0.5, targets[:, rarest], examples.labels[rarest]


def _of_labels(examples: Examples, shares: Floats, targets: Floats) -> list[tuple[str, Floats, NDArray[np.bool_]]]:
    if examples.kind == "scale" or (examples.kind == "choice" and len(examples.labels) == 2):
        values, positive, _, what = _positive(examples, shares, targets)
        return [(what, values, positive)]
    return [(label, shares[:, i], targets[:, i] >= 0.5) for i, label in enumerate(examples.labels)]


def _learning_curve(
    examples: Examples,
    sides: NDArray[np.int64],
    ngrams: Ngrams,
    rows: SparseRows,
    rarity: Floats,
    strength: float,
    calibration: Calibration,
) -> list[dict[str, float]]:
    """Return how good students of a quarter, a half and all of the examples are."""
    learnt, tested = np.flatnonzero(sides == LEARN), np.flatnonzero(sides == TEST)
    exclusive, result = examples.kind != "multi", []
    for share in (0.25, 0.5, 1.0):
        some = learnt[: max(2, round(share * len(learnt)))]
        student = _fit(examples, ngrams, rows, rarity, some, strength).student
        scores = student.scores(examples.texts.take(pa.array(tested)))
        shares, targets = calibration.probabilities(scores, exclusive), examples.targets[tested]
        right = (shares.argmax(axis=1) == targets.argmax(axis=1)) if exclusive else (shares >= 0.5) == (targets >= 0.5)
        loss = log_loss(shares, targets, exclusive)
        result.append({"examples": len(some), "accuracy": float(right.mean()), "log_loss": loss})
    return result


def _write(
    out: str,
    examples: Examples,
    learnt: NDArray[np.int64],
    rows: SparseRows,
    fitted: StudentFit,
    calibration: Calibration,
    report: Mapping[str, Any],
) -> None:
    """Write the files of a student, itself last: a student that is there has all of them."""
    kept = rows.take(learnt)
    offsets = pa.array(kept.starts)
    texts = examples.texts.take(pa.array(learnt)).to_pylist()
    table = pa.table(
        {
            "id": pa.array([examples.ids[i] for i in learnt], pa.string()),
            "target": pa.array(list(examples.targets[learnt]), pa.list_(pa.float32())),
            "dual": pa.array(list(fitted.duals), pa.list_(pa.float64())),
            "columns": pa.LargeListArray.from_arrays(offsets, pa.array(kept.columns, pa.int32())),
            "values": pa.LargeListArray.from_arrays(offsets, pa.array(kept.values)),
            "excerpt": pa.array([" ".join(text[: 2 * _EXCERPT].split())[:_EXCERPT] for text in texts], pa.string()),
        }
    )
    with files.replacing(out + EXAMPLES) as file:
        pq.write_table(table, file, compression="zstd")
    files.write_json(f"{out}.report.json", report)
    files.write_bytes(f"{out}.report.md", markdown(report).encode())
    files.write_bytes(out + CALIBRATION, json.dumps(calibration.to_json()).encode())
    files.write_bytes(out, fitted.student.to_bytes())
