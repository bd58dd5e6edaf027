"""The split of examples: a text and its near copies are learnt from, calibrated with, or tested, never two of these."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from gristmill.operators.columns import TEXT
from gristmill.operators.errors import RecipeError
from gristmill.operators.kernels.bands import agreements, band_keys
from gristmill.operators.kernels.union_find import smallest_members
from gristmill.operators.measures.minhash import MinHash
from gristmill.operators.student.features import Floats
from gristmill.operators.student.linear import Kind

LEARN, CALIBRATE, TEST, LEFT_OUT = 0, 1, 2, -1
#: Shares of the examples to calibrate with and to test with.
SHARES = {CALIBRATE: 0.1, TEST: 0.2}
_PERMUTATIONS, _BANDS, _ROWS = 112, 28, 4  # the bands catch 98 % of the pairs at a Jaccard similarity of 0.6
_ALIKE = 0.45  # share of the lanes that must agree
_LEAST_EXAMPLES = 50


@dataclass(frozen=True)
class Examples:
    """Texts with soft labels."""

    kind: Kind
    labels: tuple[str, ...]
    ids: Sequence[str]
    texts: pa.LargeStringArray
    targets: Floats  #: (n, labels); of labels that exclude each other each row adds up to 1
    strata: Mapping[str, Sequence[str]] = field(default_factory=dict)  #: groupings of the texts: (n) each
    is_gold: NDArray[np.bool_] | None = None  #: (n) whether the target is known to be right
    about_labels: Mapping[str, Any] = field(default_factory=dict)  #: what the report tells of them
    notes: Sequence[str] = ()  #: (n) who gave which label, where it is known
    at_random: NDArray[np.bool_] | None = (
        None  #: (n) whether a text was drawn at random: not chosen for what it is like
    )

    @property
    def exclusive(self) -> bool:
        """Return whether a text has one label: not of several that may all fit."""
        return self.kind != "multi"

    def take(self, which: NDArray[np.int64]) -> Examples:
        """Return some of the examples."""
        return replace(
            self,
            ids=[self.ids[i] for i in which.tolist()],
            texts=self.texts.take(pa.array(which)),
            targets=self.targets[which],
            strata={name: [members[i] for i in which.tolist()] for name, members in self.strata.items()},
            is_gold=None if self.is_gold is None else self.is_gold[which],
            notes=[self.notes[i] for i in which.tolist()] if self.notes else (),
            at_random=None if self.at_random is None else self.at_random[which],
        )


@dataclass(frozen=True)
class Split:
    """Examples, each text once in the order of a hash of (seed, text), and the sides that they are on."""

    examples: Examples
    sides: NDArray[np.int64]  #: (n): LEARN, CALIBRATE, TEST or LEFT_OUT
    clusters: NDArray[np.int64]  #: (n): the smallest number of a text in its cluster of near copies
    unknown: Sequence[str]  #: labels that no text to learn from has; they are not among those of the examples

    @cached_property
    def learnt(self) -> NDArray[np.int64]:
        """Return the numbers of the texts to learn from."""
        return np.flatnonzero(self.sides == LEARN)

    @cached_property
    def calibrated(self) -> NDArray[np.int64]:
        """Return the numbers of the texts to calibrate with."""
        return np.flatnonzero(self.sides == CALIBRATE)

    @cached_property
    def tested(self) -> NDArray[np.int64]:
        """Return the numbers of the texts to test with."""
        return np.flatnonzero(self.sides == TEST)


def split(examples: Examples, test: Examples | None, seed: int) -> Split:
    """Return the split of examples, the same in whatever order they come.

    `test` are examples to test with, in place of a part of the others; those that are near copies of one of them are
    left out. Raises RecipeError where there are too few examples, or a label is in none of them.
    """
    together, given = _together(examples, test, seed)
    sides, clusters = _sides(together, given, SHARES)
    together, sides, unknown = _known_labels(together, sides)
    return Split(together, sides, clusters, unknown)


def split_by_cluster(examples: Examples, seed: int, shares: Mapping[int, float]) -> Split:
    """Return all examples, near copies on one side: those of `shares`, and LEARN for the rest.

    They are drawn as `split` does, the same in whatever order they come; no label is left out.
    """
    together, given = _together(examples, None, seed)
    return Split(together, *_sides(together, given, shares), unknown=())


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
    golds = [np.zeros(len(part.ids), np.bool_) if part.is_gold is None else part.is_gold for part in parts]
    drawn = [np.ones(len(part.ids), np.bool_) if part.at_random is None else part.at_random for part in parts]
    together = replace(
        examples,
        ids=[parts[number].ids[i] for number, i in first],
        texts=pa.array(texts, pa.large_string()),
        targets=targets.reshape(len(texts), len(examples.labels)),
        strata={name: [parts[number].strata[name][i] for number, i in first] for name in names},
        notes=(),
        is_gold=np.array([all(golds[number][i] for number, i in places[text]) for text in texts], np.bool_),
        at_random=np.array([all(drawn[number][i] for number, i in places[text]) for text in texts], np.bool_),
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


def _sides(
    examples: Examples, given: NDArray[np.int64], shares: Mapping[int, float]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the side of each example (n) and its cluster of near copies (n).

    Clusters are drawn in the order of their first texts, apart for each label. One that holds a text that was given to
    test with is left out but for that. One that holds a text that was not drawn at random is learnt from: calibration
    and test speak of texts as they come.
    """
    clusters = near_copies(examples.texts)
    tested = {*clusters[given == TEST].tolist()}
    chosen = set() if examples.at_random is None else {*clusters[~examples.at_random].tolist()}
    side_of: dict[int, int] = dict.fromkeys(chosen - tested, LEARN)
    of_label: dict[int, list[int]] = {}
    for cluster in np.unique(clusters).tolist():  # the number of a cluster is that of its first text
        if cluster not in tested and cluster not in chosen:
            of_label.setdefault(int(examples.targets[cluster].argmax()), []).append(cluster)
    for members in of_label.values():
        test = 0 if tested else round(shares[TEST] * len(members))
        calibrate = round(shares[CALIBRATE] * len(members))
        for place, cluster in enumerate(members):
            side_of[cluster] = TEST if place < test else CALIBRATE if place < test + calibrate else LEARN
    sides = np.array([side_of.get(cluster, LEFT_OUT) for cluster in clusters.tolist()], np.int64)
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
    if len(labels) < (2 if examples.exclusive else 1):
        raise RecipeError(
            f"no text to learn from has the label {', '.join(unknown)}; a student needs two labels or more"
        )
    targets = examples.targets[:, has]
    if examples.exclusive:
        total = targets.sum(axis=1, keepdims=True)
        sides = np.where(total[:, 0] > 0, sides, LEFT_OUT)
        targets = targets / np.where(total > 0, total, 1)
    return replace(examples, labels=tuple(labels), targets=targets), sides, unknown
