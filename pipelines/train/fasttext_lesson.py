"""The lesson of the fastText student: soft labels as lines that fastText learns from, one label each."""

from __future__ import annotations

import math
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gristmill.operators.kernels.fasttext import LABEL_PREFIX
from gristmill.operators.student.fasttext import FastTextStudent, label_word, lines_of
from gristmill.operators.student.features import Ngrams
from gristmill.pipelines.storage import files
from gristmill.pipelines.train.explained_scores import EXAMPLES
from gristmill.pipelines.train.fasttext import TrainingArguments, train_model
from gristmill.pipelines.train.lessons import Lesson

#: Lines of an example, whose labels are as frequent among them as its soft label says.
DRAWS = 5
#: How often each line is learnt at least, and how many lines are: of few examples each more often.
_EPOCHS, _LEAST_LINES = 3, 100_000
_DIM = 16


class FastTextFit(NamedTuple):
    """A fastText student, and the file and arguments of its training."""

    student: FastTextStudent
    model: Path
    trained: TrainingArguments


@dataclass(frozen=True)
class FastTextLesson(Lesson[FastTextFit]):
    """Lesson of the fastText student. The scores of one-vs-all losses are what calibration expects."""

    settings: ClassVar[Sequence[float]] = (0.2, 0.5, 1.0)  # learning rates at the start

    ngrams: Ngrams
    seed: int
    folder: Path  #: of files that are gone after the training

    @cached_property
    def lines(self) -> list[bytes]:
        """Return the texts (n) as fastText reads them, without words that it would take for labels."""
        found = []
        for _, (data, starts) in lines_of(self.parts.examples.texts):
            content = data[: starts[-1]].tobytes()
            found += [content[start:end] for start, end in zip(starts[:-1].tolist(), starts[1:].tolist(), strict=True)]
        return [_without_labels(line) if LABEL_PREFIX in line else line for line in found]

    def fit(self, which: NDArray[np.int64], setting: float, start: FastTextFit | None = None) -> FastTextFit:
        """Return the student of some of the examples, learnt at a rate."""
        examples, draw = self.parts.examples, np.random.default_rng(self.seed)
        importances = self.importances(which)
        counts = np.full(len(which), float(DRAWS)) if importances is None else DRAWS * importances[:, 0]
        drawn = drawn_labels(examples.targets[which], counts, draw)
        words = [label_word(label).encode() for label in examples.labels]
        taught, model = (Path(tempfile.mkstemp(dir=self.folder)[1]) for _ in range(2))
        with open(taught, "wb") as file:
            for place, label in drawn.tolist():
                file.write(words[label] + b" " + self.lines[which[place]] + b"\n")
        epochs = max(_EPOCHS, math.ceil(_LEAST_LINES / len(drawn)))
        size = (_DIM, self.ngrams.order, epochs, setting, 1, self.ngrams.buckets)
        trained = train_model(taught, model, TrainingArguments(*size, self.seed % 2**31, 1, "ova"))
        taught.unlink()
        return FastTextFit(FastTextStudent(model, examples.kind, examples.labels), model, trained)

    def write(self, out: str, taught: FastTextFit) -> None:
        """Write the model; examples that a linear student of that name learnt from are gone."""
        if files.exists(out + EXAMPLES):
            files.remove_file(out + EXAMPLES)
        with open(taught.model, "rb") as model, files.replacing(out) as file:
            shutil.copyfileobj(model, file)

    def told(self, setting: float, taught: FastTextFit) -> dict[str, Any]:
        """Return the arguments of the training."""
        return {"training": asdict(taught.trained), "order": self.ngrams.order}

    def beside_calibration(self) -> Mapping[str, Any]:
        """Return what the labels are and their order, which the model does not tell."""
        return {"fasttext": {"kind": self.parts.examples.kind, "labels": list(self.parts.examples.labels)}}


def drawn_labels(
    targets: NDArray[np.float64], counts: NDArray[np.float64], draw: np.random.Generator
) -> NDArray[np.int64]:
    """Return lines (examples, labels: two columns) in random order, by soft targets (n, labels) and lines wanted (n).

    Of each example about as many as wanted, one at least, with labels drawn systematically: each is as frequent among
    them as its probability, but for one line.
    """
    n = len(targets)
    numbers = np.maximum(1, np.floor(counts + draw.random(n))).astype(np.int64)
    of_line = np.repeat(np.arange(n), numbers)
    place = np.arange(len(of_line)) - np.repeat(np.cumsum(numbers) - numbers, numbers)
    at = (place + draw.random(n)[of_line]) / numbers[of_line]
    upper = np.cumsum(targets, axis=1)[of_line]
    labels = (at[:, None] * upper[:, -1:] >= upper[:, :-1]).sum(axis=1)
    order = draw.permutation(len(of_line))
    return np.stack([of_line[order], labels[order]], axis=1)


def _without_labels(line: bytes) -> bytes:
    return b" ".join(word for word in line.split(b" ") if not word.startswith(LABEL_PREFIX))
