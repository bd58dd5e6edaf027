"""Aggregation slowly: dictionaries and loops, as the papers write it."""

from __future__ import annotations

import math
from collections import defaultdict


def dawid_skene(votes, labels, iterations):
    """Posteriors by item: {label: probability}, from votes (item, annotator, label)."""
    by_item = defaultdict(list)
    for item, annotator, label in votes:
        by_item[item].append((annotator, label))
    shares = {i: {t: sum(v == t for _, v in given) / len(given) for t in labels} for i, given in by_item.items()}
    for _ in range(iterations):
        counts = defaultdict(float)
        for item, annotator, label in votes:
            for true in labels:
                counts[annotator, true, label] += shares[item][true]
        annotators = {annotator for _, annotator, _ in votes}
        confusion = {}
        for annotator in annotators:
            for true in labels:
                total = sum(max(1e-10, counts[annotator, true, label]) for label in labels)
                for label in labels:
                    confusion[annotator, true, label] = max(1e-10, counts[annotator, true, label]) / total
        priors = {t: sum(share[t] for share in shares.values()) / len(shares) for t in labels}
        for item, given in by_item.items():
            logs = {t: math.log(max(priors[t], 1e-10)) for t in labels}
            for annotator, label in given:
                for true in labels:
                    logs[true] += math.log(confusion[annotator, true, label])
            top = max(logs.values())
            weights = {t: math.exp(log - top) for t, log in logs.items()}
            shares[item] = {t: weight / sum(weights.values()) for t, weight in weights.items()}
    return shares


def alpha(votes, distance):
    """Krippendorff's alpha by all pairs of votes on one item, and all pairs of votes at all."""
    by_item = defaultdict(list)
    for item, _, label in votes:
        by_item[item].append(label)
    units = [values for values in by_item.values() if len(values) > 1]
    values = [value for unit in units for value in unit]
    observed = sum(
        distance(a, b, values) / (len(unit) - 1)
        for unit in units
        for i, a in enumerate(unit)
        for j, b in enumerate(unit)
        if i != j
    ) / len(values)
    expected = sum(distance(a, b, values) for i, a in enumerate(values) for j, b in enumerate(values) if i != j) / (
        len(values) * (len(values) - 1)
    )
    return 1 - observed / expected


def nominal(a, b, values):
    return float(a != b)


def ordinal(a, b, values):
    low, high = min(a, b), max(a, b)
    between = sum(low <= value <= high for value in values)
    return (between - (values.count(a) + values.count(b)) / 2) ** 2 if a != b else 0.0


def kappa(first, second, labels, weight):
    """Cohen's kappa of two lists of labels of the same items."""
    n = len(first)
    observed = sum(weight(a, b) for a, b in zip(first, second, strict=True)) / n
    expected = sum(first.count(a) * second.count(b) * weight(a, b) for a in labels for b in labels) / (n * n)
    return 1 - observed / expected
