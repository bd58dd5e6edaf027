"""`gristmill labels audit`: texts whose labels are probably wrong, why, and which to ask about again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from gristmill.operators.errors import RecipeError
from gristmill.operators.student.features import Floats, Ngrams, SparseRows
from gristmill.operators.student.label_errors import (
    LabelErrors,
    TextRows,
    find_label_errors,
    folds_of,
    tree_distances,
)
from gristmill.operators.student.linear import scores_of_rows
from gristmill.pipelines.config.wording import excerpt
from gristmill.pipelines.progress.reporter import Reporter
from gristmill.pipelines.storage import files
from gristmill.pipelines.train.split import Examples, near_copies
from gristmill.pipelines.train.student_report import table_lines

#: From this probability on a label is suspected: it is more probably wrong than right.
SUSPECTED = 0.5
NEIGHBOURS = 5
_NGRAMS = Ngrams(2, 1 << 18)
_LEAST_TEXTS = 50
_SHOWN = 200  # texts on the page
_EXCERPT = 600  # characters of each
_CONFUSIONS = 10
_AT_ONCE = 32  # texts whose neighbours are sought together: a dense row of all n-grams each


class Audit(NamedTuple):
    """The texts whose labels are suspected, the most suspected first, and a report."""

    table: pa.Table  #: id, answer, suggested, wrong, fix, reasons, text
    report: dict[str, Any]
    again: list[str]  #: ids to ask about again, within the budget


class _Suspicion(NamedTuple):
    """Suspicion about the label of each text (n)."""

    answer: Sequence[str]
    suggested: Sequence[str]
    wrong: Floats  #: probability that the answer is not right
    fix: Floats  #: expected distance from the answer to the right one
    rank: Floats  #: larger is reviewed sooner
    reasons: Sequence[Sequence[str]]
    errors: LabelErrors | None


def audit(examples: Examples, reporter: Reporter, budget: int = 0) -> Audit:
    """Return what is suspected of labels: see `label_errors`. Gold is right.

    Texts are ranked by the probability that their label is wrong; of a scale by the distance of the label from the
    expected number, over its uncertainty. `budget` texts are to be asked about again: those of which most is expected
    to be mended, by the distance of labels. Raises RecipeError where there are too few texts or labels.
    """
    if len(examples.ids) < _LEAST_TEXTS or len(examples.labels) < 2:
        raise RecipeError(
            f"there are {len(examples.ids)} texts with {len(examples.labels)} labels; an audit needs {_LEAST_TEXTS} "
            "texts or more, and two labels"
        )
    folds, texts = folds_of(near_copies(examples.texts)), TextRows.of(examples.texts, _NGRAMS)
    questions = 1 if examples.exclusive else len(_two_sided(examples))
    with reporter.stage("labels", questions * texts.steps, "fold") as stage:
        suspicion = (_of_labels if examples.exclusive else _of_several)(examples, texts, folds, stage.advance)
    known = np.zeros(len(examples.ids), np.bool_) if examples.is_gold is None else examples.is_gold
    wrong = np.where(known, 0.0, suspicion.wrong)
    suspected = np.flatnonzero(wrong > SUSPECTED)
    suspected = suspected[np.argsort(-suspicion.rank[suspected], kind="stable")]
    near = _nearest(examples, texts, suspicion, suspected)
    notes = examples.notes or [""] * len(examples.ids)
    reasons = [
        [*suspicion.reasons[i], near_by, *([f"its annotators: {notes[i]}"] if notes[i] else [])]
        for i, near_by in zip(suspected.tolist(), near, strict=True)
    ]
    table = pa.table(
        {
            "id": [examples.ids[i] for i in suspected.tolist()],
            "answer": [suspicion.answer[i] for i in suspected.tolist()],
            "suggested": [suspicion.suggested[i] for i in suspected.tolist()],
            "wrong": pa.array(wrong[suspected], pa.float32()),
            "fix": pa.array(suspicion.fix[suspected], pa.float32()),
            "reasons": pa.array(reasons, pa.list_(pa.string())),
            "text": examples.texts.take(pa.array(suspected)),
        }
    )
    fixes = np.where(known, 0.0, suspicion.fix)
    again = np.argsort(-fixes, kind="stable")[:budget]
    report = {
        "texts": len(examples.ids),
        "gold": int(known.sum()),
        "suspected": len(suspected),
        "wrong": float(wrong.mean()),
        "confusions": _confusions(examples, suspicion.errors),
        "budget": {"texts": len(again), "fixes": float(fixes[again].sum()), "of": float(fixes.sum())},
    }
    return Audit(table, report, [examples.ids[i] for i in again.tolist()])


def _of_labels(
    examples: Examples, texts: TextRows, folds: NDArray[np.int64], advance: Callable[[], object]
) -> _Suspicion:
    """Return what is suspected of labels that exclude each other."""
    errors = find_label_errors(texts, examples.targets, folds, examples.is_gold, advance)
    labels, given = examples.labels, examples.targets.argmax(axis=1)
    others = errors.probable.copy()
    others[np.arange(len(given)), given] = -1
    suggested = others.argmax(axis=1)
    wrong = errors.wrong(examples.targets)
    if examples.kind == "scale":
        numbers = np.array([float(label) for label in labels])
        distances = np.abs(numbers[:, None] - numbers) / (numbers[-1] - numbers[0])
        expected = errors.expected @ numbers
        spread = np.sqrt(np.maximum(errors.expected @ numbers**2 - expected**2, 1e-9))
        rank = np.abs(numbers[given] - expected) / spread
        told = [f"by its words {e:.1f}, give or take {s:.1f}" for e, s in zip(expected, spread, strict=True)]
    else:
        distances, rank = tree_distances(labels), wrong
        best = errors.expected.max(axis=1)
        told = [
            f"by its words {labels[i]} ({share:.0%})"
            for i, share in zip(errors.expected.argmax(axis=1), best, strict=True)
        ]
    reasons = [
        [by_words, f"{labels[s]} is called {labels[g]} {errors.noise[s, g]:.0%} of the time"]
        for by_words, s, g in zip(told, suggested, given, strict=True)
    ]
    fix = (errors.probable * distances[given]).sum(axis=1)
    names = [[labels[i] for i in side] for side in (given, suggested)]
    return _Suspicion(names[0], names[1], wrong, fix, rank, reasons, errors)


def _of_several(
    examples: Examples, texts: TextRows, folds: NDArray[np.int64], advance: Callable[[], object]
) -> _Suspicion:
    """Return what is suspected of answers of several labels: of each text the label that is most doubtful."""
    fits = examples.targets >= 0.5
    wrong = np.zeros(fits.shape)
    for label in _two_sided(examples):
        targets = np.stack([1 - examples.targets[:, label], examples.targets[:, label]], axis=1)
        wrong[:, label] = find_label_errors(texts, targets, folds, examples.is_gold, advance).wrong(targets)
    worst = wrong.argmax(axis=1)
    other = fits.copy()
    other[np.arange(len(fits)), worst] ^= True
    names = np.array(examples.labels)
    answers, suggested = ([", ".join(names[row]) or "(none)" for row in side] for side in (fits, other))
    reasons = [
        [f"by its words {examples.labels[i]} {'does not fit' if fit[i] else 'fits'}"]
        for i, fit in zip(worst.tolist(), fits, strict=True)
    ]
    most = wrong.max(axis=1)
    return _Suspicion(answers, suggested, most, wrong.sum(axis=1), most, reasons, None)


def _two_sided(examples: Examples) -> list[int]:
    """Return the numbers of the labels that fit some texts and not others."""
    share = (examples.targets >= 0.5).mean(axis=0)
    return np.flatnonzero((share > 0) & (share < 1)).tolist()


def _nearest(examples: Examples, texts: TextRows, suspicion: _Suspicion, suspected: NDArray[np.int64]) -> list[str]:
    """Return for each suspected text what the texts with most words in common are called."""
    rows, found = texts.rows[1], []
    for start in range(0, len(suspected), _AT_ONCE):
        some = suspected[start : start + _AT_ONCE]
        likeness = _likeness(rows, some, texts.buckets)
        likeness[some, np.arange(len(some))] = -1
        for column in range(len(some)):
            nearest = np.argsort(-likeness[:, column], kind="stable")[:NEIGHBOURS]
            called = Counter(suspicion.answer[i] for i in nearest.tolist())
            counts = ", ".join(f"{n} {answer}" for answer, n in called.most_common())
            found.append(f"the nearest texts are {counts}, the first of them {examples.ids[int(nearest[0])]}")
    return found


def _likeness(rows: SparseRows, some: NDArray[np.int64], buckets: int) -> Floats:
    """Return the cosines (n, len(some)) of all rows with some of them; the constant is left out."""
    dense = np.zeros((len(some), buckets + 1))
    for k, i in enumerate(some.tolist()):
        here = slice(rows.starts[i], rows.starts[i + 1] - 1)
        dense[k, rows.columns[here]] = rows.values[here]
    return scores_of_rows(rows, dense)


def _confusions(examples: Examples, errors: LabelErrors | None) -> list[dict[str, Any]]:
    """Return the kinds of errors that take most texts."""
    if errors is None:
        return []
    shares = errors.probable.sum(axis=0)[:, None] * errors.noise
    np.fill_diagonal(shares, 0)
    pairs = [np.unravel_index(i, shares.shape) for i in np.argsort(-shares, axis=None, kind="stable")[:_CONFUSIONS]]
    return [
        {
            "label": examples.labels[int(right)],
            "given_as": examples.labels[int(given)],
            "share": float(errors.noise[right, given]),
            "texts": float(shares[right, given]),
        }
        for right, given in pairs
        if shares[right, given] >= 0.5
    ]


def write_audit(found: Audit, out: str) -> None:
    """Write the review list as Parquet, the page to read beside it, and ids to ask about again where there are some."""
    with files.replacing(out) as file:
        pq.write_table(found.table, file, compression="zstd")
    files.write_bytes(page_of(out), page(found).encode())
    if found.again:
        files.write_bytes(ids_of(out), "".join(f"{id}\n" for id in found.again).encode())


def check_name(out: str) -> None:
    """Raise RecipeError for the name of a review list that does not end in .parquet."""
    if not out.endswith(".parquet"):
        raise RecipeError(f"--out {out}: the review list is written as Parquet; end the name in .parquet")


def page_of(out: str) -> str:
    """Return the path of the page beside a review list."""
    return out.removesuffix(".parquet") + ".md"


def ids_of(out: str) -> str:
    """Return the path of the ids to ask about again, for `sample: {import: FILE}`."""
    return out.removesuffix(".parquet") + ".ids.txt"


def summary(report: Mapping[str, Any]) -> list[str]:
    """Return what a report comes to, in sentences."""
    gold = f", {report['gold']:,} of them gold" if report["gold"] else ""
    told = [
        f"{report['suspected']:,} of {report['texts']:,} labels{gold} are more probably wrong than right; about "
        f"{report['wrong']:.1%} of all are wrong"
    ]
    if budget := report["budget"]["texts"]:
        share = report["budget"]["fixes"] / max(report["budget"]["of"], 1e-9)
        told.append(f"asking again about {budget:,} texts is expected to find {share:.0%} of what is to be mended")
    return told


def confusion_rows(report: Mapping[str, Any]) -> list[list[str]]:
    """Return the kinds of errors as rows of text: right label, given as, how often, texts."""
    return [
        [row["label"], row["given_as"], f"{row['share']:.1%}", f"{row['texts']:,.0f}"] for row in report["confusions"]
    ]


def page(found: Audit) -> str:
    """Return a page in Markdown: the summary, and the most suspected texts with the reasons beside them."""
    lines = ["# Suspected labels", "", *(f"- {sentence}." for sentence in summary(found.report))]
    if found.report["confusions"]:
        heads = ["label", "given as", "how often", "texts"]
        rows = [[_plain(cell) for cell in row] for row in confusion_rows(found.report)]
        lines += ["", "## Kinds of errors", "", *table_lines(heads, rows)]
    lines += ["", "## Texts"]
    for row in found.table.slice(0, _SHOWN).to_pylist():
        lines += ["", f"### `{_plain(row['id'])}`: {_plain(row['answer'])}, rather {_plain(row['suggested'])}", ""]
        lines += [f"- {_plain(reason)}" for reason in (f"wrong with {row['wrong']:.0%}", *row["reasons"])]
        lines += ["", "```text", excerpt(row["text"], _EXCERPT).replace("```", "'''"), "```"]
    if found.table.num_rows > _SHOWN:
        lines += ["", f"{found.table.num_rows - _SHOWN:,} more are in the Parquet file."]
    return "\n".join([*lines, ""])


def _plain(text: str) -> str:
    """Return a text on one line, in which Markdown finds no HTML."""
    return " ".join(text.split()).replace("<", "&lt;").replace("`", "'")
