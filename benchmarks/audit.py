"""`gristmill labels audit` on real texts with planted errors, beside cleanlab on the same predictions.

    python -m benchmarks.audit

8 % of the labels of the train parts of AG News and IMDB are flipped by a class-dependent pattern (AG News: 80 % of the
flips go to the class that is most alike; IMDB: 10 % of neg and 6 % of pos). Precision is that of the ranking where 75 %
of the flips are found; errors that the data had before count as wrong. Accuracy is that of students on the official
test part: of the right labels, of the flipped ones as they are, of the flipped ones as `distil` corrects them. The
ceiling is the precision of the same way where the models of the other folds learn from the right labels.

cleanlab 2.9 is compared where it is installed (pip install cleanlab): its rankings of the same out-of-sample
probabilities, the best of three.
"""

from __future__ import annotations

import importlib
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.common import print_table
from benchmarks.corpus import DATA
from gristmill import api
from gristmill.operators.student.features import Ngrams
from gristmill.operators.student.label_errors import LabelErrors, TextRows, find_label_errors, folds_of
from gristmill.pipelines.train.split import near_copies

SEEDS = 3
RECALL = 0.75
TWIN = {"World": "Sports", "Sports": "World", "Business": "Sci/Tech", "Sci/Tech": "Business"}


def flipped(labels: list[str], seed: int) -> list[str]:
    """Labels of which about 8 % are flipped."""
    draw, names = np.random.default_rng(seed), sorted({*labels})
    rate = {"neg": 0.10, "pos": 0.06}
    given = []
    for label in labels:
        if draw.random() < rate.get(label, 0.08):
            others = [name for name in names if name != label]
            label = TWIN[label] if label in TWIN and draw.random() < 0.8 else others[draw.integers(len(others))]
        given.append(label)
    return given


def precision(suspicion: np.ndarray, wrong: np.ndarray) -> float:
    """Precision where RECALL of what is wrong is found."""
    found = np.cumsum(wrong[np.argsort(-suspicion, kind="stable")])
    taken = int(np.searchsorted(found, np.ceil(RECALL * wrong.sum()))) + 1
    return float(found[taken - 1] / taken)


def by_cleanlab(given: np.ndarray, shares: np.ndarray, wrong: np.ndarray) -> float | None:
    """The best precision of cleanlab's rankings; None where it is not installed."""
    try:
        rank = importlib.import_module("cleanlab.rank")
    except ImportError:
        return None
    methods = ("self_confidence", "normalized_margin", "confidence_weighted_entropy")
    return max(precision(-rank.get_label_quality_scores(given, shares, method=m), wrong) for m in methods)


def ceiling(by_right: LabelErrors, noise: np.ndarray, given: np.ndarray, wrong: np.ndarray) -> float:
    """Precision by models that learnt from the right labels, with the noise that was found."""
    joint = by_right.expected * noise[:, given].T
    return precision(1 - joint[np.arange(len(given)), given] / joint.sum(axis=1), wrong)


def accuracy(folder: Path, texts: pa.Array, labels: list[str], name: str, correct: str) -> float:
    """Accuracy on the official test part of a student of labels."""
    pq.write_table(pa.table({"text": texts, "label_name": labels}), folder / "train.parquet")
    test = str(DATA / "labelled" / f"{name}_test.parquet")
    out = str(folder / "student.bin")
    report = api.distil(out, table=str(folder / "train.parquet"), test=test, label="label_name", correct=correct)
    return float(report["test"]["accuracy"])


def main() -> None:
    rows: list[list[object]] = []
    with tempfile.TemporaryDirectory() as folder:
        for name in ("agnews", "imdb"):
            table = pq.read_table(DATA / "labelled" / f"{name}_train.parquet")
            texts, right = table["text"].cast(pa.large_string()).combine_chunks(), table["label_name"].to_pylist()
            names = sorted({*right})
            folds, rows_of_texts = folds_of(near_copies(texts)), TextRows.of(texts, Ngrams(2, 1 << 18))
            truth = np.eye(len(names))[[names.index(label) for label in right]]
            by_right = find_label_errors(rows_of_texts, truth, folds)
            of_right = accuracy(Path(folder), texts, right, name, "never")
            for seed in range(SEEDS):
                labels = flipped(right, seed)
                given = np.array([names.index(label) for label in labels])
                wrong = np.array([a != b for a, b in zip(labels, right, strict=True)])
                start = time.perf_counter()
                targets = np.eye(len(names))[given]
                errors = find_label_errors(rows_of_texts, targets, folds)
                seconds = time.perf_counter() - start
                ours, peer = precision(errors.wrong(targets), wrong), by_cleanlab(given, errors.expected, wrong)
                students = [accuracy(Path(folder), texts, labels, name, correct) for correct in ("never", "auto")]
                most = ceiling(by_right, errors.noise, given, wrong)
                rows.append([name, seed, ours, "-" if peer is None else peer, most, seconds, of_right, *students])
    heads = ["data", "seed", f"precision at recall {RECALL}", "cleanlab", "ceiling", "s", "student of right labels"]
    print_table([*heads, "flipped", "corrected"], rows)


if __name__ == "__main__":
    main()
