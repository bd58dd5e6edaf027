"""The measure `minhash`: what two columns say about texts, nulls, and bytes that stay the same for ever."""

from __future__ import annotations

import hashlib

import numpy as np
import pyarrow as pa
import pytest
from pydantic import ValidationError

from gristmill.operators.kernels.bands import agreements
from gristmill.operators.measures.minhash import MinHash
from gristmill.operators.rules.banding import estimate
from tests.support import sentences

SCHEMES = pytest.mark.parametrize("scheme", ["kperm", "fss"])


def signatures(texts: list[str | None], **options: object) -> pa.Array:
    operator = MinHash.model_validate(options)
    batch = operator.open({})(pa.record_batch({"text": pa.array(texts, pa.large_string())}))
    batch.validate(full=True)
    assert batch.schema.equals(operator.gives())
    return batch.column(0)


def lanes(signature: bytes) -> np.ndarray:
    return np.frombuffer(signature, "<u2").reshape(1, -1)


@SCHEMES
def test_case_and_what_stands_between_words_do_not_matter(scheme: str) -> None:
    one, other = signatures(["The cat, sat on THE mat!", "the cat sat\n\non the   mat"], scheme=scheme)
    assert one == other


@SCHEMES
def test_the_order_of_words_matters_within_a_shingle_only(scheme: str) -> None:
    one, turned = signatures(["a b c d", "d c b a"], scheme=scheme).to_pylist()
    assert one != turned
    one, turned = signatures(["a b c d", "d c b a"], scheme=scheme, ngram=1).to_pylist()
    assert one == turned


@SCHEMES
def test_the_similarity_of_texts_is_estimated(scheme: str) -> None:
    text = sentences(1, 400)
    signed = signatures([text, text + " " + sentences(2, 100), sentences(3, 400)], scheme=scheme, permutations=512)
    first, longer, other = map(lanes, signed.to_pylist())
    assert estimate(agreements(first, longer), 512)[0] == pytest.approx(396 / 496, abs=0.07)
    assert estimate(agreements(first, other), 512)[0] < 0.02


@SCHEMES
def test_null_where_there_is_no_text_or_no_word(scheme: str) -> None:
    texts = [None, "", " \n", "...!?", "x", "字", None, "two words"]
    signed = signatures(texts, scheme=scheme)
    assert [s is None for s in signed.to_pylist()] == [True, True, True, True, False, False, True, False]
    assert signatures([None], scheme=scheme).null_count == 1
    assert len(signatures([], scheme=scheme)) == 0


@pytest.mark.parametrize("permutations", [8, 9, 112, 1024])
def test_a_signature_has_two_bytes_for_each_permutation(permutations: int) -> None:
    (signature,) = signatures(["some text"], permutations=permutations, column="signature").to_pylist()
    assert len(signature) == 2 * permutations


def test_every_option_changes_the_signature() -> None:
    options: list[dict[str, object]] = [{}, {"ngram": 4}, {"scheme": "fss"}, {"seed": 2}, {"permutations": 113}]
    assert len({signatures([sentences(1, 50)], **o)[0].as_py() for o in options}) == len(options)


@pytest.mark.parametrize(
    "options",
    [{"ngram": 0}, {"ngram": 101}, {"permutations": 7}, {"permutations": 1025}, {"scheme": "oph"}, {"seed": -1}],
)
def test_options_out_of_range_are_refused(options: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        MinHash.model_validate(options)


@pytest.mark.parametrize(("scheme", "digest"), [("kperm", "eff295b9cfef0db7"), ("fss", "2ef143eb0dc7cc7d")])
def test_signatures_are_the_same_for_ever(scheme: str, digest: str) -> None:
    texts = [sentences(1, 300), "Naïve ΟΔΟΣ 中文 नमस्ते " * 3, "one"]
    content = b"".join(signatures(texts, scheme=scheme).to_pylist())
    assert hashlib.blake2b(content, digest_size=8).hexdigest() == digest
