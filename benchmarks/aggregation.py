"""`gristmill labels aggregate`: real annotators beside crowd-kit, and a million items with five votes each.

    python -m benchmarks.aggregation [--items 1000000] [--peer-python peers/crowd/bin/python]

crowd-kit runs in an environment of its own: python -m venv peers/crowd; peers/crowd/bin/pip install crowd-kit==1.4.2.
The command over the million is a new process, from the Parquet file to the Parquet file; its memory is the peak.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.common import print_table, run_peer
from benchmarks.corpus import DATA, WORK
from benchmarks.end_to_end import gristmill
from gristmill.operators.label.aggregation.methods import METHODS
from gristmill.operators.student.calibration import expected_calibration_error
from gristmill.pipelines.label.votes import Fields, votes_of_table

PEER = """
import pandas as pd
from crowdkit.aggregation import DawidSkene, GLAD, MACE, MajorityVote, OneCoinDawidSkene
methods = {"majority": MajorityVote, "one_coin": OneCoinDawidSkene, "dawid_skene": DawidSkene, "mace": MACE,
           "glad": lambda: GLAD(silent=True)}
names = {"item": "task", "annotator": "worker"}
votes = pd.read_parquet(given["path"]).rename(columns=names)
gold = votes.groupby("task").gold.first()
results = {}
for name, method in methods.items():
    start = time.perf_counter()
    labels = method().fit_predict(votes[["task", "worker", "label"]])
    results[name] = [float((labels == gold.loc[labels.index]).mean()), time.perf_counter() - start]
give_back(results)
"""
SETS = ("rte", "product_match")


def real_annotators(python: str | None) -> None:
    """Print accuracy to gold, log loss, calibration error and seconds, by data set and method."""
    rows: list[list[object]] = []
    for name in SETS:
        path = DATA / "crowd" / f"{name}_labels.parquet"
        votes = votes_of_table(str(path), Fields(gold="gold")).votes
        theirs = run_peer(python, PEER, {"path": str(path)}) if python else {}
        for method, function in METHODS.items():
            start = time.perf_counter()
            shares = function(votes.without_gold()).shares
            seconds = time.perf_counter() - start
            right = shares.argmax(axis=1) == votes.gold
            loss = -np.log(np.maximum(shares[np.arange(len(shares)), votes.gold], 1e-6)).mean()
            peer = theirs.get(method, ["", ""])
            rows.append(
                [
                    name,
                    method,
                    right.mean(),
                    loss,
                    expected_calibration_error(shares.max(axis=1), right.astype(float), 10),
                    seconds,
                    *peer,
                ]
            )
    heads = ["data", "method", "accuracy", "log loss", "ECE", "s", "crowd-kit: accuracy", "s"]
    print_table(heads, rows)


def many_items(n: int) -> None:
    """Print seconds and memory of the command over n items with five votes each, by 20,000 annotators."""
    WORK.mkdir(parents=True, exist_ok=True)
    path, draw, each, k = WORK / f"votes-{n}.parquet", np.random.default_rng(0), 5, 5
    truth, items, who = draw.integers(0, k, n), np.repeat(np.arange(n), each), draw.integers(0, 20_000, n * each)
    right = draw.random(n * each) < draw.beta(6, 3, 20_000)[who]
    labels = np.where(right, truth[items], draw.integers(0, k, n * each))
    columns = {"item": items, "annotator": who, "label": labels}
    pq.write_table(pa.table({name: pa.array(values).cast(pa.string()) for name, values in columns.items()}), path)
    rows = []
    for method in METHODS:
        out = WORK / "aggregated.parquet"
        _, wall, processor, memory = gristmill(
            "labels", "aggregate", "--table", str(path), "--method", method, "--out", str(out), "--json"
        )
        table = pq.read_table(out, columns=["item", "answer"])
        found = np.array(table["answer"].to_pylist(), np.int64)
        accuracy = (found == truth[np.array(table["item"].to_pylist(), np.int64)]).mean()
        rows.append([method, accuracy, wall, processor, memory / 1e6])
    print_table([f"{n:,} items, {n * each:,} votes", "accuracy", "wall s", "processor s", "peak MB"], rows)
    Path(path).unlink()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, default=1_000_000)
    parser.add_argument("--peer-python", help="interpreter of an environment with crowd-kit")
    options = parser.parse_args()
    real_annotators(options.peer_python)
    print()
    many_items(options.items)


if __name__ == "__main__":
    main()
