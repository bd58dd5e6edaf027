"""MinHash: speed per core beside datasketch, and how exact the estimates are.

    python -m benchmarks.minhash --peer-python peers/datasketch/bin/python
    python -m benchmarks.minhash --quality

datasketch runs in an environment of its own, made once:

    python -m venv peers/datasketch
    peers/datasketch/bin/pip install "datasketch==2.0.0"

Its texts are lower-cased and split into words (`\\w+`) by Python, which datasketch leaves to its users; ours come as
Arrow has them. Quality is that of pairs of texts of random words, so many of them in common: the mean error of the
estimate, and its root mean squared error relative to sqrt(J * (1 - J) / K), that of K independent lanes.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from benchmarks.common import bench_texts, median_seconds, print_table, run_peer, size_of
from gristmill.operators.kernels.bands import agreements
from gristmill.operators.kernels.buffers import text_buffers
from gristmill.operators.kernels.shingles import alphabet, shingle_sets
from gristmill.operators.measures.minhash import SCHEMES, MinHash
from gristmill.operators.rules.banding import estimate

NGRAM, PERMUTATIONS = 5, 112

PEER = """
import re
from datasketch import MinHash
word = re.compile(r"\\w+")
def sign():
    for text in given["texts"]:
        words = word.findall(text.lower())
        shingles = {" ".join(words[i : i + given["ngram"]]) for i in range(max(1, len(words) - given["ngram"] + 1))}
        MinHash(num_perm=given["permutations"]).update_batch([shingle.encode() for shingle in shingles])
give_back(median_seconds(sign, given["runs"]))
"""


def speeds(texts: pa.Array, runs: int) -> list[list[Any]]:
    """Name and MB/s of signing with each scheme, and of exact sets."""
    documents, (data, offsets), tables = pa.record_batch({"text": texts}), text_buffers(texts), alphabet()
    calls: dict[str, Callable[[], object]] = {}
    for scheme in SCHEMES:
        measure = MinHash(ngram=NGRAM, permutations=PERMUTATIONS, scheme=scheme).open({})
        calls[f"signatures, {scheme}"] = lambda measure=measure: measure(documents)
    calls["sorted sets of shingles"] = lambda: shingle_sets(data, offsets, NGRAM, tables)
    return [[name, size_of(texts) / 1e6 / median_seconds(call, runs)] for name, call in calls.items()]


def planted_pairs(size: int, common: int, pairs: int, seed: int) -> list[pa.Array]:
    """Two arrays of texts: pairs of `size` random words of 8 letters each, of which they share so many."""
    words = np.random.default_rng(seed).integers(ord("a"), ord("z"), (pairs, 2 * size - common, 9), np.uint8)
    words[:, :, -1] = ord(" ")
    offsets = pa.py_buffer(np.arange(pairs + 1, dtype=np.int64) * size * 9)
    sides = (words[:, :size], words[:, size - common :])
    return [
        pa.LargeStringArray.from_buffers(pairs, offsets, pa.py_buffer(np.ascontiguousarray(side))) for side in sides
    ]


def errors_of(scheme: str, size: int, common: int, pairs: int) -> NDArray[np.float64]:
    """Errors of the estimated Jaccard similarity of planted pairs, a thousand at a time."""
    measure = MinHash.model_validate({"ngram": 1, "permutations": PERMUTATIONS, "scheme": scheme}).open({})
    errors = []
    for seed in range(pairs // 1000):
        signed = [
            measure(pa.record_batch({"text": side})).column(0) for side in planted_pairs(size, common, 1000, seed)
        ]
        lanes = [np.frombuffer(s.buffers()[1], "<u2").reshape(-1, PERMUTATIONS) for s in signed]
        errors.append(estimate(agreements(*lanes), PERMUTATIONS) - common / (2 * size - common))
    return np.concatenate(errors)


def quality(sizes: Sequence[int], pairs: int) -> None:
    """Print bias and error by scheme, number of shingles and similarity."""
    rows: list[list[Any]] = []
    for scheme in SCHEMES:
        for size in sizes:
            for wanted in (0.5, 0.75, 0.9):
                common = round(size * 2 * wanted / (1 + wanted))
                jaccard = common / (2 * size - common)
                errors = errors_of(scheme, size, common, pairs)
                ideal = np.sqrt(jaccard * (1 - jaccard) / PERMUTATIONS)
                rows.append(
                    [scheme, size, jaccard, f"{errors.mean():+.4f}", float(np.sqrt((errors**2).mean()) / ideal)]
                )
    print_table(["scheme", "shingles", "Jaccard", "bias", "RMSE / ideal"], rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer-python", help="interpreter that has datasketch")
    parser.add_argument("--megabytes", type=float, default=20, help="how much of the benchmark corpus to sign")
    parser.add_argument("--peer-megabytes", type=float, default=1)
    parser.add_argument("--runs", type=int, default=5, help="the median of so many runs is shown")
    parser.add_argument("--quality", action="store_true", help="instead: how exact the estimates are")
    parser.add_argument("--pairs", type=int, default=10_000, help="for each row of that table, in thousands")
    options = parser.parse_args()
    if options.quality:
        quality((30, 100, 400, 2000), options.pairs)
        return
    header, rows = (
        ["MinHash, 5 words, 112 lanes", "MB/s per core"],
        speeds(bench_texts(options.megabytes), options.runs),
    )
    if options.peer_python:
        texts = bench_texts(options.peer_megabytes)
        given = {"texts": texts.to_pylist(), "ngram": NGRAM, "permutations": PERMUTATIONS, "runs": options.runs}
        peer = size_of(texts) / 1e6 / run_peer(options.peer_python, PEER, given)
        header, rows = [*header, "x datasketch"], [[*row, row[1] / peer] for row in rows]
        rows.append(["datasketch 2.0.0", peer, 1.0])
    print_table(header, rows)


if __name__ == "__main__":
    main()
