"""Small fastText models of every kind, trained on made-up text, and the library's own probabilities."""

import random
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import fasttext
import numpy as np

SYLLABLES = ["ka", "lo", "mi", "ne", "ru", "ta", "ši", "žo", "ñu", "éa", "中", "文", "дом", "é", "q", "zz"]
KINDS = {
    "words": {},
    "bigrams": {"wordNgrams": 2, "bucket": 1000, "dim": 21},
    "trigrams, many labels": {"labels": 60, "wordNgrams": 3, "bucket": 5000},
    "subwords": {"minn": 2, "maxn": 4, "bucket": 2000, "wordNgrams": 2},
    "hierarchical softmax": {"labels": 37, "loss": "hs", "wordNgrams": 2, "bucket": 500},
    "hierarchical softmax, one label": {"labels": 1, "loss": "hs"},
    "one-vs-all": {"labels": 7, "loss": "ova", "wordNgrams": 2, "bucket": 1000},
    "negative sampling": {"labels": 7, "loss": "ns"},
    "quantised": {"wordNgrams": 2, "bucket": 1000, "quantize": {}},
    "quantised, pruned, norms": {
        "minn": 2, "maxn": 3, "wordNgrams": 2, "bucket": 1000, "dim": 15, "quantize": {"cutoff": 600, "qnorm": True}
    },
    "quantised, only words kept": {"wordNgrams": 2, "bucket": 300, "quantize": {"cutoff": 260}, "epoch": 0},
    "quantised, output too": {"labels": 300, "dim": 10, "quantize": {"qout": True, "qnorm": True, "dsub": 3}},
}  # fmt: skip
#: fastText 0.9.3 initialises a tenth of the input matrix for each thread and leaves the rest as malloc gave it.
THREADS = 11
_FOLDER = TemporaryDirectory(prefix="gristmill-models-")


def words_like(draw: random.Random, n: int) -> list[str]:
    """n words of one to three syllables."""
    return ["".join(draw.choices(SYLLABLES, k=draw.randint(1, 3))) for _ in range(n)]


@cache
def model_file(kind: str) -> Path:
    """A model of one of KINDS; labels are __label__0, __label__1, ..."""
    options = dict(KINDS[kind])
    labels, quantize = options.pop("labels", 2), options.pop("quantize", None)
    draw = random.Random(kind)
    topics = [words_like(draw, 12) for _ in range(labels)]
    text = Path(_FOLDER.name) / "train.txt"
    lines = []
    for i in range(max(400, 3 * labels)):
        label = i if i < labels else min(draw.choices(range(labels), k=2))  # some far more often than others
        lines.append(f"__label__{label} " + " ".join(draw.choices(topics[label], k=8) + words_like(draw, 12)))
    text.write_text("\n".join(lines) + "\n")
    model = fasttext.train_supervised(str(text), **{"dim": 16, "lr": 0.5, "thread": THREADS, "verbose": 0} | options)
    path = Path(_FOLDER.name) / f"{kind}.bin"
    if quantize is not None:
        model.quantize(**quantize)
    model.save_model(str(path))
    return path


def library_probabilities(path: Path, label: str, texts: list[str]) -> np.ndarray:
    """fastText's probability of a label for each text, newlines given as spaces; NaN where it predicts nothing.

    A label that hierarchical softmax leaves out has a probability below 1e-5; it is 0 here.
    """
    model = fasttext.load_model(str(path))
    probabilities = []
    for text in texts:
        predicted = {name: p for p, name in model.f.predict(text.replace("\n", " ") + "\n", -1, 0.0, "replace")}
        probabilities.append(predicted.get(label, 0.0) if predicted else np.nan)
    return np.array(probabilities)
