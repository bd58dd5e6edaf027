"""The linear student: a logistic regression on hashed n-grams for each label, whose every score can be explained."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from gristmill.operators.errors import RecipeError
from gristmill.operators.kernels.linear import fit_dual, products
from gristmill.operators.student.features import Floats, Ngrams, SparseRows

#: What labels are: names; numbers whose distances mean something; or, of several labels, whether each fits.
Kind = Literal["choice", "scale", "multi"]
ROUNDS = 500
_MOST = 20.0  # of the importance of a rare example beside others
TOLERANCE = 1e-3  #: largest move of a dual in a round, beside the strength, at which the fit ends
_WIDTHS = (1, 4, 8)  # of tables that the kernel sums in registers
_METADATA, _RARITY = b"student", "rarity"


@dataclass(frozen=True)
class Student:
    """Weights of n-grams for each label. The score of a label is `sums / sqrt(n-grams) + bias`.

    Of two labels that exclude each other the second alone has weights, and the first the opposite score.
    """

    kind: Kind
    labels: tuple[str, ...]
    ngrams: Ngrams
    values: Floats  #: (labels that have weights, buckets): weight times rarity, what an occurrence of an n-gram adds
    bias: Floats  #: (labels that have weights)
    rarity: Floats  #: (buckets), by which n-grams count in the rows that it learnt from

    @property
    def exclusive(self) -> bool:
        """Return whether a text has one label: not of several that may all fit."""
        return self.kind != "multi"

    def scores(self, texts: pa.LargeStringArray) -> Floats:
        """Return the scores (n, labels) of texts (n)."""
        sums, lengths = self.ngrams.sums(texts, self._values_by_bucket)
        sums = sums[:, : len(self.bias)]
        return both_ways(sums / np.sqrt(np.maximum(lengths, 1))[:, None] + self.bias, len(self.labels))

    @cached_property
    def _values_by_bucket(self) -> NDArray[np.float32]:
        """Return the values (buckets, labels that have weights), padded by zeros to a width that is summed fast."""
        k, buckets = self.values.shape
        table = np.zeros((buckets, next((width for width in _WIDTHS if k <= width), k)), np.float32)
        table[:, :k] = self.values.T
        return table

    def to_bytes(self) -> bytes:
        """Return it as an Arrow IPC file."""
        metadata = {
            "kind": self.kind,
            "labels": list(self.labels),
            "order": self.ngrams.order,
            "buckets": self.ngrams.buckets,
            "bias": self.bias.tolist(),
        }
        columns = {str(i): row for i, row in enumerate(self.values)} | {_RARITY: self.rarity}
        table = pa.table({name: values.astype(np.float32) for name, values in columns.items()})
        table = table.replace_schema_metadata({_METADATA: json.dumps(metadata)})
        sink = pa.BufferOutputStream()
        options = pa.ipc.IpcWriteOptions(compression="zstd")
        with pa.ipc.new_file(sink, table.schema, options=options) as writer:
            writer.write_table(table)
        return bytes(sink.getvalue())

    @classmethod
    def read(cls, path: Path) -> Student:
        """Read a student; raise RecipeError where the file is something else."""
        try:
            table = pa.ipc.open_file(path.read_bytes()).read_all()
            metadata = json.loads(table.schema.metadata[_METADATA])
            labels = tuple(metadata["labels"])
            columns = {name: table[name].combine_chunks().to_numpy() for name in table.column_names}
            rarity = columns.pop(_RARITY).astype(np.float64)
            values = np.stack([*columns.values()]).astype(np.float64)
            ngrams = Ngrams(metadata["order"], metadata["buckets"])
            return cls(metadata["kind"], labels, ngrams, values, np.array(metadata["bias"]), rarity)
        except (OSError, pa.ArrowInvalid, KeyError, TypeError, ValueError) as error:
            raise RecipeError(f"{path} is no student ({error}); `gristmill distil` makes one") from None


class StudentFit(NamedTuple):
    """A student, and what each example taught it."""

    student: Student
    duals: Floats  #: (examples, labels that have weights): the weight of each example in them
    rounds: int  #: the most that a label took


def fit(
    kind: Kind,
    labels: Sequence[str],
    ngrams: Ngrams,
    rows: SparseRows,
    rarity: Floats,
    targets: Floats,
    strength: float = 1.0,
    rounds: int = ROUNDS,
    tolerance: float = TOLERANCE,
    start: Floats | None = None,
    importances: Floats | None = None,
) -> StudentFit:
    """Return the student of rows (n) and soft targets (n, labels), which add up to 1 where labels exclude each other.

    `strength` is what the log losses of all examples count beside the squares of the weights. `start` are the duals of
    a fit of the same rows with less strength, from which this one is found sooner. `importances` (n, labels) say what
    the loss of an example counts beside others, by default as much. The same arguments give the same
    student, bit for bit.
    """
    learnt = [1] if kind != "multi" and len(labels) == 2 else [*range(len(labels))]
    weights = np.zeros((len(learnt), ngrams.buckets + 1))
    duals = np.zeros((len(learnt), len(rows.starts) - 1))
    if start is not None:
        duals[:] = start.T
        of_row = np.repeat(np.arange(duals.shape[1]), np.diff(rows.starts))
        for label, of_label in enumerate(duals):
            weights[label] = np.bincount(rows.columns, rows.values * of_label[of_row], weights.shape[1])
    squares, most = rows.squares, 0
    for label, of in enumerate(learnt):
        right = np.ascontiguousarray(targets[:, of])
        costs = np.full(len(right), strength) if importances is None else strength * importances[:, of]
        took = fit_dual(*rows, squares, right, weights[label], duals[label], costs, rounds, tolerance)
        most = max(most, took)
    values = (weights[:, :-1] * rarity).astype(np.float32).astype(np.float64)
    student = Student(kind, tuple(labels), ngrams, values, weights[:, -1], rarity)
    return StudentFit(student, duals.T, most)


def balanced(targets: Floats, exclusive: bool) -> Floats:
    """Return importances (n, labels) by which all labels weigh alike, however rare, by soft targets (n, labels).

    Of labels that exclude each other an example has that of its label; of others each label that fits or does not. None
    has more than _MOST times that of another.
    """
    n, k = targets.shape
    if exclusive:
        of_label = n / (k * np.maximum(targets.sum(axis=0), 1))
        weights = np.repeat((targets @ of_label)[:, None], k, axis=1)
    else:
        fits = np.maximum(targets.sum(axis=0), 1)
        weights = targets * (n / (2 * fits)) + (1 - targets) * (n / (2 * np.maximum(n - fits, 1)))
    capped = np.minimum(weights, _MOST * weights.min(axis=0))
    importances: Floats = capped / capped.mean(axis=0)
    return importances


def both_ways(scores: Floats, labels: int) -> Floats:
    """Return scores (n, labels), of two labels from those of the second alone (n, 1)."""
    return np.concatenate([-scores, scores], axis=1) if scores.shape[1] < labels else scores


def scores_of_rows(rows: SparseRows, weights: Floats) -> Floats:
    """Return the scores (n, labels) of rows (n) by weights (labels, columns)."""
    out = np.empty((len(rows.starts) - 1, len(weights)))
    products(*rows, weights, out)
    return out


def representers(row: SparseRows, examples: SparseRows, duals: Floats, columns: int) -> Floats:
    """Return what each example (n) adds to the score of one row, by label (n, labels): its dual times their product."""
    dense = np.zeros((1, columns))
    dense[0, row.columns] = row.values
    likeness = scores_of_rows(examples, dense)
    added: Floats = duals * likeness
    return added
