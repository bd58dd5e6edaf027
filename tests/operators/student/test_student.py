"""The linear student: features, training in the dual, calibration, what examples add to a score."""

from __future__ import annotations

import itertools
import json
import math
import pickle
import re
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gristmill.operators.errors import RecipeError
from gristmill.operators.measures.distilled import Distilled
from gristmill.operators.student.calibration import (
    Calibration,
    as_probabilities,
    brier_score,
    calibrated,
    expected_calibration_error,
    isotonic,
    log_loss,
)
from gristmill.operators.student.explanation import LearntExamples, explained
from gristmill.operators.student.features import Ngrams
from gristmill.operators.student.linear import Student, balanced, fit, representers, scores_of_rows
from gristmill.operators.student.student import CALIBRATION
from tests.operators.student.students import small_student, student_file
from tests.support import make_documents, sentences

NGRAMS = Ngrams(2, 1 << 20)  # so many that few of some hundred n-grams collide


def array(texts: list[str]) -> pa.LargeStringArray:
    return pa.array(texts, pa.large_string())


def test_features_are_counts_of_words_and_pairs() -> None:
    texts = [sentences(i, 30) for i in range(20)] + ["", "one"]
    counts = NGRAMS.occurrences(array(texts))
    rarity = counts.rarity(NGRAMS.buckets)
    rows = counts.rows(rarity)
    grams = []
    for text in texts:
        words = re.findall(r"\w+|[^\w\s]+", text.lower())
        grams.append(Counter([*words, *itertools.pairwise(words)]))
    have = Counter(gram for counter in grams for gram in counter)
    for i, counter in enumerate(grams):
        n = sum(counter.values())
        assert counts.lengths[i] == n
        expected = sorted(
            count * (math.log((1 + len(texts)) / (1 + have[gram])) + 1) / math.sqrt(max(n, 1))
            for gram, count in counter.items()
        )
        row = slice(rows.starts[i], rows.starts[i + 1])
        assert sorted(rows.values[row][:-1]) == pytest.approx(expected)
        assert (rows.columns[row][-1], rows.values[row][-1]) == (NGRAMS.buckets, 1.0)
    assert rows.squares == pytest.approx(
        [float((rows.values[a:b] ** 2).sum()) for a, b in itertools.pairwise(rows.starts)]
    )


def test_some_rows() -> None:
    rows = (counts := NGRAMS.occurrences(array(["a b", "", "c d e"]))).rows(counts.rarity(NGRAMS.buckets))
    some = rows.take(np.array([2, 0]))
    assert some.columns.tolist() == [*rows.columns[rows.starts[2] :], *rows.columns[: rows.starts[1]]]
    assert some.starts.tolist() == [0, rows.starts[3] - rows.starts[2], some.starts[-1]]


@pytest.fixture(scope="module")
def problem() -> tuple[pa.LargeStringArray, np.ndarray]:
    """Texts and soft targets of three labels, by a word that they have and chance."""
    draw = np.random.default_rng(0)
    words = ["alpha", "beta", "gamma"]
    label = draw.integers(0, 3, 150)
    others = [" ".join(f"w{n}" for n in draw.integers(0, 3000, 25)) for _ in label]
    texts = [f"{other} {words[k] if draw.random() < 0.8 else ''}" for other, k in zip(others, label, strict=True)]
    return array(texts), 0.85 * np.eye(3)[label] + 0.05


@pytest.mark.parametrize("strength", [0.3, 3.0])
def test_the_fit_is_the_minimum_of_the_regularised_loss(
    problem: tuple[pa.LargeStringArray, np.ndarray], strength: float
) -> None:
    """At the minimum the gradient of each label is zero: weights = strength * sum of (target - sigmoid) rows."""
    texts, targets = problem
    counts = NGRAMS.occurrences(texts)
    rarity = counts.rarity(NGRAMS.buckets)
    rows = counts.rows(rarity)
    fitted = fit("choice", "abc", NGRAMS, rows, rarity, targets, strength, 2000, 1e-9)
    scores = fitted.student.scores(texts)
    sigmoid = 1 / (1 + np.exp(-scores))
    assert fitted.duals == pytest.approx(strength * (targets - sigmoid), abs=1e-4 * strength)


def test_what_examples_add_makes_up_the_score(problem: tuple[pa.LargeStringArray, np.ndarray]) -> None:
    texts, targets = problem
    counts = NGRAMS.occurrences(texts)
    rarity = counts.rarity(NGRAMS.buckets)
    rows = counts.rows(rarity)
    fitted = fit("choice", "abc", NGRAMS, rows, rarity, targets)
    unseen = array(["alpha beta and something else", sentences(900, 40), ""])
    scores = fitted.student.scores(unseen)
    of_unseen = NGRAMS.occurrences(unseen).rows(rarity)
    for i in range(3):
        added = representers(of_unseen.take(np.array([i])), rows, fitted.duals, NGRAMS.buckets + 1)
        assert added.shape == (150, 3)
        assert added.sum(axis=0) == pytest.approx(scores[i], abs=1e-6)
    # and so do the weights of n-grams
    weights = np.concatenate([fitted.student.values / rarity, fitted.student.bias[:, None]], axis=1)
    assert scores_of_rows(of_unseen, weights) == pytest.approx(scores, abs=1e-6)


def test_of_two_labels_one_has_weights_and_the_other_the_opposite() -> None:
    student = small_student("choice", ("no", "yes"))
    assert student.values.shape == (1, student.ngrams.buckets)
    scores = student.scores(array(["some words", "others"]))
    assert (scores[:, 0] == -scores[:, 1]).all()
    assert small_student("multi", ("no", "yes")).values.shape[0] == 2


def test_a_student_is_read_as_it_was_written(tmp_path: Path) -> None:
    student = small_student("scale", ("0", "1", "2"))
    path = tmp_path / "s.bin"
    path.write_bytes(student.to_bytes())
    again = Student.read(path)
    texts = array([document["text"] for document in make_documents(20)])
    assert (again.scores(texts) == student.scores(texts)).all()
    assert (again.kind, again.labels, again.ngrams) == (student.kind, student.labels, student.ngrams)
    for content in (b"", b"ARROW1", student.to_bytes()[:-100]):
        path.write_bytes(content)
        with pytest.raises(RecipeError, match="is no student"):
            Student.read(path)


@given(st.lists(st.tuples(st.integers(0, 8), st.floats(0, 1)), min_size=1, max_size=30))
def test_isotonic_steps_are_the_nearest_that_never_fall(points: list[tuple[int, float]]) -> None:
    values, targets = (np.array(side, np.float64) for side in zip(*points, strict=True))
    bounds, steps = isotonic(values, targets)
    assert [*bounds] == sorted({*bounds})
    assert all(a < b for a, b in itertools.pairwise(steps))
    fitted = np.asarray(steps)[np.searchsorted(bounds, values, side="right") - 1]
    # max-min formula: the value at x is the largest over starts <= x of the smallest mean over ends >= x
    for x, y in zip(values, fitted, strict=True):
        expected = max(
            min(targets[(values >= a) & (values <= b)].mean() for b in {*values} if b >= x) for a in {*values} if a <= x
        )
        assert y == pytest.approx(expected)


def test_temperature_is_that_of_least_log_loss() -> None:
    draw = np.random.default_rng(1)
    scores = draw.normal(0, 2, (500, 3))
    shares = as_probabilities(scores / 2.5, True)
    targets = np.eye(3)[[draw.choice(3, p=share) for share in shares]]
    found = calibrated(scores, targets, True)
    losses = {t: log_loss(as_probabilities(scores / t, True), targets, True) for t in np.linspace(1, 5, 401)}
    assert found.temperature == pytest.approx(min(losses, key=losses.__getitem__), abs=0.02)
    assert Calibration.from_json(found.to_json()) == found


@pytest.mark.parametrize("method", ["temperature", "isotonic"])
@pytest.mark.parametrize("exclusive", [True, False])
def test_a_few_texts_that_are_all_right_make_nothing_certain(method: str, exclusive: bool) -> None:
    targets = np.eye(3)[np.arange(48) % 3]
    calibration = calibrated(4 * targets - 2, targets, exclusive, method)  # type: ignore[arg-type]
    shares = calibration.probabilities(np.array([[2.0, -2.0, -2.0]]), exclusive)
    few = 1 if exclusive else 0.5
    assert shares[0, 0] == pytest.approx(1 - 2 / 51 if exclusive else 49 / 50, abs=0.02 * few)
    assert shares[0, 1:].min() > 0.01


@pytest.mark.parametrize("method", ["temperature", "isotonic"])
@pytest.mark.parametrize("exclusive", [True, False])
def test_calibration_makes_probabilities_mean_what_they_say(method: str, exclusive: bool) -> None:
    draw = np.random.default_rng(2)
    scores = draw.normal(0, 1.5, (8000, 2))
    if exclusive:
        targets = np.eye(2)[(draw.random(8000) < as_probabilities(scores, True)[:, 1]).astype(int)]
    else:
        targets = (draw.random((8000, 2)) < as_probabilities(scores, False)).astype(np.float64)
    calibration = calibrated(3 * scores[:4000], targets[:4000], exclusive, method)  # type: ignore[arg-type]
    shares = calibration.probabilities(3 * scores[4000:], exclusive)
    right = targets[4000:, 1]
    assert expected_calibration_error(shares[:, 1], right) < 0.03
    before = as_probabilities(3 * scores[4000:], exclusive)
    assert expected_calibration_error(before[:, 1], right) > 0.08
    assert brier_score(shares, targets[4000:]) < brier_score(before, targets[4000:])
    if exclusive:
        assert shares.sum(axis=1) == pytest.approx(1)


@pytest.mark.parametrize("exclusive", [True, False])
def test_a_rare_label_is_said_as_often_as_it_is(exclusive: bool) -> None:
    draw = np.random.default_rng(5)
    rare = draw.random(4000) < 0.05
    targets = np.eye(3)[np.where(rare, 2, draw.integers(2, size=4000))]
    scores = draw.normal(0, 1, (4000, 3)) + 1.5 * targets - 1.0  # as if the labels were as frequent as each other
    shares = calibrated(scores[:2000], targets[:2000], exclusive).probabilities(scores[2000:], exclusive)
    assert shares[:, 2].mean() == pytest.approx(rare[2000:].mean(), abs=0.015)
    assert expected_calibration_error(shares[:, 2], targets[2000:, 2]) < 0.02
    assert as_probabilities(scores[2000:], exclusive)[:, 2].mean() > 0.15


def test_an_example_of_importance_two_counts_as_two_examples() -> None:
    texts = [document["text"] for document in make_documents(40)]
    counts = NGRAMS.occurrences(pa.array(texts, pa.large_string()))
    rarity = counts.rarity(NGRAMS.buckets)
    rows, targets = counts.rows(rarity), np.eye(2)[[0, 1] * 20]
    importances = np.ones((40, 2))
    importances[:10] = 2.0
    weighted = fit("choice", "ab", NGRAMS, rows, rarity, targets, 1.0, 3000, 1e-9, importances=importances)
    twice = np.concatenate([np.arange(10), np.arange(40)])
    repeated = fit("choice", "ab", NGRAMS, rows.take(twice), rarity, targets[twice], 1.0, 3000, 1e-9)
    assert weighted.student.values == pytest.approx(repeated.student.values, abs=1e-4)
    assert weighted.student.bias == pytest.approx(repeated.student.bias, abs=1e-4)


def test_balanced_labels_weigh_alike_within_bounds() -> None:
    targets = np.eye(3)[[0] * 60 + [1] * 30 + [2] * 10]
    weights = balanced(targets, exclusive=True)
    assert (weights == weights[:, :1]).all()
    sums = (targets * weights).sum(axis=0)
    assert sums == pytest.approx([sums[0]] * 3)
    assert weights.mean() == pytest.approx(1)
    several = (np.arange(100)[:, None] < [50, 20, 1]).astype(np.float64)
    weights = balanced(several, exclusive=False)
    for label, fits in enumerate(several.T):
        ratio = (weights[:, label] * fits).sum() / (weights[:, label] * (1 - fits)).sum()
        assert ratio == pytest.approx(1 if label < 2 else 20 / 99)


@pytest.mark.parametrize("exclusive", [True, False])
def test_strata_are_calibrated_apart(exclusive: bool) -> None:
    draw = np.random.default_rng(4)
    n = 6000
    strata = np.where(np.arange(n) % 2, "rich", "poor")
    strata[:20] = "few"
    true = draw.normal(0, 1.5, (n, 3)) + np.where(strata == "rich", 1.5, 0.0)[:, None] * [0, 1, 0]
    shares = as_probabilities(true, exclusive)
    if exclusive:
        targets = np.eye(3)[(shares.cumsum(axis=1) > draw.random((n, 1))).argmax(axis=1)]
    else:
        targets = (draw.random((n, 3)) < shares).astype(np.float64)
    scores = true - np.where(strata == "rich", 1.5, 0.0)[:, None] * [0, 1, 0]  # the student does not know the stratum
    half, names = n // 2, strata.tolist()
    found = calibrated(scores[:half], targets[:half], exclusive, "temperature", ("source", names[:half]))
    assert [name for name, _ in found.strata] == ["poor", "rich"]
    assert Calibration.from_json(json.loads(json.dumps(found.to_json()))) == found
    assert pickle.loads(pickle.dumps(found)) == found
    apart = found.probabilities(scores[half:], exclusive, names[half:])
    common = found.probabilities(scores[half:], exclusive)
    for name in ("poor", "rich"):
        here = strata[half:] == name
        right = targets[half:][here, 1]
        assert expected_calibration_error(apart[here, 1], right) < 0.05
        assert expected_calibration_error(common[here, 1], right) > (0.05 if name == "rich" else 0.02)
        assert apart[here].mean(axis=0) == pytest.approx(targets[half:][here].mean(axis=0), abs=0.05)
    others = found.probabilities(scores[:5], exclusive, ["few", None, "new", "few", "few"])
    assert others == pytest.approx(found.probabilities(scores[:5], exclusive))
    if exclusive:
        assert apart.sum(axis=1) == pytest.approx(1)


def documents(texts: list[str | None]) -> pa.RecordBatch:
    return pa.record_batch({"text": pa.array(texts, pa.large_string())})


def opened(measure: Distilled):  # type: ignore[no-untyped-def]
    return measure.open({name: Path(path) for name, path in measure.resources().items()})


def test_the_measure_is_the_calibrated_probability_or_the_expected_number() -> None:
    path = student_file("scale", ("0", "1", "2"))
    texts: list[str | None] = [sentences(1, 20), None, sentences(2, 150), ""]
    shares = as_probabilities(Student.read(path).scores(array([text or "" for text in texts])) / 1.5, True)
    expected = opened(Distilled(model=str(path)))(documents(texts))
    assert expected.schema.names == ["distilled"]
    assert expected.column(0)[1].as_py() is None
    for i in (0, 2, 3):
        assert expected.column(0)[i].as_py() == pytest.approx(shares[i] @ [0, 1, 2], rel=1e-6)
    of_label = opened(Distilled(model=str(path), label="2", column="two"))(documents(texts))
    assert of_label.column("two")[2].as_py() == pytest.approx(shares[2, 2], rel=1e-6)


def test_the_measure_refuses_what_it_cannot_use(tmp_path: Path) -> None:
    path = student_file("choice", ("bad", "good"))
    files = {"model": path, "calibration": Path(str(path) + CALIBRATION)}
    with pytest.raises(RecipeError, match="knows the labels bad, good: name one with `label`"):
        Distilled(model=str(path)).check(files)
    with pytest.raises(RecipeError, match="has no label best; there are bad, good"):
        Distilled(model=str(path), label="best").check(files)
    Distilled(model=str(path), label="good").check(files)
    (tmp_path / "c.json").write_text('{"method": "wish"}')
    with pytest.raises(RecipeError, match="is no calibration of a student"):
        Distilled(model=str(path), label="good").check({**files, "calibration": tmp_path / "c.json"})


def test_the_fingerprint_is_that_of_the_files_not_of_their_names() -> None:
    one, other = Distilled(model="a.bin", label="x"), Distilled(model="b/c.bin", label="x")
    digests = {"model": "1", "calibration": "2"}
    assert one.fingerprint(digests) == other.fingerprint(digests)
    assert one.fingerprint(digests) != one.fingerprint({**digests, "calibration": "3"})
    assert one.fingerprint(digests) != Distilled(model="a.bin", label="y").fingerprint(digests)


@pytest.mark.parametrize("labels", ["abc", "ab"])
def test_a_score_is_what_words_add_and_what_examples_add(labels: str) -> None:
    draw = np.random.default_rng(3)
    topics = ["alpha", "beta", "gamma"][: len(labels)]
    at = draw.integers(0, len(labels), 120)
    texts = [" ".join([topics[k], *(f"w{n}" for n in draw.integers(0, 400, 20))]) for k in at]
    counts = NGRAMS.occurrences(array(texts))
    rarity = counts.rarity(NGRAMS.buckets)
    rows, targets = counts.rows(rarity), np.eye(len(labels))[at]
    fitted = fit("choice", labels, NGRAMS, rows, rarity, targets)
    names = [str(i) for i in range(120)]
    taught = LearntExamples(names, texts, rows, fitted.duals, targets)
    for label in range(len(labels)):
        told = explained(fitted.student, f"Alpha, beta w1 w2 {topics[label]}", label, taught, most=4)
        assert told["score"] == pytest.approx(
            fitted.student.scores(array([f"Alpha, beta w1 w2 {topics[label]}"]))[0, label]
        )
        for what in ("ngrams", "examples"):
            assert len(told[what]) == 4
            added = [entry["added"] for entry in told[what]]
            assert sum(added) + told[f"other_{what}"] == pytest.approx(told["score"], abs=1e-6)
            assert added == sorted(added, key=lambda value: -abs(value))
        best = max(told["ngrams"], key=lambda entry: entry["added"])
        assert topics[label] in best["ngram"]
        helps = [entry for entry in told["examples"] if entry["added"] > 0]
        assert all(entry["target"] == 1.0 and topics[label] in entry["excerpt"] for entry in helps[:1])
