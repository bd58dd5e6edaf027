"""Report on a classifier: statistics of the probabilities that it gives to held-out documents, and its mistakes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

THRESHOLDS = (0.01, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99)
#: Probability from which a document counts as positive when mistakes are listed.
EVEN_ODDS = 0.5
SHOWN_MISTAKES = 10  # of either kind
#: From this AUC on, length alone tells the kinds apart, and a classifier may have learnt nothing else.
TELLING = 0.9


@dataclass(frozen=True)
class SideCounts:
    """Numbers of documents of one kind."""

    label: str
    trained: int
    held_out: int
    duplicates: int  #: left out: the same text as another of its kind
    empty: int  #: left out: no word


@dataclass(frozen=True)
class ThresholdRow:
    """Quality of a threshold: held-out documents with at least this probability are taken."""

    threshold: float
    precision: float | None  #: share of positives among the taken; None where none is taken
    recall: float  #: share of the positives that are taken
    kept: float  #: share of all documents that are taken


@dataclass(frozen=True)
class Mistake:
    """Held-out document on the wrong side of even odds."""

    id: str
    label: str  #: its own
    probability: float  #: of the positive label
    excerpt: str


@dataclass(frozen=True)
class TrainReport:
    """Quality of a classifier on documents that it has not learnt from."""

    model: str
    arguments: dict[str, Any]
    positive: SideCounts
    negative: SideCounts
    auc: float  #: area under the ROC curve: chance that a positive scores above a negative
    average_precision: float
    length_auc: float  #: chance that a positive is longer than a negative: 0.5 where length tells nothing
    thresholds: tuple[ThresholdRow, ...]
    mistakes: tuple[Mistake, ...]  #: the most confident ones, negatives first
    reliability: tuple[Mapping[str, float], ...] = ()  #: `confidence`, share `right`, `n`: of probabilities in bins
    asked_rate: float | None = None  #: the learning rate that was asked for, where fastText did not learn with it

    def as_json(self) -> dict[str, Any]:
        """Return the report as plain lists, dicts and numbers, warnings included."""
        return asdict(self) | {"warnings": self.warnings()}

    def warnings(self) -> list[str]:
        """Return reasons to doubt the figures, and what was done otherwise than asked for, in sentences."""
        told = []
        if self.asked_rate is not None:
            rate, seed = self.arguments["learning_rate"], self.arguments["seed"]
            told.append(
                f"fastText met NaN at a learning rate of {self.asked_rate}: this model was trained at {rate}, with the "
                f"seed {seed}"
            )
        if max(self.length_auc, 1 - self.length_auc) <= TELLING:
            return told
        which, tells = ("longer", self.length_auc) if self.length_auc > 0.5 else ("shorter", 1 - self.length_auc)
        return [
            *told,
            f"length alone tells the two kinds apart: a positive document is {which} than a negative one {tells:.0%} "
            "of the time, so the model may have learnt length and little else. Give documents of like lengths on both "
            "sides, for instance those of 40 to 400 words",
        ]


def roc_auc(positives: NDArray[np.floating[Any]], negatives: NDArray[np.floating[Any]]) -> float:
    """Return the chance that a positive scores above a negative, ties counting half (Mann and Whitney 1947)."""
    ranked = np.sort(negatives)
    below = np.searchsorted(ranked, positives, "left") + np.searchsorted(ranked, positives, "right")
    return float(below.mean() / 2 / len(ranked))


def average_precision(positives: NDArray[np.floating[Any]], negatives: NDArray[np.floating[Any]]) -> float:
    """Return the mean over the positives of the precision at a threshold of their own score."""
    scores = np.sort(np.concatenate([positives, negatives]))
    totals = len(scores) - np.searchsorted(scores, positives, "left")
    right = len(positives) - np.searchsorted(np.sort(positives), positives, "left")
    return float((right / totals).mean())


def threshold_rows(
    positives: NDArray[np.floating[Any]], negatives: NDArray[np.floating[Any]]
) -> tuple[ThresholdRow, ...]:
    """Return precision, recall and kept share at each of THRESHOLDS."""
    rows = []
    for threshold in THRESHOLDS:
        right, wrong = int((positives >= threshold).sum()), int((negatives >= threshold).sum())
        precision = right / (right + wrong) if right + wrong else None
        kept_share = (right + wrong) / (len(positives) + len(negatives))
        rows.append(ThresholdRow(threshold, precision, right / len(positives), kept_share))
    return tuple(rows)


def confident_mistakes(candidates: Sequence[Mistake], positive_label: str) -> tuple[Mistake, ...]:
    """Return the negatives that score highest and the positives that score lowest, of those on the wrong side."""
    negatives = [m for m in candidates if m.label != positive_label and m.probability >= EVEN_ODDS]
    positives = [m for m in candidates if m.label == positive_label and m.probability < EVEN_ODDS]
    negatives.sort(key=lambda m: (-m.probability, m.id))
    positives.sort(key=lambda m: (m.probability, m.id))
    return (*negatives[:SHOWN_MISTAKES], *positives[:SHOWN_MISTAKES])


def markdown(report: TrainReport) -> str:
    """Return the report as a Markdown page."""
    lines = [f"# {report.model}", "", summary(report), ""]
    lines += [line for warning in report.warnings() for line in (f"**Warning**: {warning}.", "")]
    lines += ["| label | learnt | held out | duplicates | empty |", "|---|---|---|---|---|"]
    for side in (report.positive, report.negative):
        lines.append(f"| {side.label} | {side.trained} | {side.held_out} | {side.duplicates} | {side.empty} |")
    lines += ["", "| probability at least | precision | recall | kept |", "|---|---|---|---|"]
    lines += ["| " + " | ".join(cells(row)) + " |" for row in report.thresholds]
    lines += ["", "## Most confident mistakes", "", "| label | probability | id | text |", "|---|---|---|---|"]
    for mistake in report.mistakes:
        columns = (mistake.label, f"{mistake.probability:.3f}", mistake.id, mistake.excerpt)
        lines.append("| " + " | ".join(column.replace("|", "\\|") for column in columns) + " |")
    arguments = ", ".join(f"{name} {value}" for name, value in report.arguments.items())
    return "\n".join([*lines, "", f"Trained with {arguments}.", ""])


def summary(report: TrainReport) -> str:
    """Return how well the classifier tells the kinds apart, in one sentence."""
    documents = report.positive.held_out + report.negative.held_out
    return (
        f"AUC {report.auc:.4f}, average precision {report.average_precision:.4f} on {documents:,} held-out documents; "
        f"by length alone the AUC would be {max(report.length_auc, 1 - report.length_auc):.2f}"
    )


def cells(row: ThresholdRow) -> list[str]:
    """Return a row of thresholds as text."""
    precision = "" if row.precision is None else f"{row.precision:.3f}"
    return [f"{row.threshold:.2f}", precision, f"{row.recall:.3f}", f"{row.kept:.3f}"]
