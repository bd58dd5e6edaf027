"""Explanation of a score by a student: the words that speak for a label, and the examples that taught it so.

Both are exact: what all n-grams add, and the bias, is the score, and so is what all examples add (Yeh et al. 2018,
"Representer Point Selection for Explaining Deep Neural Networks", section 3: a linear model is the plain case).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from gristmill.operators.student.features import Floats, SparseRows
from gristmill.operators.student.linear import Student, representers

#: Words as the n-grams are made of them, near enough: each is looked up as what it is in the features.
_WORD = re.compile(r"\w+|[^\w\s]+")


class LearntExamples(NamedTuple):
    """The examples (n) that a student learnt from."""

    ids: Sequence[str]
    excerpts: Sequence[str]
    rows: SparseRows
    duals: Floats  #: (n, labels that have weights)
    targets: Floats  #: (n, labels)


def explained(student: Student, text: str, label: int, taught: LearntExamples, most: int = 10) -> dict[str, Any]:
    """Return the score of a label, and what adds most to it and takes most from it: `ngrams` and `examples`.

    `other_ngrams` and `other_examples` are the sums of all that is not listed, the bias among the former. Of two labels
    the first has the opposite of the second's score.
    """
    weights, sign = (label, 1.0) if len(student.bias) == len(student.labels) else (0, 1.0 if label else -1.0)
    texts = pa.array([text], pa.large_string())
    counts = student.ngrams.occurrences(texts)
    root = float(np.sqrt(max(1, counts.lengths[0])))
    of_bucket = dict(zip(counts.buckets.tolist(), counts.counts.tolist(), strict=True))
    ngrams: list[dict[str, Any]] = []
    for ngram, bucket in _named(student, text).items():
        if bucket in of_bucket:
            added = sign * of_bucket.pop(bucket) * float(student.values[weights, bucket]) / root
            ngrams.append({"ngram": ngram, "added": added})
    added_by = (
        sign
        * representers(
            counts.rows(student.rarity), taught.rows, taught.duals[:, [weights]], student.ngrams.buckets + 1
        )[:, 0]
    )
    examples = [
        {
            "id": taught.ids[i],
            "added": float(added_by[i]),
            "target": float(taught.targets[i, label]),
            "excerpt": taught.excerpts[i],
        }
        for i in np.argsort(-np.abs(added_by), kind="stable")[:most].tolist()
    ]
    score = float(student.scores(texts)[0, label])
    ngrams = sorted(ngrams, key=lambda entry: -abs(float(entry["added"])))[:most]
    return {
        "label": student.labels[label],
        "score": score,
        "ngrams": ngrams,
        "other_ngrams": score - sum(float(entry["added"]) for entry in ngrams),
        "examples": examples,
        "other_examples": float(added_by.sum()) - sum(float(entry["added"]) for entry in examples),
    }


def _named(student: Student, text: str) -> dict[str, int]:
    """Return the bucket of each n-gram of a text, those that occur most first, by their words."""
    words = _WORD.findall(text.lower())
    names: Counter[str] = Counter()
    for order in range(1, student.ngrams.order + 1):
        names.update(" ".join(words[i : i + order]) for i in range(len(words) - order + 1))
    ordered = [name for name, _ in names.most_common()]
    buckets = student.ngrams.last_buckets(pa.array(ordered, pa.large_string()))
    return dict(zip(ordered, buckets.tolist(), strict=True))
