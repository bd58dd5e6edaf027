"""Importance weights: speed per core beside data-selection, the reference library.

    python -m benchmarks.importance --peer-python peers/data-selection/bin/python

data-selection runs in an environment of its own, made once:

    python -m venv peers/data-selection
    peers/data-selection/bin/pip install "data-selection==1.0.3" "nltk<3.10"

Each run of ours gets texts that it has not seen, so that what it finds in its cache of SHA-256 buckets is what a corpus
repeats. The library gets the first of these texts.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import pyarrow as pa

from benchmarks.common import bench_texts, median_seconds, print_table, run_peer, size_of
from gristmill.operators.measures.importance import Importance

PEER = """
import numpy as np
from data_selection import HashedNgramDSIR
dsir = HashedNgramDSIR([], [], given["folder"], num_proc=1)
dsir.log_diff = np.random.default_rng(0).normal(size=dsir.num_buckets)
def weights():
    for text in given["texts"]:
        dsir.importance_estimator(dsir.featurizer(text))
give_back(median_seconds(weights, given["runs"]))
"""

SETTINGS = {
    "defaults": {},
    "buckets: 10000": {"buckets": 10_000},
    "buckets: 1048576": {"buckets": 1 << 20},
    "two targets": {"target": {"a": "", "b": ""}},
    "hash: reference, buckets: 10000": {"hash": "reference", "buckets": 10_000},
}


def our_speed(texts: pa.Array, fields: dict[str, object], runs: int) -> float:
    """MB/s of weights over consecutive parts of the texts."""
    batches = [pa.record_batch({"text": part}) for part in parts(texts, runs + 1)]
    operator = Importance.model_validate({"target": "", **fields})
    with tempfile.TemporaryDirectory() as folder:
        fit = Path(folder) / "fit.bin"
        fit.write_bytes(operator.fit(batches[:1], dict.fromkeys(operator.targets(), batches[:1])))
        measure = operator.open({"fit": fit})
        unseen = iter(batches)
        seconds = median_seconds(lambda: measure(next(unseen)), runs)
    return size_of(texts) / len(batches) / 1e6 / seconds


def parts(texts: pa.Array, number: int) -> list[pa.Array]:
    """The texts in so many parts of as many documents each."""
    borders = [len(texts) * i // number for i in range(number + 1)]
    return [texts.slice(borders[i], borders[i + 1] - borders[i]) for i in range(number)]


def peer_speed(python: str, texts: pa.Array, runs: int) -> float:
    """MB/s of data-selection's features and weights."""
    with tempfile.TemporaryDirectory() as folder:
        seconds = run_peer(python, PEER, {"texts": texts.to_pylist(), "folder": folder, "runs": runs})
    return size_of(texts) / 1e6 / float(seconds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer-python", help="interpreter that has data-selection")
    parser.add_argument("--megabytes", type=float, default=60, help="text for all runs together")
    parser.add_argument("--peer-megabytes", type=float, default=1)
    parser.add_argument("--runs", type=int, default=5)
    options = parser.parse_args()
    texts = bench_texts(options.megabytes)
    speeds = {name: our_speed(texts, fields, options.runs) for name, fields in SETTINGS.items()}
    header, rows = ["weights", "MB/s"], [[name, speed] for name, speed in speeds.items()]
    if options.peer_python:
        peer = peer_speed(options.peer_python, bench_texts(options.peer_megabytes), options.runs)
        header, rows = [*header, "x data-selection"], [[name, speed, speed / peer] for name, speed in speeds.items()]
        rows.append(["data-selection 1.0.3, num_buckets=10000", peer, 1.0])
    print_table(header, rows)


if __name__ == "__main__":
    main()
