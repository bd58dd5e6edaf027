"""Importance weights, against the formulas worked out in plain Python."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from gristmill.operators.errors import RecipeError
from gristmill.operators.measures.importance import Importance
from gristmill.operators.measures.importance_fit import ImportanceFit, kl_reduction, kl_reductions
from tests.support import sentences

RAW = ["", "...", "Één dag; 日本", *(sentences(i, 10 + 13 * i) for i in range(20))]
MEDICINE = ["The doctor gave the patient a pill.", "A patient asked the doctor about pain in winter."]
MUSIC = ["Music in the garden: a silver song, a quiet evening.", "The song answered the music."]


def batch(texts: Sequence[str | None]) -> pa.RecordBatch:
    return pa.record_batch({"text": pa.array(texts, pa.large_string())})


def fitted(folder: Path, raw: Sequence[str | None] = RAW, **fields: Any) -> tuple[Importance, dict[str, Path]]:
    """An operator fitted on raw texts, towards MEDICINE and MUSIC as far as its targets name them."""
    operator = Importance(**{"target": "medicine/*", **fields})
    named = {"target": MEDICINE, "medicine": MEDICINE, "music": MUSIC}
    artefact = operator.fit([batch(raw)], {name: [batch(named[name])] for name in operator.targets()})
    path = folder / f"{len(list(folder.iterdir()))}.fit"
    path.write_bytes(artefact)
    return operator, {"fit": path}


def weights(operator: Importance, files: dict[str, Path], texts: Sequence[str | None]) -> list[float | None]:
    values: list[float | None] = operator.open(files)(batch(texts))[operator.column].to_pylist()
    return values


def buckets_of(text: str, buckets: int, order: int) -> Counter[int]:
    words = re.findall(r"\w+|[^\w\s]+", text.lower())
    grams = [" ".join(words[i : i + n]) for n in range(1, order + 1) for i in range(len(words) - n + 1)]
    return Counter(int(sha256(gram.encode()).hexdigest(), 16) % buckets for gram in grams)


def total(texts: Sequence[str], buckets: int, order: int) -> Counter[int]:
    return sum((buckets_of(text, buckets, order) for text in texts), Counter())


@pytest.mark.parametrize("length", ["sum", "mean", "sqrt"])
@pytest.mark.parametrize(("buckets", "order"), [(64, 1), (1000, 2), (512, 3)])
@pytest.mark.parametrize("smoothing", ["reference", 0.3])
def test_weights_are_the_sums_of_log_ratios(
    tmp_path: Path, length: str, buckets: int, order: int, smoothing: float | str
) -> None:
    fields = {"buckets": buckets, "ngram": order, "smoothing": smoothing, "length": length, "hash": "reference"}
    operator, files = fitted(tmp_path, **fields)
    raw, target = total(RAW, buckets, order), total(MEDICINE, buckets, order)

    def log_ratio(bucket: int) -> float:
        p_target = target[bucket] / target.total()
        if smoothing == "reference":
            return math.log(p_target + 1e-8) - math.log(raw[bucket] / raw.total() + 1e-8)
        p_raw = (raw[bucket] + 1) / (raw.total() + buckets)
        return math.log((0.7 * p_target + 0.3 * p_raw) / p_raw)

    def weight(text: str) -> float:
        found = buckets_of(text, buckets, order)
        divisor = {"sum": 1.0, "mean": found.total(), "sqrt": math.sqrt(found.total())}[length]
        return math.fsum(n * log_ratio(bucket) for bucket, n in found.items()) / max(1.0, divisor)

    assert weights(operator, files, RAW) == pytest.approx([weight(text) for text in RAW], abs=1e-9)


def test_defaults_rank_documents_like_the_target_first(tmp_path: Path) -> None:
    operator, files = fitted(tmp_path)
    like, unlike = weights(operator, files, ["The patient took a pill for pain.", "Stone by river, light on field."])
    assert like is not None
    assert unlike is not None
    assert like > 0 > unlike


def test_null_stays_null_and_a_text_without_words_has_weight_zero(tmp_path: Path) -> None:
    operator, files = fitted(tmp_path)
    assert weights(operator, files, [None, "", " \n\t", None]) == [None, 0.0, 0.0, None]
    assert weights(operator, files, []) == []
    assert weights(operator, files, [None]) == [None]


@pytest.mark.parametrize("kind", ["fast", "reference"])
def test_splitting_batches_changes_no_bit(tmp_path: Path, kind: str) -> None:
    operator, files = fitted(tmp_path, hash=kind, target={"medicine": "m", "music": "s"})
    texts = [*RAW, None, *MEDICINE, *MUSIC]
    whole = operator.open(files)(batch(texts))
    assert whole.schema == operator.gives()
    measure = operator.open(files)

    @given(st.lists(st.integers(0, len(texts)), max_size=6))
    def splits(cuts: list[int]) -> None:
        borders = [0, *sorted(cuts), len(texts)]
        parts = [measure(batch(texts).slice(a, b - a)) for a, b in pairwise(borders)]
        assert pa.Table.from_batches(parts).combine_chunks().equals(pa.Table.from_batches([whole]))

    splits()


@pytest.mark.parametrize("kind", ["fast", "reference"])
def test_threads_share_one_function(tmp_path: Path, kind: str) -> None:
    operator, files = fitted(tmp_path, hash=kind)
    measure = operator.open(files)
    expected = operator.open(files)(batch(RAW))
    with ThreadPoolExecutor(4) as pool:
        assert all(result.equals(expected) for result in pool.map(measure, [batch(RAW)] * 40))


def test_fit_does_not_depend_on_how_documents_are_split() -> None:
    operator = Importance(target="x")
    whole = operator.fit([batch(RAW)], {"target": [batch(MEDICINE)]})
    parts = operator.fit((batch([text]) for text in [*RAW, None]), {"target": [batch([text]) for text in MEDICINE]})
    assert whole == parts


@pytest.mark.parametrize("kind", ["fast", "reference"])
def test_a_long_document_and_bytes_that_are_not_utf8(tmp_path: Path, kind: str) -> None:
    operator, files = fitted(tmp_path, hash=kind)
    texts = [b"The doctor. " * 900_000, b"a\xed\xa0\x80b", b"\xff\xfe \xf0\x9f", b"x" * 1_000_000]
    offsets = np.cumsum([0, *map(len, texts)])
    column = pa.Array.from_buffers(
        pa.large_string(), len(texts), [None, pa.py_buffer(offsets.tobytes()), pa.py_buffer(b"".join(texts))]
    )
    measured = operator.open(files)(pa.record_batch({"text": column}))["importance"]
    one, two = weights(operator, files, ["The doctor. " * 2, "The doctor. "])
    assert one is not None
    assert two is not None
    assert measured[0].as_py() == pytest.approx(two + 899_999 * (one - two), rel=1e-9)
    assert np.isfinite(measured.to_numpy()).all()


def test_several_targets_make_a_mixture_and_name_the_best(tmp_path: Path) -> None:
    both = {"medicine": {"path": "m", "proportion": 3}, "music": {"path": "s", "proportion": 1}}
    operator, files = fitted(tmp_path, target=both, smoothing=0.2)
    assert operator.targets() == {"medicine": "m", "music": "s"}
    assert operator.proportions() == {"medicine": 0.75, "music": 0.25}

    fit = ImportanceFit.read(files["fit"])
    each = {name: sample.counts / sample.counts.sum() for name, sample in fit.targets.items()}
    p_raw = (fit.raw.counts + 1) / (fit.raw.counts + 1).sum()
    log_ratio = np.log(0.8 * (0.75 * each["medicine"] + 0.25 * each["music"]) / p_raw + 0.2)
    texts = [MEDICINE[0], MUSIC[0], "", None]
    measured = operator.open(files)(batch(texts))
    expected = [float(operator.observe(batch([text])) @ log_ratio) for text in texts[:3]]
    assert measured["importance"].to_pylist() == [*map(pytest.approx, expected), None]
    assert measured["importance_target"].to_pylist() == ["medicine", "music", None, None]


def test_columns_have_the_name_that_the_recipe_gives() -> None:
    assert Importance(target="x", column="law").gives().names == ["law"]
    assert Importance(target={"a": "x", "b": "y"}, column="law").gives().names == ["law", "law_target"]


def test_short_forms_and_defaults() -> None:
    assert Importance.model_validate("t/*.gz") == Importance(target="t/*.gz")
    assert Importance(target="x").smoothing == 0.2
    assert Importance(target="x", hash="reference").smoothing == "reference"
    assert Importance(target="x", hash="reference", smoothing=0.1).smoothing == 0.1
    assert Importance(target="x", sample="2MB").sample_bytes() == 2_000_000
    assert Importance(target={"a": "x", "b": "y"}).proportions() == {"a": 0.5, "b": 0.5}


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({}, "target"),
        ({"target": {}}, "names no documents"),
        ({"target": {"a": "x", "b": {"path": "y", "proportion": 0.5}}}, "a not"),
        ({"target": {"a": {"path": "y", "proportion": 0}}}, "greater than 0"),
        ({"target": "x", "smoothing": 0}, "greater than 0"),
        ({"target": "x", "smoothing": 1.0}, "less than 1"),
        ({"target": "x", "smoothing": "laplace"}, "reference"),
        ({"target": "x", "buckets": 1}, "greater than or equal to 2"),
        ({"target": "x", "length": "median"}, "'sum', 'mean' or 'sqrt'"),
        ({"target": "x", "hash": "md5"}, "'fast' or 'reference'"),
        ({"target": "x", "sample": "much"}, "byte"),
    ],
)
def test_wrong_fields_are_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Importance(**fields)


def test_a_target_without_words_is_refused() -> None:
    with pytest.raises(RecipeError, match=r"target law \(law/\*\): 2 documents without a single word"):
        Importance(target={"law": "law/*"}).fit([batch(RAW)], {"law": [batch(["", "  ", None])]})


def test_an_empty_corpus_gives_finite_weights(tmp_path: Path) -> None:
    for smoothing in (0.2, "reference"):
        operator, files = fitted(tmp_path, raw=[], smoothing=smoothing)
        assert all(map(math.isfinite, weights(operator, files, MEDICINE)))  # type: ignore[arg-type]


@pytest.mark.parametrize("content", [b"", b"ARROW1 but no more", b"\0" * 100_000])
def test_a_file_that_is_no_fit_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "fit.bin").write_bytes(content)
    with pytest.raises(RecipeError, match=r"fit\.bin is not a fit of importance weights"):
        Importance(target="x").check({"fit": tmp_path / "fit.bin"})


def test_a_truncated_fit_is_refused(tmp_path: Path) -> None:
    operator, files = fitted(tmp_path, buckets=100)
    content = files["fit"].read_bytes()
    for size in range(0, len(content), 97):
        files["fit"].write_bytes(content[:size])
        with pytest.raises(RecipeError):
            operator.check(files)


def test_the_fit_of_other_options_is_refused(tmp_path: Path) -> None:
    _, files = fitted(tmp_path, buckets=100)
    with pytest.raises(RecipeError, match="fitted with 100 buckets on target, the recipe asks for 200 on law"):
        Importance(target={"law": "x"}, buckets=200).open(files)


def test_the_fit_says_what_it_was_made_of(tmp_path: Path) -> None:
    _, files = fitted(tmp_path, raw=[*RAW, None])
    fit = ImportanceFit.read(files["fit"])
    words = sum(len(re.findall(r"\w+|[^\w\s]+", text)) for text in MEDICINE)
    assert (fit.raw.documents, fit.targets["target"].documents, fit.targets["target"].tokens) == (len(RAW), 2, words)


def test_kl_reduction_is_the_gain_over_the_corpus(tmp_path: Path) -> None:
    operator, files = fitted(tmp_path, target={"medicine": "m", "music": "s"}, buckets=512)
    fit = ImportanceFit.read(files["fit"])
    selected = sum((operator.observe(batch([text])) for text in MEDICINE), np.zeros(512, np.int64))
    assert (selected == operator.observe(batch(MEDICINE))).all()

    def divergence(p: np.ndarray, q: np.ndarray) -> float:
        return sum(a * math.log(a / b) for a, b in zip(p, q, strict=True) if a > 0)

    p_raw, p_selected = ((c + 1) / (c + 1).sum() for c in (fit.raw.counts, selected))
    expected = {}
    for name, sample in fit.targets.items():
        p_target = sample.counts / sample.counts.sum()
        expected[name] = divergence(p_target, p_raw) - divergence(p_target, p_selected)
    assert kl_reductions(fit, selected) == pytest.approx(expected)
    assert kl_reduction(fit, selected) == pytest.approx(sum(expected.values()) / 2)
    assert expected["medicine"] > expected["music"]


def test_kl_reduction_of_the_corpus_itself_is_zero_for_any_number_of_buckets(tmp_path: Path) -> None:
    for buckets in (2, 10_000, 10_001, 262_144):
        operator, files = fitted(tmp_path, buckets=buckets)
        fit = ImportanceFit.read(files["fit"])
        assert kl_reduction(fit, operator.observe(batch(RAW))) == 0
        assert kl_reduction(fit, operator.observe(batch(MEDICINE))) > 0 or buckets == 2
