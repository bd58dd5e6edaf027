import gzip
import json
import pickle
import re
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import tokenizers
from hypothesis import given, settings
from hypothesis import strategies as st

from gristmill.operators.errors import RecipeError
from gristmill.operators.kernels import tokens as weights
from gristmill.operators.measures.tokens import Tokens
from tests.support import sentences


def count(texts, measure=Tokens(), files=None):  # noqa: B008
    function = measure.open(files or {})
    return function(pa.record_batch({"text": pa.array(texts, pa.large_string())}))["tokens"].to_pylist()


def estimate(text):
    """The estimate, from regular expressions over the bytes."""
    raw = text.encode()
    thousandths = (
        weights.PER_LETTER * len(re.findall(rb"[A-Za-z]", raw))
        + weights.PER_WORD * len(re.findall(rb"[A-Za-z]+", raw))
        + weights.PER_DIGIT * len(re.findall(rb"[0-9]", raw))
        + weights.PER_PUNCTUATION * len(re.findall(rb"[!-/:-@\[-`{-~]+", raw))
        + weights.PER_NEWLINES * len(re.findall(rb"\n+", raw))
        + weights.PER_TWO_BYTES * len(re.findall(rb"[\xc0-\xdf]", raw))
        + weights.PER_MORE_BYTES * len(re.findall(rb"[\xe0-\xff]", raw))
    )
    return max((thousandths + 500) // 1000, 1) if raw else 0


@settings(max_examples=300)
@given(st.lists(st.text(max_size=60) | st.text("aB1 .\n-é中", max_size=900), max_size=5))
def test_estimate(texts):
    assert count(texts) == [estimate(text) for text in texts]


def test_estimate_of_a_large_document():
    text = "The answer, 42, is here.\n" * 400_000
    assert count([text, "a"]) == [estimate(text), 1]


def test_null_empty_and_slices():
    batch = pa.record_batch({"text": pa.array(["skipped", None, "", " "], pa.large_string())}).slice(1)
    assert Tokens().open({})(batch)["tokens"].to_pylist() == [None, 0, 1]


@pytest.fixture(scope="module")
def tokenizer_file(tmp_path_factory):
    """A small byte-level BPE tokenizer that would cut texts and add special tokens, if it were let."""
    path = tmp_path_factory.mktemp("tokenizer") / "tokenizer.json"
    save_tokenizer(path, [sentences(seed, 400) for seed in range(20)], 500)
    return path


def save_tokenizer(path, texts, size):
    tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE())
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = tokenizers.pre_tokenizers.ByteLevel.alphabet()
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=size, initial_alphabet=alphabet, special_tokens=["<s>"], show_progress=False
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.post_processor = tokenizers.processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
    tokenizer.enable_truncation(5)
    tokenizer.enable_padding()
    tokenizer.save(str(path))


def test_counts_with_a_tokenizer(tokenizer_file):
    tokenizer = tokenizers.Tokenizer.from_file(str(tokenizer_file))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    texts = [sentences(seed, 20 + seed) for seed in range(150)] + ["", "naïve 中文", None]
    expected = [None if t is None else len(tokenizer.encode(t, add_special_tokens=False).ids) for t in texts]
    measure = Tokens(tokenizer=str(tokenizer_file))
    measure.check({"tokenizer": tokenizer_file})
    assert count(texts, measure, {"tokenizer": tokenizer_file}) == expected


def test_recipe_forms():
    assert Tokens.model_validate("gpt2.json") == Tokens(tokenizer="gpt2.json")
    assert Tokens.model_validate(None) == Tokens()
    assert Tokens(tokenizer="gpt2.json").resources() == {"tokenizer": "gpt2.json"}
    assert Tokens().resources() == {}
    assert pickle.loads(pickle.dumps(Tokens(tokenizer="a"))) == Tokens(tokenizer="a")


def test_a_file_that_is_no_tokenizer(tmp_path):
    path = tmp_path / "broken.json"
    path.write_text('{"version": "1.0"')
    with pytest.raises(RecipeError, match=r"models/broken\.json is not a tokenizer .* give the tokenizer\.json"):
        Tokens(tokenizer="models/broken.json").check({"tokenizer": path})


def test_without_the_library(monkeypatch):
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    with pytest.raises(RecipeError, match=r"pip install 'gristmill\[tokenizers\]'"):
        Tokens(tokenizer="tokenizer.json").check({"tokenizer": Path("tokenizer.json")})
    assert count(["a word"]) == [2]


@pytest.mark.slow
def test_the_stated_error(shared_data, tmp_path, capsys):
    """Trained on every second file, compared on the others: the figures in the docstring of Tokens."""
    seen, unseen = [], []
    for k, path in enumerate(sorted((shared_data / "docs").glob("*.jsonl.gz"))):
        with gzip.open(path, "rt") as lines:
            (unseen if k % 2 else seen).extend(map(json.loads, lines))
    path = tmp_path / "tokenizer.json"
    save_tokenizer(path, [d["text"] for d in seen], 50_257)
    texts = [d["text"] for d in unseen]
    languages = np.array([d.get("lang", "code") for d in unseen])
    exact = np.array(count(texts, Tokens(tokenizer=str(path)), {"tokenizer": path}), float)
    estimated = np.array(count(texts), float)
    error = np.abs(estimated - exact) / np.maximum(exact, 1)
    with capsys.disabled():
        print(f"\nall: mean error {error.mean():.3f}, over all {estimated.sum() / exact.sum() - 1:+.3f}")
        for language in ("en", "zh", "fr", "code", "pt_BR", "ko", "es", "id", "de", "ar"):
            of = languages == language
            print(f"{language}: {error[of].mean():.3f}, {estimated[of].sum() / exact[of].sum() - 1:+.3f}, {of.sum()}")
    assert error.mean() < 0.06
    assert abs(estimated.sum() / exact.sum() - 1) < 0.04
