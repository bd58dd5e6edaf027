"""Labels that are probably wrong: planted errors, the noise that made them, cleanlab on the same texts."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray

from gristmill.operators.student.features import Ngrams
from gristmill.operators.student.label_errors import (
    FOLDS,
    LabelErrors,
    TextRows,
    find_label_errors,
    folds_of,
    tree_distances,
)
from tests.pipelines.train.topics import TOPICS, text_on

NGRAMS = Ngrams(2, 1 << 16)


def flipped(truth: NDArray[np.int64], noise: NDArray[np.float64], seed: int = 0) -> NDArray[np.int64]:
    draw = np.random.default_rng(seed)
    return np.array([draw.choice(len(noise), p=noise[label]) for label in truth])


def precision_at(suspicion: NDArray[np.float64], wrong: NDArray[np.bool_], recall: float) -> float:
    order = np.argsort(-suspicion, kind="stable")
    found = np.cumsum(wrong[order])
    taken = int(np.searchsorted(found, np.ceil(recall * wrong.sum()))) + 1
    return float(found[taken - 1] / taken)


@pytest.fixture(scope="module")
def corpus() -> tuple[pa.LargeStringArray, NDArray[np.int64]]:
    draw = random.Random(0)
    truth = np.array([draw.randrange(3) for _ in range(900)])
    texts = [text_on([*TOPICS][label], draw, 40, 0.12) for label in truth]
    return pa.array(texts, pa.large_string()), truth


def errors_of(
    texts: pa.LargeStringArray, given: NDArray[np.int64], known: NDArray[np.bool_] | None = None
) -> LabelErrors:
    return find_label_errors(TextRows.of(texts, NGRAMS), np.eye(3)[given], folds_of(np.arange(len(given))), known)


NOISE = np.array([[0.7, 0.3, 0.0], [0.05, 0.9, 0.05], [0.0, 0.1, 0.9]])


def test_planted_errors_and_their_noise_are_found(corpus: tuple[pa.LargeStringArray, NDArray[np.int64]]) -> None:
    texts, truth = corpus
    given = flipped(truth, NOISE)
    errors = errors_of(texts, given)
    wrong = errors.wrong(np.eye(3)[given])
    assert wrong.mean() == pytest.approx((given != truth).mean(), abs=0.03)
    assert precision_at(wrong, given != truth, 0.9) > 0.9
    assert np.abs(errors.noise - NOISE).max() < 0.08
    assert (errors.probable.argmax(axis=1) == truth).mean() > 0.97 > (given == truth).mean()
    assert errors.probable.sum(axis=1) == pytest.approx(1)


def test_where_nothing_is_wrong_nothing_is_found(corpus: tuple[pa.LargeStringArray, NDArray[np.int64]]) -> None:
    texts, truth = corpus
    assert errors_of(texts, truth).wrong(np.eye(3)[truth]).mean() < 0.01


def test_what_is_known_to_be_right_stays(corpus: tuple[pa.LargeStringArray, NDArray[np.int64]]) -> None:
    texts, truth = corpus
    given = flipped(truth, NOISE)
    known = np.random.default_rng(1).random(len(given)) < 0.3
    errors = errors_of(texts, np.where(known, (truth + 1) % 3, given), known)
    assert (errors.probable[known].argmax(axis=1) == (truth[known] + 1) % 3).all()
    assert errors.wrong(np.eye(3)[(truth + 1) % 3])[known].max() == 0


def test_the_same_texts_give_the_same_bits(corpus: tuple[pa.LargeStringArray, NDArray[np.int64]]) -> None:
    texts, truth = corpus
    given = flipped(truth, NOISE)
    assert (errors_of(texts, given).probable == errors_of(texts, given).probable).all()


def test_soft_labels_count_by_how_sure_they_are(corpus: tuple[pa.LargeStringArray, NDArray[np.int64]]) -> None:
    texts, truth = corpus
    given = flipped(truth, NOISE)
    wrong = given != truth
    sure = np.eye(3)[given]
    doubtful = np.where(wrong[:, None], 0.45 * sure + 0.55 / 3, sure)
    folds = folds_of(np.arange(len(given)))
    rows = TextRows.of(texts, NGRAMS)
    by_sure, by_doubtful = (find_label_errors(rows, soft, folds) for soft in (sure, doubtful))
    right = np.eye(3)[truth].astype(bool)
    assert by_doubtful.probable[right][wrong].mean() > by_sure.probable[right][wrong].mean()


def test_copies_are_in_one_fold() -> None:
    clusters = np.array([0, 1, 0, 3, 1, 5, 6, 7, 8, 0])
    folds = folds_of(clusters)
    assert all(len({*folds[clusters == cluster].tolist()}) == 1 for cluster in clusters)
    assert {*folds.tolist()} == {*range(FOLDS)}


def test_labels_with_slashes_are_places_in_a_tree() -> None:
    distances = tree_distances(["sport/football", "sport/golf", "law", "sport"])
    assert distances[0].tolist() == [0, 0.5, 1, 0.5]
    assert (distances == distances.T).all()
    assert tree_distances(["a", "b"]).tolist() == [[0, 1], [1, 0]]


@pytest.mark.slow
def test_planted_errors_in_real_texts_are_found(shared_data: Path) -> None:
    table = pq.read_table(shared_data / "labelled" / "agnews_train.parquet")
    texts, truth = table["text"].cast(pa.large_string()).combine_chunks(), table["label"].to_numpy()
    twin = np.full((4, 4), 0.01)  # 8 % of each label is given as another, three quarters of them as its twin
    for label, other in ((0, 1), (1, 0), (2, 3), (3, 2)):
        twin[label, other] = 0.06
    np.fill_diagonal(twin, 0)
    np.fill_diagonal(twin, 1 - twin.sum(axis=1))
    given = flipped(truth, twin)
    rows = TextRows.of(texts, Ngrams(2, 1 << 18))
    errors = find_label_errors(rows, np.eye(4)[given], folds_of(np.arange(len(given))))
    assert precision_at(errors.wrong(np.eye(4)[given]), given != truth, 0.75) > 0.62


@pytest.mark.peers
def test_the_ranking_is_no_worse_than_that_of_cleanlab(shared_data: Path) -> None:
    rank = pytest.importorskip("cleanlab.rank", reason="pip install cleanlab")
    table = pq.read_table(shared_data / "labelled" / "agnews_train.parquet")
    texts, truth = table["text"].cast(pa.large_string()).combine_chunks(), table["label"].to_numpy()
    given = flipped(truth, np.eye(4) * 0.9 + np.roll(np.eye(4), 1, axis=1) * 0.08 + 0.005)
    rows = TextRows.of(texts, Ngrams(2, 1 << 18))
    errors = find_label_errors(rows, np.eye(4)[given], folds_of(np.arange(len(given))))
    ours = precision_at(errors.wrong(np.eye(4)[given]), given != truth, 0.75)
    for method in ("self_confidence", "normalized_margin", "confidence_weighted_entropy"):
        quality = rank.get_label_quality_scores(given, errors.expected, method=method)
        assert ours >= precision_at(-quality, given != truth, 0.75) - 0.005
