r"""The fastText student: a fastText model of one-vs-all labels on lower-cased words and punctuation.

The fasttext library reads the model too, and scores lines such as `lines_of` writes as this does:
`" ".join(re.findall(r"\w+|[^\w\s]+", text.lower()))`, in scripts without spaces each letter being a word.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote, unquote

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from gristmill.operators.fasttext.classifier import TEXTS_AT_A_TIME, Classifier
from gristmill.operators.kernels.buffers import text_buffers
from gristmill.operators.kernels.fasttext import LABEL_PREFIX
from gristmill.operators.kernels.wordpunct import WRITTEN_BYTES, characters, write_tokens
from gristmill.operators.student.features import Floats
from gristmill.operators.student.linear import Kind

#: Score of a label that no line had in training: as good as never.
UNSEEN = -20.0
_SEPARATOR = re.compile(r"[%\s\0]")


class Lines(NamedTuple):
    """Texts (n) as fastText reads them, one line each."""

    data: NDArray[np.uint8]
    starts: NDArray[np.int64]  #: (n + 1)


class FastTextStudent:
    """Scores of labels by a fastText model of one-vs-all loss, which are log odds of each label."""

    exclusive = True

    def __init__(self, path: Path, kind: Kind, labels: Sequence[str]) -> None:
        """Map the model at `path`, whose labels are in the order of `labels`; raise RecipeError where it is none."""
        self.kind, self.labels = kind, tuple(labels)
        classifier = Classifier(path)
        names = [unquote(name.removeprefix(LABEL_PREFIX.decode())) for name in classifier.labels]
        self._places = np.array([self.labels.index(name) for name in names])
        self._scores = classifier.scores()

    def scores(self, texts: pa.LargeStringArray) -> Floats:
        """Return the scores (n, labels) of texts (n)."""
        scores = np.full((len(texts), len(self.labels)), UNSEEN)
        for first, lines in lines_of(texts):
            scores[first : first + len(lines.starts) - 1, self._places] = self._scores(*lines)
        return scores


def lines_of(texts: pa.LargeStringArray) -> Iterator[tuple[int, Lines]]:
    """Yield the lines of texts some at a time, each time the number of the first."""
    data, offsets = text_buffers(texts)
    for first in range(0, len(texts), TEXTS_AT_A_TIME):
        some = offsets[first : first + TEXTS_AT_A_TIME + 1]
        written, starts = np.empty(WRITTEN_BYTES * int(some[-1] - some[0]), np.uint8), np.empty(len(some), np.int64)
        write_tokens(data, some, characters(like_re=False), written, starts)
        for array in (written, starts):
            array.flags.writeable = False  # as the kernels are compiled for them
        yield first, Lines(written, starts)


def label_word(label: str) -> str:
    """Return the word that stands for a label in a line of training."""
    return LABEL_PREFIX.decode() + _SEPARATOR.sub(lambda found: quote(found[0], safe=""), label)
