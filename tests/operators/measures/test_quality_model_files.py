import bz2
import gzip
import random
import struct
import tracemalloc

import fasttext
import pyarrow as pa
import pytest

from gristmill.operators.errors import RecipeError
from gristmill.operators.fasttext.classifier import Classifier
from gristmill.operators.measures.quality import Quality
from tests.operators.measures.fasttext_models import THREADS, model_file

FUZZED = [
    "bigrams",
    "one-vs-all",
    "subwords",
    "hierarchical softmax",
    "quantised, pruned, norms",
    "quantised, output too",
]
TEXTS = pa.array(["", "kalo mi ne 中文 </s>", None, "ši " * 50, "x" * 300], pa.large_string())
HEADER = 92  # magic, version, arguments, counts of the dictionary


def opened(path):
    """Scores by a model that may be damaged, or the message of the RecipeError."""
    try:
        model = Classifier(path)
        return model.probability(model.labels[-1])(TEXTS).to_pylist()
    except RecipeError as error:
        return str(error)


@pytest.mark.parametrize("kind", FUZZED)
def test_a_cut_file_is_refused_wherever_it_is_cut(kind, tmp_path):
    content = model_file(kind).read_bytes()
    path = tmp_path / "cut.bin"
    draw = random.Random(kind)
    for length in [*range(HEADER + 20), *draw.sample(range(HEADER, len(content)), 150), len(content) - 1]:
        path.write_bytes(content[:length])
        with pytest.raises(RecipeError, match=r"cut\.bin: it (is cut or damaged|is not a fastText model)"):
            Classifier(path)


@pytest.mark.parametrize("kind", FUZZED)
def test_changed_bytes_neither_crash_nor_take_memory(kind, tmp_path):
    content = model_file(kind).read_bytes()
    path = tmp_path / "changed.bin"
    draw = random.Random(kind)
    opened(model_file(kind))  # compiled before memory is watched
    changes = [(at, flip) for at in range(HEADER) for flip in (0x01, 0x80, 0xFF)]
    changes += [(at, draw.randint(1, 255)) for at in draw.sample(range(HEADER, len(content)), 200)]
    tracemalloc.start()
    refused = 0
    for at, flip in changes:
        path.write_bytes(content[:at] + bytes([content[at] ^ flip]) + content[at + 1 :])
        scores = opened(path)
        if isinstance(scores, str):
            refused += 1
            assert str(path) in scores
        else:
            assert all(p is None or 0 <= p <= 1.0001 for p in scores)
    assert tracemalloc.get_traced_memory()[1] < 10 * len(content) + 20_000_000
    tracemalloc.stop()
    assert refused > 100


@pytest.mark.parametrize(
    ("at", "format", "value", "found"),
    [
        (8, "i", -5, "dim -5"),
        (8, "i", 2**31 - 1, "a matrix of [0-9]+ x 21, not [0-9]+ x 2147483647"),
        (28, "i", 1000, "wordNgrams 1000"),
        (32, "i", 9, "loss 9"),
        (40, "i", 0, "bucket 0"),
        (64, "i", 2**31 - 1, "2147483647 entries"),
        (64, "iii", (2**31 - 1, 2**31 - 3, 2), "2,147,483,647 entries of a dictionary do not fit"),
        (84, "q", 2**40, "1099511627776 buckets kept"),
        (84, "q", 7, "cut or damaged"),
    ],
)
def test_implausible_counts_are_named(at, format, value, found, tmp_path):
    content = bytearray(model_file("bigrams").read_bytes())
    struct.pack_into("<" + format, content, at, *(value if isinstance(value, tuple) else (value,)))
    path = tmp_path / "model.bin"
    path.write_bytes(content)
    with pytest.raises(RecipeError, match=found):
        Classifier(path)


def test_bytes_after_the_end_are_refused(tmp_path):
    path = tmp_path / "model.bin"
    path.write_bytes(model_file("bigrams").read_bytes() + b"tail")
    with pytest.raises(RecipeError, match="4 bytes after its end"):
        Classifier(path)


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (gzip.compress(b"a model", mtime=0), r"it is compressed \(gzip\). Decompress it first"),
        (bz2.compress(b"a model"), r"it is compressed \(bzip2\)"),
        (b"hello 0.1 0.2\n", r"it is not a fastText model \(it begins with b'hello"),
        (b"", "it is not a fastText model"),
        (struct.pack("<ii", 793712314, 13) + bytes(200), "format version 13"),
    ],
)
def test_files_that_are_no_model(content, found, tmp_path):
    path = tmp_path / "model.bin"
    path.write_bytes(content)
    with pytest.raises(RecipeError, match=found):
        Quality(model=str(path)).check({"model": path})


def test_what_cannot_be_read(tmp_path):
    with pytest.raises(RecipeError, match="it cannot be read"):
        Classifier(tmp_path)
    with pytest.raises(RecipeError, match=r"it cannot be read \(No such file"):
        Classifier(tmp_path / "none.bin")


def test_word_vectors_are_no_classifier(tmp_path):
    text = tmp_path / "text.txt"
    text.write_text("some words to learn vectors from\n" * 20)
    options = {"dim": 4, "bucket": 100, "minCount": 1, "epoch": 1, "thread": THREADS, "verbose": 0}
    fasttext.train_unsupervised(str(text), **options).save_model(str(tmp_path / "vectors.bin"))
    with pytest.raises(RecipeError, match="it holds skipgram word vectors, not a classifier"):
        Classifier(tmp_path / "vectors.bin")


@pytest.mark.parametrize("kind", ["words", "one-vs-all", "hierarchical softmax"])
def test_matrices_that_are_not_finite_are_refused(kind, tmp_path):
    original = Classifier(model_file(kind))
    content = bytearray(model_file(kind).read_bytes())
    size = original.model.output.nbytes  # the output matrix is the end of the file
    content[-size:] = struct.pack("<f", float("nan")) * (size // 4)
    path = tmp_path / "model.bin"
    path.write_bytes(content)
    with pytest.raises(RecipeError, match="numbers that are not finite"):
        Classifier(path).probability(original.labels[0])(TEXTS)
