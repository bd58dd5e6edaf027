"""Methods that make one soft label of the votes on each item, each a function of `Votes`.

| method        | what an annotator is                   | source                                              |
|---------------|----------------------------------------|-----------------------------------------------------|
| `majority`    | one vote like any other                |                                                     |
| `weighted`    | how often right, by gold or majority   | "worker agreement with aggregate"                   |
| `one_coin`    | one accuracy                           | Zhang et al. 2016 (arXiv:1406.3824), section 2      |
| `dawid_skene` | a confusion matrix                     | Dawid and Skene 1979                                |
| `mace`        | knows, or guesses in a way of its own  | Hovy et al. 2013 (N13-1132)                         |
| `glad`        | an ability; an item has a difficulty   | Whitehill et al. 2009                               |
| `moments`     | one accuracy, from who agrees with whom | Joglekar et al. 2015; Fu et al. 2020 (2002.11955)  |
| `mean`        | the plain mean of four of these        | Wu et al. 2023 (2309.01356)                         |

All are deterministic. Items with gold are certain from the start, and teach the methods what annotators are like. A
soft vote that stands alone on its item is the soft label as it is: nothing else is known of the item, and what would be
learnt of annotators from such items is their own doubt, taken for errors.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from gristmill.operators.label.aggregation.votes import (
    UNKNOWN,
    Aggregation,
    Floats,
    Votes,
    confusion_counts,
    credit,
    evidence,
    log_likelihoods,
    normalized,
    of_votes,
    pairs_of_annotators,
    per_annotator,
    summed,
    summed_by_label,
    with_gold,
)

ITERATIONS = 100
TOLERANCE = 1e-5  #: gain of the evidence lower bound, for each vote, below which it is enough
_LEAST = 1e-10  # probability that nothing is without
Method = Callable[[Votes], Aggregation]


def majority(votes: Votes) -> Aggregation:
    """Return the share of the votes that each label has."""
    return _by_credit(votes, with_gold(_in_parts(evidence(votes, np.ones(len(votes.items)))), votes.gold), 0)


def weighted(votes: Votes) -> Aggregation:
    """Return the share of the votes, each counted by how often its annotator is right.

    That is on the items with gold, as if each had two more, right and wrong; without any gold, by the majority.
    """
    known = votes.gold[votes.items] != UNKNOWN
    shares = majority(votes).shares
    right = credit(votes, shares)
    if known.any():
        hits = per_annotator(votes, right * known) + 1
        skills = hits / (per_annotator(votes, known.astype(np.float64)) + 2)
    else:
        skills = per_annotator(votes, right) / np.maximum(per_annotator(votes, np.ones(len(right))), 1)
    sums = evidence(votes, np.maximum(skills[votes.annotators], _LEAST))
    return _by_credit(votes, with_gold(_in_parts(sums), votes.gold), 1)


def _in_parts(sums: Floats) -> Floats:
    """Return sums (items, labels) as shares of each item; an item without votes may have any label."""
    totals = sums.sum(axis=1, keepdims=True)
    return np.where(totals > 0, sums / np.where(totals > 0, totals, 1), 1 / sums.shape[1])


def dawid_skene(votes: Votes, iterations: int = ITERATIONS, tolerance: float = TOLERANCE) -> Aggregation:
    """Return the soft labels of the model in which each annotator has a confusion matrix, by EM from the majority.

    Where votes have periods, an annotator has one in each, of which neighbours know of each other.
    """
    shares = majority(votes).shares
    priors, logs = _learnt(votes, shares)
    bound, done = -np.inf, 0
    for _ in range(iterations):
        done += 1
        joint = log_likelihoods(votes, logs) + np.log(np.maximum(priors, _LEAST))
        shares = normalized(joint, votes.gold)
        priors, logs = _learnt(votes, shares)
        new = _bound(votes, shares, log_likelihoods(votes, logs), priors)
        if new - bound < tolerance:
            break
        bound = new
    counts = confusion_counts(votes, shares).sum(axis=1)
    totals = counts.sum(axis=(1, 2))
    with np.errstate(invalid="ignore"):
        accuracy = np.trace(counts, axis1=1, axis2=2) / totals
    confusions = counts + _LEAST
    return Aggregation(shares, accuracy, confusions / confusions.sum(axis=2, keepdims=True), done)


def _learnt(votes: Votes, shares: Floats) -> tuple[Floats, Floats]:
    """Return the share of each true label, and the logs of all confusion matrices."""
    counts = np.maximum(confusion_counts(votes, shares), _LEAST)
    return shares.mean(axis=0), np.log(counts / counts.sum(axis=3, keepdims=True))


def _bound(votes: Votes, shares: Floats, likelihoods: Floats, priors: Floats) -> float:
    """Return the evidence lower bound for each vote, as crowd-kit has it: the prior counts once for each vote."""
    on_item = np.bincount(votes.items, minlength=votes.n_items)[:, None]
    joint = shares * (likelihoods + on_item * np.log(np.maximum(priors, _LEAST)))
    entropy = -shares * np.log(np.maximum(shares, _LEAST))
    return float((joint.sum() + entropy.sum()) / len(votes.items))


def one_coin(votes: Votes, iterations: int = ITERATIONS, tolerance: float = TOLERANCE) -> Aggregation:
    """Return the soft labels of the model in which each annotator is right with one probability, by EM."""
    shares = majority(votes).shares
    on_annotator = np.maximum(per_annotator(votes, np.ones(len(votes.items))), 1)
    done, wrong_labels = 0, max(1, votes.n_labels - 1)
    for _ in range(iterations):
        done += 1
        skills = np.clip(per_annotator(votes, credit(votes, shares)) / on_annotator, _LEAST, 1 - _LEAST)
        gains = np.log(skills * wrong_labels / (1 - skills))
        new = normalized(
            evidence(votes, gains[votes.annotators]) + np.log(np.maximum(shares.mean(axis=0), _LEAST)), votes.gold
        )
        change = float(np.abs(new - shares).mean())
        shares = new
        if change < tolerance:
            break
    return _by_credit(votes, shares, done)


def mace(votes: Votes, iterations: int = ITERATIONS, tolerance: float = TOLERANCE) -> Aggregation:
    """Return the soft labels of the model in which an annotator knows the label or draws one from a habit of theirs.

    By variational Bayes, with the paper's priors: 0.5 and 0.5 for knowing, 10 for each label of a habit. Labels are as
    frequent as they are, where the paper takes all for equally so: with one rare label that counts for much.
    """
    k = votes.n_labels
    knowing = np.full(votes.n_annotators, 0.5)
    habits = np.full((votes.n_annotators, k), 1 / k)
    shares, done = majority(votes).shares, 0
    for _ in range(iterations):
        done += 1
        guess = (1 - knowing[votes.annotators]) * of_votes(votes, votes.annotators, habits)
        knows = knowing[votes.annotators]
        priors = np.log(np.maximum(shares.mean(axis=0), _LEAST))
        new = normalized(evidence(votes, np.log1p(knows / np.maximum(guess, _LEAST))) + priors, votes.gold)
        known = credit(votes, new) * knows / np.maximum(guess + knows, _LEAST)  # expected number of known labels
        guesses = np.maximum(1 - known, 0)
        knowing = _mean_of_logs(per_annotator(votes, guesses) + 0.5, per_annotator(votes, known) + 0.5)
        counts = summed_by_label(votes, votes.annotators, guesses, votes.n_annotators) + 10.0
        habits = np.exp(_digamma(counts) - _digamma(counts.sum(axis=1, keepdims=True)))
        change = float(np.abs(new - shares).mean())
        shares = new
        if change < tolerance:
            break
    return _by_credit(votes, shares, done)


def _mean_of_logs(losses: Floats, wins: Floats) -> Floats:
    """Return exp(E[log p]) of a beta distribution with these counts, made to add up with that of 1 - p."""
    win, loss = np.exp(_digamma(wins)), np.exp(_digamma(losses))
    share: Floats = win / (win + loss)
    return share


def _digamma(x: Floats) -> Floats:
    """Return the digamma function of positive numbers (Abramowitz and Stegun 6.3.5, 6.3.18)."""
    shift = np.zeros_like(x)
    x = x.copy()
    for _ in range(6):
        small = x < 6
        shift = np.where(small, shift - 1 / x, shift)
        x = np.where(small, x + 1, x)
    square = 1 / (x * x)
    series = square * (1 / 12 - square * (1 / 120 - square * (1 / 252 - square * (1 / 240 - square / 132))))
    result: Floats = shift + np.log(x) - 0.5 / x - series
    return result


def glad(votes: Votes, iterations: int = ITERATIONS, tolerance: float = TOLERANCE) -> Aggregation:
    """Return the soft labels of the model in which a vote is right with sigmoid(ability x ease of the item).

    Abilities and the logs of ease have normal priors about 1 with variance 1. EM, the maximisation by Newton's method
    on abilities and ease in turn.
    """
    ability, ease = np.ones(votes.n_annotators), np.ones(votes.n_items)
    shares, done, wrong_labels = majority(votes).shares, 0, max(1, votes.n_labels - 1)
    for _ in range(iterations):
        done += 1
        strength = ability[votes.annotators] * np.exp(ease)[votes.items]
        new = normalized(evidence(votes, strength + np.log(wrong_labels)), votes.gold)
        right = credit(votes, new)
        for _ in range(_NEWTON_STEPS):
            ability = _newton(votes, right, ability, ease, of_items=False)
            ease = _newton(votes, right, ability, ease, of_items=True)
        change = float(np.abs(new - shares).mean())
        shares = new
        if change < tolerance:
            break
    return _by_credit(votes, shares, done)


_NEWTON_STEPS = 3
_LARGEST_STEP = 1.0
_EASIEST = 5.0


def _newton(votes: Votes, right: Floats, ability: Floats, ease: Floats, of_items: bool) -> Floats:
    """Return abilities, or ease, after one step of Newton's method (Fisher's information in place of the Hessian)."""
    scale = np.exp(ease)[votes.items]
    strength = ability[votes.annotators] * scale
    sigmoid = 1 / (1 + np.exp(-np.clip(strength, -30, 30)))
    slope = strength if of_items else scale
    gradient, information = (right - sigmoid) * slope, sigmoid * (1 - sigmoid) * slope * slope
    values = ease if of_items else ability
    where = votes.items if of_items else votes.annotators
    step = summed(where, gradient, len(values)) - (values - 1)
    step /= summed(where, information, len(values)) + 1
    moved: Floats = np.clip(values + np.clip(step, -_LARGEST_STEP, _LARGEST_STEP), -_EASIEST, _EASIEST)
    return moved


#: Annotators of whom `moments` looks at who agrees with whom: those with most votes.
_MOST_ANNOTATORS = 500
_PAIRS_NEEDED = 10


def moments(votes: Votes) -> Aggregation:
    """Return the soft labels of annotators with one accuracy each, which follow from how often two of them agree.

    Where a and b err independently and alike on all labels, (K c - 1) / (K - 1), c the share of items on which they
    agree, is the product of a value u of each, and (1 + (K - 1) u) / K is the accuracy. The values are fitted to all
    pairs with ten items or more in common by alternating least squares. Annotators without such a pair count by how far
    they agree with the result of the others.
    """
    k = votes.n_labels
    on_annotator = per_annotator(votes, np.ones(len(votes.items)))
    chosen = np.argsort(-on_annotator, kind="stable")[:_MOST_ANNOTATORS]
    both, same = _agreements(votes, chosen)
    enough = both >= _PAIRS_NEEDED
    weight = np.where(enough, both, 0.0)
    product = np.where(enough, (k * same / np.maximum(both, 1) - 1) / max(1, k - 1), 0.0)
    values = np.full(len(chosen), np.sqrt(max(0.01, float((weight * product).sum() / max(weight.sum(), 1)))))
    for _ in range(ITERATIONS):
        squares = weight @ (values * values)
        new = np.where(squares > 0, (weight * product) @ values / np.maximum(squares, _LEAST), values)
        new = np.clip(new, 0.0, _CERTAIN)
        if np.abs(new - values).max(initial=0.0) < TOLERANCE:
            values = new
            break
        values = (values + new) / 2
    skills = np.full(votes.n_annotators, np.nan)
    skills[chosen] = np.where(weight.sum(axis=1) > 0, (1 + (k - 1) * values) / k, np.nan)
    shares = _by_skills(votes, skills)
    unknown = np.isnan(skills)
    if unknown.any():
        right = (per_annotator(votes, credit(votes, shares)) + 1) / (on_annotator + 2)
        skills = np.where(unknown, right, skills)
        shares = _by_skills(votes, skills)
    return _by_credit(votes, shares, 1)._replace(accuracy=skills)


_CERTAIN = 0.999


def _by_skills(votes: Votes, skills: Floats) -> Floats:
    """Return the soft labels of annotators of these accuracies; one that is NaN counts as half of the others."""
    unknown = np.nanmean(skills) if np.isfinite(skills).any() else 0.7
    known = np.clip(np.where(np.isnan(skills), unknown, skills), _LEAST, _CERTAIN)
    gains = np.log(known * max(1, votes.n_labels - 1) / (1 - known))
    gains = np.where(np.isnan(skills), gains / 2, gains)
    return normalized(evidence(votes, gains[votes.annotators]), votes.gold)


def _agreements(votes: Votes, annotators: NDArray[np.int64]) -> tuple[Floats, Floats]:
    """Return on how many items two annotators both voted, and how often alike: (annotators, annotators) each."""
    size = len(annotators)
    both: Floats = np.zeros(size * size)
    same: Floats = np.zeros(size * size)
    for a, b, first, second in pairs_of_annotators(votes, annotators.tolist()):
        where = a * size + b
        both += np.bincount(where, minlength=size * size)
        same += np.bincount(where, first == second, size * size)
    both, same = both.reshape(size, size), same.reshape(size, size)
    return both + both.T, same + same.T


#: The methods that `mean` is made of.
AVERAGED = ("majority", "dawid_skene", "glad", "mace")


def mean(votes: Votes) -> Aggregation:
    """Return the plain mean of the soft labels of several methods."""
    parts = [METHODS[name](votes) for name in AVERAGED]
    shares = np.mean([part.shares for part in parts], axis=0)
    confusions = next((part.confusions for part in parts if part.confusions is not None), None)
    return _by_credit(votes, shares, sum(part.iterations for part in parts))._replace(confusions=confusions)


def _by_credit(votes: Votes, shares: Floats, iterations: int) -> Aggregation:
    """Return soft labels with the accuracy of annotators that they mean."""
    with np.errstate(invalid="ignore"):
        accuracy = per_annotator(votes, credit(votes, shares)) / per_annotator(votes, np.ones(len(votes.items)))
    return Aggregation(shares, accuracy, None, iterations)


def _of_items_with_others(method: Method) -> Method:
    """Return a method that keeps soft votes as they are which stand alone on an item without gold."""

    def keeping(votes: Votes) -> Aggregation:
        if votes.shares is None or (votes.shares.max(axis=1) == 1).all():
            return method(votes)
        on_item = np.bincount(votes.items, minlength=votes.n_items)
        alone = (on_item == 1) & (votes.gold == UNKNOWN)
        lonely = alone[votes.items]
        if not lonely.any():
            return method(votes)
        shares = majority(votes).shares
        rest = np.flatnonzero(~alone)
        if lonely.all():
            return _by_credit(votes, shares, 0)
        of_rest = votes._replace(
            items=np.searchsorted(rest, votes.items[~lonely]),
            annotators=votes.annotators[~lonely],
            labels=votes.labels[~lonely],
            shares=votes.shares[~lonely],
            n_items=len(rest),
            gold=votes.gold[rest],
            periods=None if votes.periods is None else votes.periods[~lonely],
        )
        result = method(of_rest)
        shares[rest] = result.shares
        by_credit = _by_credit(votes, shares, 0).accuracy  # of annotators whose votes all stand alone
        return result._replace(shares=shares, accuracy=np.where(np.isnan(result.accuracy), by_credit, result.accuracy))

    return keeping


METHODS: Mapping[str, Method] = {
    "majority": majority,
    **{
        method.__name__: _of_items_with_others(method)
        for method in (weighted, one_coin, dawid_skene, mace, glad, moments)
    },
    "mean": mean,
}
