"""Training of a quality classifier: documents of two kinds in, a fastText model and a report on held-out documents out.

Documents are distinguished by the line that fastText sees of them. A hash of (seed, line) decides which are held out
and in which order the others are learnt, so the same documents give the same model, byte for byte, in any files and
order. They are held in memory: train on a sample of a large corpus.
"""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from gristmill.operators.columns import ID, TEXT
from gristmill.operators.errors import RecipeError
from gristmill.operators.fasttext.classifier import Classifier
from gristmill.operators.kernels.fasttext import END_OF_LINE, LABEL_PREFIX
from gristmill.pipelines.sources.read import read_documents
from gristmill.pipelines.storage import files
from gristmill.pipelines.train.evaluation import reliability_rows
from gristmill.pipelines.train.fasttext import TrainingArguments, train_model
from gristmill.pipelines.train.report import (
    Mistake,
    SideCounts,
    TrainReport,
    average_precision,
    confident_mistakes,
    markdown,
    roc_auc,
    threshold_rows,
)

#: Called as read(paths, text=..., id=...): batches with columns `id` and `text`.
ReadDocuments = Callable[..., Iterator[pa.RecordBatch]]

HIGH_QUALITY, LOW_QUALITY = "__label__hq", "__label__lq"
EXCERPT = 200  # characters

_SPACES = bytes.maketrans(b"\n\r\t\v\f\0", b"      ")


@dataclass(frozen=True)
class TrainingText:
    """Document to learn from or to test with."""

    key: bytes  #: hash of (seed, line)
    id: str
    line: bytes  #: its text as fastText sees it, UTF-8


@dataclass(frozen=True)
class Side:
    """Documents of one kind, in the order of their keys."""

    label: str
    train: list[TrainingText]
    test: list[TrainingText]
    duplicates: int
    empty: int

    def counts(self) -> SideCounts:
        """Return the numbers of documents learnt, held out and left out."""
        return SideCounts(self.label, len(self.train), len(self.test), self.duplicates, self.empty)


def train_quality(
    positive: Sequence[str],
    negative: Sequence[str],
    out: str,
    *,
    text: str = TEXT,
    id: str | None = ID,
    dim: int = 32,
    word_ngrams: int = 2,
    epochs: int = 5,
    learning_rate: float = 0.5,
    min_count: int = 3,
    buckets: int = 500_000,
    holdout: float = 0.1,
    seed: int = 0,
    threads: int = 1,
    positive_label: str = HIGH_QUALITY,
    negative_label: str = LOW_QUALITY,
    read: ReadDocuments = read_documents,
) -> TrainReport:
    """Train a classifier; write it to `out`, its report to `out`.report.json and `out`.report.md.

    positive, negative: paths, globs or URLs of the documents of each kind; text, id: their fields. holdout: the share
    of documents that are not learnt from and that the report is about. threads: with more than one fastText is faster,
    and gives another model each time. The other numbers are fastText's. `read` reads documents.

    fastText's own defaults are a learning rate of 0.1, which underfits small sets, and 100 dimensions with 2 million
    buckets: 800 MB that made no classifier better.

    Raises RecipeError where a path matches nothing, a side is empty or too small to be split, a document is on both
    sides, a number is out of range, or fastText cannot learn from the documents, at lower rates either.
    """
    arguments = TrainingArguments(dim, word_ngrams, epochs, learning_rate, min_count, buckets, seed, threads)
    _check(positive_label, negative_label, holdout)
    good, bad = (
        _read_side(name, paths, label, text, id, holdout, seed, read)
        for name, paths, label in (("positive", positive, positive_label), ("negative", negative, negative_label))
    )
    _refuse_shared(good, bad)
    with tempfile.TemporaryDirectory(prefix="gristmill-train-") as folder:
        lines, model = Path(folder, "train.txt"), Path(folder, "model.bin")
        _write_lines(lines, good, bad)
        trained = train_model(lines, model, arguments)
        report = _report(out, model, trained, good, bad)
        if trained != arguments:
            report = replace(report, asked_rate=learning_rate)
        files.write_json(f"{out}.report.json", report.as_json())
        files.write_bytes(f"{out}.report.md", markdown(report).encode())
        with open(model, "rb") as source, files.replacing(out) as target:
            shutil.copyfileobj(source, target)
    return report


def one_line(text: bytes) -> bytes:
    """Return a text as fastText scores it: one line, up to an end-of-line token, without words that are labels.

    Training would otherwise read such words as the document's labels.
    """
    line = text.translate(_SPACES)
    if END_OF_LINE in line or LABEL_PREFIX in line:
        words = line.split()
        words = words[: words.index(END_OF_LINE)] if END_OF_LINE in words else words
        line = b" ".join(word for word in words if not word.startswith(LABEL_PREFIX))
    return line.strip()


def _check(positive_label: str, negative_label: str, holdout: float) -> None:
    prefix = LABEL_PREFIX.decode()
    for label in (positive_label, negative_label):
        if not label.startswith(prefix) or label.split() != [label]:
            raise RecipeError(f"label {label!r} is not a word that begins with {prefix}, as {HIGH_QUALITY} does")
    if positive_label == negative_label:
        raise RecipeError(f"both kinds of documents have the label {positive_label}; give them two")
    if not 0 < holdout < 1:
        raise RecipeError(f"holdout is {holdout}; it is a share of the documents, such as 0.1")


def _read_side(
    name: str,
    paths: Sequence[str],
    label: str,
    text: str,
    id: str | None,
    holdout: float,
    seed: int,
    read: ReadDocuments,
) -> Side:
    examples: dict[bytes, TrainingText] = {}
    documents = empty = 0
    for batch in read(list(paths), text=text, id=id):
        contents = pc.cast(batch.column(TEXT), pa.large_binary()).to_pylist()
        for own_id, content in zip(batch.column(ID).to_pylist(), contents, strict=True):
            documents += 1
            line = one_line(content or b"")
            if not line:
                empty += 1
                continue
            key = hashlib.blake2b(line, digest_size=16, salt=seed.to_bytes(8, "little", signed=True)).digest()
            examples.setdefault(key, TrainingText(key, own_id or key.hex()[:12], line))
    limit = round(holdout * 2**64)
    texts = sorted(examples.values(), key=lambda example: example.key)
    test = [example for example in texts if int.from_bytes(example.key[:8], "big") < limit]
    train = texts[len(test) :]
    if not train or not test:
        raise RecipeError(
            f"{name} documents ({', '.join(paths)}): {len(texts)} different ones that are not empty, which leaves "
            f"{len(train)} to learn from and {len(test)} to hold out; give more documents"
            + (", or hold out a larger share" if train else "")
        )
    return Side(label, train, test, documents - empty - len(texts), empty)


def _refuse_shared(good: Side, bad: Side) -> None:
    """Raise RecipeError if a document is on both sides: it would teach and test both answers."""
    positives = {example.key: example.id for example in (*good.train, *good.test)}
    shared = [(positives[example.key], example.id) for example in (*bad.train, *bad.test) if example.key in positives]
    if shared:
        shown = "; ".join(f"{own} and {other}" for own, other in shared[:3])
        raise RecipeError(
            f"{len(shared)} documents are both positive and negative, such as {shown}; take them out of one side"
        )


def _write_lines(path: Path, good: Side, bad: Side) -> None:
    """Write the training file. Keys are random, so their order mixes the sides, as gradient descent needs."""
    labelled = [(example, side.label.encode()) for side in (good, bad) for example in side.train]
    with open(path, "wb") as file:
        for example, label in sorted(labelled, key=lambda pair: pair[0].key):
            file.write(label + b" " + example.line + b"\n")


def _report(out: str, model: Path, arguments: TrainingArguments, good: Side, bad: Side) -> TrainReport:
    classifier = Classifier(model)
    if classifier.model.dictionary.words == 0:
        raise RecipeError(f"no word occurs {arguments.min_count} times in the documents; lower min_count")
    score = classifier.probability(good.label)
    scores = []
    candidates = []
    for side in (good, bad):
        lines = pa.array([example.line for example in side.test], pa.large_binary()).cast(pa.large_string())
        # A document for which fastText predicts nothing is not taken.
        scores.append(np.asarray(pc.fill_null(score(lines), 0.0)))
        for example, probability in zip(side.test, scores[-1].tolist(), strict=True):
            excerpt = " ".join(example.line[: 4 * EXCERPT].decode(errors="ignore").split())[:EXCERPT]
            candidates.append(Mistake(example.id, side.label, round(probability, 6), excerpt))
    is_good = np.repeat([1.0, 0.0], [len(of_side) for of_side in scores])
    return TrainReport(
        model=out,
        arguments=asdict(arguments),
        positive=good.counts(),
        negative=bad.counts(),
        auc=roc_auc(*scores),
        average_precision=average_precision(*scores),
        length_auc=roc_auc(*(np.array([len(example.line) for example in side.test]) for side in (good, bad))),
        thresholds=threshold_rows(*scores),
        mistakes=confident_mistakes(candidates, good.label),
        reliability=tuple(reliability_rows(np.concatenate(scores), is_good)),
    )
