"""Equality with the reference library, data-selection 1.0.3 (https://github.com/p-lambda/dsir), and selections."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from gristmill.operators.kernels.buffers import id_words
from gristmill.operators.kernels.noise import gumbel
from gristmill.operators.measures.content_id import content_ids
from gristmill.operators.measures.importance import Importance

WORDS = [
    *("The", "cat's", "sat", "on", "a", "Mat,", "and", "3.14", "dogs_of", "WAR", "don't", "bark;"),
    *("(what?)", "e-mail:", "x@y.org!!", "naive\tTAB", "...", "end-"),
]


def made_up(seed: int, words: int) -> str:
    return " ".join(WORDS[(seed * i + i * i // 3 + seed) % len(WORDS)] for i in range(1, words + 1))


RAW = ["", "Hi", *(made_up(i, 5 * i) for i in range(1, 19))]
TARGET = [made_up(7 * i, 40) for i in range(3, 9)]

#: What the library gave for RAW and TARGET, by (num_buckets, ngrams), with num_tokens_to_fit="all".
LIBRARY = {
    (10_000, 2): [
        *(0.0, -10.238996038185244, -24.3790836914518, 5.849418113688426, 20.46320659972892, -114.12011649846897),
        *(-167.72561161531448, 12.43724399650969, -292.9320124304378, -309.26880255861954, -404.87505850916796),
        *(-71.05681465876776, -366.4103232372942, -395.2597855413434, 55.997757691125166, -535.6814553084755),
        *(-521.4184312234877, -555.0301388191465, 11.599819640851404, -653.9137813566834),
    ],
    (512, 3): [
        *(0.0, -0.1094368702988362, -27.48856075429775, 0.4284864573663376, 19.447592571596815, -146.57669821196498),
        *(-213.42495472654525, 11.981670108650473, -366.69411840456297, -272.8326158973766, -318.69425613157296),
        *(-44.264664273679344, -442.29768509206434, -488.45086967998, 69.47982145106805, -568.6105579432053),
        *(-462.29560891553353, -569.1324752180726, 11.90203052563601, -599.0377745729386),
    ],
    (4096, 1): [
        *(0.0, -10.92682482700735, -1.7605180207389655, -0.4678373381681902, 2.3883120932974164, 1.8510846543970172),
        *(-4.893495419243914, -2.826169885063687, -9.209620067957081, -1.3245112677029005, -5.881583065738786),
        *(7.240325207285517, -2.5720913377122603, 3.8615527578151987, 11.17865285976421, -16.528198313579765),
        *(-4.212418218439034, -5.940626985255211, -5.607781832204214, -8.066966625582456),
    ],
}

SCRIPT = """
import json, os, sys, tempfile
from data_selection import HashedNgramDSIR
given = json.load(sys.stdin)
with tempfile.TemporaryDirectory() as folder:
    def write(name):
        path = os.path.join(folder, name)
        with open(path, "w") as file:
            file.writelines(json.dumps({"text": text}) + "\\n" for text in given[name])
        return path
    dsir = HashedNgramDSIR([write("raw")], [write("target")], folder, num_proc=1,
                           num_buckets=given["buckets"], ngrams=given["ngram"])
    dsir.fit_importance_estimator(num_tokens_to_fit="all")
    features = [dsir.featurizer(text) for text in given["raw"]]
    print(json.dumps([dict(weight=float(dsir.importance_estimator(f)), counts=f.tolist()) for f in features]))
"""


def batch(texts: Sequence[str]) -> pa.RecordBatch:
    return pa.record_batch({"text": pa.array(texts, pa.large_string())})


def weights(operator: Importance, raw: Sequence[str], target: Sequence[str], folder: Path) -> np.ndarray:
    fit = folder / "fit.bin"
    fit.write_bytes(operator.fit([batch(raw)], {"target": [batch(target)]}))
    measured: np.ndarray = operator.open({"fit": fit})(batch(raw))["importance"].to_numpy()
    return measured


@pytest.mark.parametrize(("buckets", "ngram"), LIBRARY)
def test_weights_equal_the_librarys(tmp_path: Path, buckets: int, ngram: int) -> None:
    operator = Importance(target="x", hash="reference", buckets=buckets, ngram=ngram)
    measured = weights(operator, RAW, TARGET, tmp_path)
    np.testing.assert_allclose(measured, LIBRARY[buckets, ngram], rtol=0, atol=1e-9)


@pytest.mark.peers
def test_features_and_weights_equal_those_of_the_library_itself(tmp_path: Path, shared_data: Path) -> None:
    python = os.environ.get("GRISTMILL_PEER_PYTHON")
    if not python:
        pytest.skip("GRISTMILL_PEER_PYTHON names no interpreter with data-selection==1.0.3 and nltk<3.10")
    raw = [*RAW, *(d["text"] for d in documents(shared_data / "docs" / "docs-00000-of-00008.jsonl.gz")[:400])]
    operator = Importance(target="x", hash="reference", buckets=10_000)
    given = json.dumps({"raw": raw, "target": TARGET, "buckets": 10_000, "ngram": 2})
    run = subprocess.run([python, "-c", SCRIPT], input=given, capture_output=True, text=True, check=True)
    library = json.loads(run.stdout)
    assert sum(not text.isascii() for text in raw) > 50
    for text, found in zip(raw, library, strict=True):
        assert (operator.observe(batch([text])) == found["counts"]).all(), text
    measured = weights(operator, raw, TARGET, tmp_path)
    np.testing.assert_allclose(measured, [found["weight"] for found in library], rtol=0, atol=1e-9)


def documents(path: Path) -> list[dict[str, str]]:
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


@pytest.mark.parametrize(
    ("fields", "least"),
    [({"buckets": 10_000, "hash": "reference"}, 0.62), ({}, 0.85)],
    ids=["reference", "defaults"],
)
def test_selection_finds_a_newsgroup(
    tmp_path: Path, shared_data: Path, fields: dict[str, object], least: float
) -> None:
    """The share of a newsgroup's posts among 500 documents drawn by their weights, mean over ten seeds."""
    raw = [d for path in sorted((shared_data / "docs").glob("*.gz")) for d in documents(path)]
    texts = [d["text"] for d in raw]
    target = [d["text"] for d in documents(shared_data / "target" / "usenet_sci_med.jsonl.gz")]
    measured = weights(Importance.model_validate({"target": "x", **fields}), texts, target, tmp_path)
    words = id_words(content_ids(pa.array(texts, pa.large_string())))
    wanted = np.array(["/sci.med/" in d["origin"] for d in raw])
    chosen = [np.argsort(-(measured + gumbel(seed, words)), kind="stable")[:500] for seed in range(10)]
    score = float(np.mean([wanted[rows].mean() for rows in chosen]))
    assert score >= least
