"""Samplers of active learning: texts to have labelled next, by what a student of the labels so far says of them.

Each is a function from a pool of texts and a number to the places of the texts that it chooses. What they draw at
random is a hash of seed and text, so a choice depends on the texts and their labels alone.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from gristmill.operators.label.clusters import SCALE, Vectors, cluster
from gristmill.operators.student.features import Floats

#: Texts whose labels speak about a text beside them.
NEIGHBOURS = 10
#: Texts for each cluster of the bandit, on average, and the most clusters that there are.
TEXTS_A_CLUSTER, CLUSTERS = 50, 200
_NEAR_AT_ONCE = 1 << 22  # likenesses held at once
_LEAST = 1e-9
_BISECTIONS = 30

Places = NDArray[np.int64]


class TextPool(NamedTuple):
    """Texts (n) that may be chosen, and what is known of them."""

    noise: Floats  #: (n) numbers between 0 and 1 from a hash of seed and text, all different
    taken: NDArray[np.bool_]  #: (n) whether a text cannot be chosen any more
    shares: Floats  #: (n, labels) probabilities by the student of the labels so far
    exclusive: bool  #: whether a text has one label: not of several that may all fit
    sure: Floats  #: (n) how sure the annotators are of their answers, from 0 to 1, foretold from the text
    targets: Floats  #: (n, labels) soft labels; NaN where a text has none
    reward: Floats  #: (n) what it was worth to label a text, from 0 to 1; NaN where it has no label
    wrong: float  #: share of the labels that are wrong, as far as is known
    vectors: Vectors  #: (n, d) of length 1 or zero, of samplers that look at likeness; else (n, 0)


def by_uncertainty(pool: TextPool, n: int) -> Places:
    """Return the n texts whose label the student is least sure of, by the entropy of its probabilities.

    Lewis and Gale 1994, "A Sequential Algorithm for Training Text Classifiers".
    """
    return _largest(pool, _entropy(pool), n)


def by_llkd(pool: TextPool, n: int) -> Places:
    """Return n texts of which the annotators are probably sure and the student is not.

    Li et al. 2024, "Learning with Less: Knowledge Distillation from Large Language Models via Unlabeled Data": a text
    must reach a threshold of confidence and one of uncertainty. Both are means over the texts that are left, estimated
    anew each round; they are lower for a label that the student gives less (by the ratio of its mean probability to
    the largest one), so that rare labels are chosen as well. Of those that pass, and then of the others, the largest
    products of both come first. The paper knows the confidence of every text, as all are labelled before; here it is
    foretold from the text.
    """
    left = ~pool.taken
    uncertainty = _entropy(pool)
    means = pool.shares[left].mean(axis=0)
    ease = (means / max(float(means.max()), _LEAST))[pool.shares.argmax(axis=1)]
    passes = pool.sure >= ease * pool.sure[left].mean()
    passes &= uncertainty >= ease * uncertainty[left].mean()
    together = pool.sure * uncertainty
    return _largest(pool, together + passes * (1 + float(together.max())), n)


def by_robust_gain(pool: TextPool, n: int) -> Places:
    """Return n texts drawn so that wrong labels take least from the gain, wherever they are.

    Baykal et al. 2023, "Robust Active Distillation": a text gains one less the margin between the two most probable
    labels, where its label is right. The texts of most gain g are drawn, each in proportion to 1 / g.
    """
    left = np.flatnonzero(~pool.taken)
    gain = np.maximum(_gain(pool)[left], _LEAST)
    order = np.lexsort((pool.noise[left], -gain))
    drawn = order[: max(n, _most_drawn(gain[order], pool.wrong * len(left)))]
    # the n smallest of exponential waiting times are a draw without replacement (Efraimidis and Spirakis 2006)
    waits = -np.log(pool.noise[left[drawn]]) * gain[drawn]
    chosen: Places = left[drawn[np.argsort(waits, kind="stable")[:n]]]
    return chosen


def _most_drawn(gains: Floats, wrong: float) -> int:
    """Return from how many texts of falling gains g to draw in proportion to 1 / g, where some labels are wrong.

    It is the k of the largest (k - wrong) / sum(1 / g), the gain in the worst case, than which no other draw has more.
    """
    k = np.arange(1, len(gains) + 1)
    return int(((k - wrong) / np.cumsum(1 / gains)).argmax()) + 1


def by_neighbours(pool: TextPool, n: int) -> Places:
    """Return the n texts whose label by the student differs most from the labels of the texts most like them.

    Disharmony with neighbours, as in Zhang et al. 2024, "Cost-Effective Label-free Node Classification with LLMs", on
    hashed vectors: one less the probability that a label drawn by the student is that of a neighbour, the nearer ones
    counting for more.
    """
    whole = np.rint(pool.vectors * SCALE).astype(np.float32)  # products of these are exact, whatever their order
    known = np.flatnonzero(~np.isnan(pool.targets[:, 0]))
    left = np.flatnonzero(~pool.taken)
    disharmony = np.zeros(len(pool.noise))
    step = max(1, _NEAR_AT_ONCE // max(1, len(known)))
    for start in range(0, len(left), step):
        some = left[start : start + step]
        likeness = np.maximum(whole[some] @ whole[known].T, 0)
        nearest = np.argsort(-likeness, axis=1, kind="stable")[:, :NEIGHBOURS]
        weights = np.take_along_axis(likeness, nearest, axis=1).astype(np.float64) + _LEAST
        theirs = (pool.targets[known[nearest]] * weights[:, :, None]).sum(axis=1) / weights.sum(axis=1)[:, None]
        alike = pool.shares[some] * theirs
        if not pool.exclusive:
            alike = (alike + (1 - pool.shares[some]) * (1 - theirs)) / alike.shape[1]
        disharmony[some] = 1 - alike.sum(axis=1)
    return _largest(pool, disharmony, n)


def by_cluster_bandit(pool: TextPool, n: int) -> Places:
    """Return n texts of clusters whose labelled texts were worth most, or of which too little is known.

    Clusters of similar texts are the arms of a bandit. Each draw goes to the arm of the largest upper bound of its mean
    reward (KL-UCB: Garivier and Cappé 2011, Algorithm 1 with c = 0), those that have no label yet first; in it the text
    that the student is least sure of is taken. Draws whose reward is yet to come count as drawn.
    """
    order = np.argsort(pool.noise, kind="stable")
    arms = min(CLUSTERS, max(2, len(order) // TEXTS_A_CLUSTER))
    arm = np.empty(len(order), np.int64)
    arm[order] = cluster(pool.vectors, order, arms, 0)
    known = ~np.isnan(pool.reward)
    draws = np.bincount(arm[known], minlength=arms).astype(np.float64)
    sums = np.bincount(arm[known], pool.reward[known], arms)
    entropy = _entropy(pool)
    ranked = np.lexsort((pool.noise, -entropy))
    waiting = {a: iter(ranked[(arm[ranked] == a) & ~pool.taken[ranked]].tolist()) for a in range(arms)}
    means = sums / np.maximum(draws, 1)
    bounds = _upper_bounds(means, draws, draws.sum())
    chosen: list[int] = []
    while waiting and len(chosen) < n:
        best = max(waiting, key=lambda a: (bounds[a], -a))
        if (text := next(waiting[best], None)) is None:
            del waiting[best]
            continue
        chosen.append(text)
        draws[best] += 1
        bounds[best] = _upper_bounds(means[[best]], draws[[best]], draws.sum())[0]
    return np.array(chosen, np.int64)


#: Samplers by name.
SAMPLERS: dict[str, Callable[[TextPool, int], Places]] = {
    "uncertainty": by_uncertainty,
    "llkd": by_llkd,
    "robust": by_robust_gain,
    "neighbours": by_neighbours,
    "bandit": by_cluster_bandit,
}
#: Samplers that look at the vectors of texts.
TAKE_VECTORS = frozenset({"neighbours", "bandit"})


def _largest(pool: TextPool, values: Floats, n: int) -> Places:
    """Return the places of the n largest values of texts that are left, ties by noise."""
    left = np.flatnonzero(~pool.taken)
    chosen: Places = left[np.lexsort((pool.noise[left], -values[left]))[:n]]
    return chosen


def _entropy(pool: TextPool) -> Floats:
    """Return the entropy of the student's probabilities in nats (n): of several labels the sum of each one's."""
    entropy: Floats = _terms(pool.shares).sum(axis=1)
    return entropy if pool.exclusive else entropy + _terms(1 - pool.shares).sum(axis=1)


def _terms(shares: Floats) -> Floats:
    return -shares * np.log(np.maximum(shares, _LEAST))


def _gain(pool: TextPool) -> Floats:
    """Return one less the margin of the student (n), of several labels that of the most doubtful one."""
    if not pool.exclusive:
        gain: Floats = 1 - np.abs(2 * pool.shares - 1).min(axis=1)
        return gain
    two = np.partition(pool.shares, -2, axis=1)[:, -2:]
    return 1 - (two[:, 1] - two[:, 0])


def _upper_bounds(means: Floats, draws: Floats, total: float) -> Floats:
    """Return for each arm the largest q with draws * kl(mean, q) <= log(total); infinite where it was never drawn."""
    room = np.log(max(total, 1.0)) / np.maximum(draws, 1)
    low, high = means.copy(), np.ones(len(means))
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        below = _divergence(means, middle) <= room
        low, high = np.where(below, middle, low), np.where(below, high, middle)
    return np.where(draws > 0, low, np.inf)


def _divergence(p: Floats, q: Floats) -> Floats:
    """Return the Kullback-Leibler divergence of Bernoulli distributions, in nats."""
    q = np.clip(q, _LEAST, 1 - _LEAST)
    first = p * np.log(np.maximum(p, _LEAST) / q)
    return first + (1 - p) * np.log(np.maximum(1 - p, _LEAST) / (1 - q))
