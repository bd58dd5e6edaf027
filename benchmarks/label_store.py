"""The label store: how fast answers are appended, what it takes to look up ten million of them.

python -m benchmarks.label_store [--appended 500000] [--known 10] [--batch 64]

Seconds are processor seconds of the whole process. Appending includes making the rows up, the journal, and turning it
into Parquet files. Looking up is measured in a process of its own: from Parquet files to `Known`, then all keys asked
for in batches of 100,000, half of them known.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time

import numpy as np
import pyarrow as pa

from benchmarks.common import print_table
from gristmill.operators.columns import CONTENT_ID, TYPES
from gristmill.pipelines.label.budget import Amount
from gristmill.pipelines.label.store import LabelStore
from gristmill.pipelines.label.store.schema import MISSING, SCHEMA, Annotation, AnswerRow
from gristmill.pipelines.storage import files

BIG = Annotation("big", "some/model", "revision")
SHARES = {"0": 0.01, "1": 0.02, "2": 0.07, "3": 0.1, "4": 0.75, "5": 0.05}
ASKED_AT_ONCE = 100_000
FILE_ROWS = 1_000_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--appended", type=int, default=500_000)
    parser.add_argument("--known", type=float, default=10.0, help="millions")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--json", help="look up in this store, in this process")
    options = parser.parse_args()
    if options.json:
        print(json.dumps(_look_up(options.json)))
        return
    with tempfile.TemporaryDirectory() as folder:
        rows = [[batch, _append(folder, options.appended, batch)] for batch in (1, options.batch)]
        print_table(["rows an append", "rows/s"], rows)
        store = os.path.join(folder, "known")
        _fill(store, round(options.known * 1e6))
        program = [sys.executable, "-m", "benchmarks.label_store", "--json", store]
        found = json.loads(subprocess.run(program, capture_output=True, text=True, check=True).stdout)
        print_table(list(found), [list(found.values())])


def _append(folder: str, rows: int, batch: int) -> float:
    """Rows a second from row to Parquet file, with what was reserved for them."""
    store = LabelStore(folder, f"batch-{batch}")
    keys = np.random.default_rng(1).bytes(16 * rows)
    start = time.process_time()
    with store.open_run("run") as writer:
        for first in range(0, rows, batch):
            numbers = range(first, min(first + batch, rows))
            made = [
                AnswerRow(keys[16 * i : 16 * i + 16], 1, "4", 0.75, SHARES, 0.99, 0.9, None, 512, 1, 0.0001)
                for i in numbers
            ]
            writer.reserve("big", Amount(len(made), 600 * len(made), 16 * len(made), 0.001))
            writer.append(BIG, made, Amount(len(made), 600 * len(made), 16 * len(made), 0.001))
    taken = time.process_time() - start
    assert store.spent().documents == rows
    return rows / taken


def _fill(store: str, rows: int) -> None:
    """A store with so many answers."""
    url = LabelStore(store, "f").url
    for number, first in enumerate(range(0, rows, FILE_ROWS), 1):
        n = min(FILE_ROWS, rows - first)
        columns = {name: pa.nulls(n, SCHEMA.field(name).type) for name in SCHEMA.names}
        columns[CONTENT_ID] = _keys(number, n)
        for name, value in [*BIG._asdict().items(), ("answer", "4"), ("attempt", 1), ("created", number), ("run", "r")]:
            columns[name] = pa.repeat(pa.scalar(value, SCHEMA.field(name).type), n)
        table = pa.table([columns[name] for name in SCHEMA.names], schema=SCHEMA)
        files.write_table(files.join(url, f"answers-r-{number:06d}.parquet"), table)


def _keys(seed: int, n: int) -> pa.Array:
    content = pa.py_buffer(np.random.default_rng(seed).bytes(16 * n))
    return pa.FixedSizeBinaryArray.from_buffers(TYPES[CONTENT_ID], n, [None, content])


def _look_up(store: str) -> dict[str, float]:
    labels = LabelStore(store, "f")
    before = _peak()
    start = time.process_time()
    known = labels.known(BIG.annotator, BIG.revision)
    opened = time.process_time()
    held = sum(array.nbytes for array in vars(known).values() if isinstance(array, np.ndarray))
    missing = asked = 0
    for seed in (1, 1_000_000):
        keys = _keys(seed, FILE_ROWS)
        for first in range(0, FILE_ROWS, ASKED_AT_ONCE):
            missing += int((known.states(keys.slice(first, ASKED_AT_ONCE)) == MISSING).sum())
            asked += ASKED_AT_ONCE
    done = time.process_time()
    assert missing >= FILE_ROWS
    return {
        "known": len(known),
        "seconds to open": opened - start,
        "bytes an answer": held / len(known),
        "peak MB above start": _peak() - before,
        "asked/s": asked / (done - opened),
    }


def _peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6


if __name__ == "__main__":
    main()
