import gzip
import json
import math
import pickle
import random
import struct
from concurrent.futures import ThreadPoolExecutor

import fasttext
import numpy as np
import pyarrow as pa
import pytest

from gristmill.operators.errors import RecipeError
from gristmill.operators.fasttext.classifier import Classifier
from gristmill.operators.kernels.fasttext import SEGMENT
from gristmill.operators.kernels.fasttext_output import exponential
from gristmill.operators.measures.quality import Quality
from tests.operators.measures.fasttext_models import KINDS, THREADS, library_probabilities, model_file, words_like

DRAW = random.Random(5)
TEXTS = [
    "",
    " \t\r\v\f\0",
    "\n\n",
    "kalo mi",
    "first line\nsecond line\r\n\n  third\tline",
    "nul\0inside and \x1f not a separator, nor \u00a0 nor \u3000",
    "éa中文дом 文文文 😀 ñu\u0301",
    "__label__0 kalo __label__1 __label__unknown __labelx mi",
    "kalo mi </s> what follows the end of the line is not seen",
    "kalo </s>mi </sx> < > <> <kalo>",
    "x" * 100_000,
    "中" * 3000 + " kalo",
    *(" ".join(words_like(DRAW, DRAW.randint(1, 300))) for _ in range(60)),
    "\n".join(" ".join(words_like(DRAW, 12)) for _ in range(5000)),
]


def measured(path, texts, **fields):
    quality = Quality(model=str(path), **fields)
    documents = pa.record_batch({"text": pa.array(texts, pa.large_string())})
    return quality.open({"model": path})(documents).column(quality.column)


def as_floats(column):
    return np.array([np.nan if p is None else p for p in column.to_pylist()])


@pytest.mark.parametrize("kind", KINDS)
def test_equals_the_library(kind):
    path = model_file(kind)
    for label in Classifier(path).labels[:: max(1, len(Classifier(path).labels) // 3)]:
        np.testing.assert_allclose(
            as_floats(measured(path, TEXTS, label=label)), library_probabilities(path, label, TEXTS), rtol=0, atol=1e-5
        )


def test_format_version_11_has_no_character_ngrams(tmp_path):
    content = model_file("subwords").read_bytes()
    old = tmp_path / "old.bin"
    old.write_bytes(content[:4] + struct.pack("<i", 11) + content[8:])
    now = as_floats(measured(old, TEXTS, label="__label__0"))
    np.testing.assert_allclose(now, library_probabilities(old, "__label__0", TEXTS), rtol=0, atol=1e-5)
    assert np.abs(now - as_floats(measured(model_file("subwords"), TEXTS, label="__label__0"))).max() > 1e-3


@pytest.mark.parametrize("kind", ["trigrams, many labels", "subwords"])
def test_a_text_longer_than_a_segment(kind):
    draw = random.Random(1)
    texts = [" ".join(words_like(draw, n)) for n in (SEGMENT - 2, SEGMENT - 1, SEGMENT, SEGMENT + 1, 2 * SEGMENT + 77)]
    path = model_file(kind)
    np.testing.assert_allclose(
        as_floats(measured(path, texts, label="__label__0")),
        library_probabilities(path, "__label__0", texts),
        rtol=0,
        atol=1e-5,
    )


def test_nothing_known_is_null_as_the_library_predicts_nothing(tmp_path):
    (tmp_path / "train.txt").write_text(("__label__a " + "kalo " * 9 + "\n" + "__label__b " + "mine " * 9 + "\n") * 9)
    # dim 50: of a matrix of fewer than a hundred numbers the library initialises none
    model = fasttext.train_supervised(str(tmp_path / "train.txt"), minCount=50, dim=50, thread=THREADS, verbose=0)
    model.save_model(str(tmp_path / "m.bin"))
    assert "</s>" not in model.words
    texts = ["", "unknown words", "kalo"]
    assert model.predict("unknown words", k=-1)[0] == ()
    found = measured(tmp_path / "m.bin", texts, label="__label__a")
    assert found.to_pylist()[:2] == [None, None]
    expected = library_probabilities(tmp_path / "m.bin", "__label__a", texts)
    np.testing.assert_allclose(as_floats(found), expected, atol=1e-5)


def test_nulls_slices_and_batches_change_nothing():
    path = model_file("bigrams")
    texts = [None, *TEXTS, None, "kalo"]
    whole = measured(path, texts, label="__label__1")
    assert [p is None for p in whole.to_pylist()] == [t is None for t in texts]
    array = pa.array(texts, pa.large_string())
    score = Classifier(path).probability("__label__1")
    for width in (1, 7, 50):
        parts = [score(array.slice(i, width)) for i in range(0, len(array), width)]
        assert pa.concat_arrays(parts).equals(whole)
    assert len(score(array.slice(0, 0))) == 0
    assert score(pa.nulls(3, pa.large_string())).null_count == 3


def test_threads_share_one_function():
    score = Classifier(model_file("subwords")).probability("__label__0")
    array = pa.array(TEXTS, pa.large_string())
    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(lambda _: score(array), range(8)))
    assert all(result.equals(results[0]) for result in results)


def test_column_is_as_declared():
    quality = pickle.loads(pickle.dumps(Quality.model_validate("model.bin")))
    assert quality == Quality(model="model.bin", label="__label__hq", column="quality")
    assert quality.resources() == {"model": "model.bin"}
    path = model_file("words")
    named = Quality(model=str(path), label="__label__0", column="good")
    batch = named.open({"model": path})(pa.record_batch({"text": pa.array(["kalo"], pa.large_string())}))
    assert batch.schema == named.gives()
    assert batch.schema.field("good").type == pa.float32()


def test_an_unknown_label_is_refused_with_the_labels_there_are():
    path = model_file("trigrams, many labels")
    with pytest.raises(RecipeError, match=r"none of the 60 labels of .*__label__0, .*, \.\.\.\); did you mean"):
        Quality(model=str(path), label="__label__101").check({"model": path})
    Quality(model=str(path), label="__label__7").check({"model": path})
    words = model_file("words")
    with pytest.raises(RecipeError, match=r"2 labels of .*did you mean __label__1\?"):
        Quality(model=str(words), label="1").check({"model": words})


def test_exponential_is_as_exact_as_the_c_library():
    for x in np.concatenate([np.linspace(-708, 709, 4001), np.random.default_rng(0).normal(0, 5, 4000)]):
        assert exponential(x) == pytest.approx(math.exp(x), rel=5e-16)
    assert exponential(0.0) == 1.0
    assert exponential(-1e9) == 0.0
    assert exponential(1e9) == math.inf
    assert math.isnan(exponential(math.nan))


def test_every_document_of_a_real_corpus(shared_data, tmp_path):
    files = sorted((shared_data / "docs").glob("*.jsonl.gz"))
    texts, sources = [], []
    for file in files:
        with gzip.open(file) as lines:
            for document in map(json.loads, lines):
                texts.append(document["text"])
                sources.append(document["source"])
    is_prose = {"news_bbc", "book_en", "encyclopedia_foldoc", "manual_python", "proposal_pep"}
    with open(tmp_path / "train.txt", "w") as train:
        for text, source in list(zip(texts, sources, strict=True))[::13]:
            line = text[:1000].replace("\n", " ")
            train.write(f"__label__{'hq' if source in is_prose else 'lq'} {line}\n")
    options = {"dim": 8, "lr": 0.5, "wordNgrams": 2, "bucket": 50_000, "minCount": 2, "thread": THREADS, "verbose": 0}
    fasttext.train_supervised(str(tmp_path / "train.txt"), **options).save_model(str(tmp_path / "model.bin"))
    found = as_floats(measured(tmp_path / "model.bin", texts))
    expected = library_probabilities(tmp_path / "model.bin", "__label__hq", texts)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)
    assert len(found) > 36_000
    assert found.min() < 0.1 < 0.9 < found.max()
