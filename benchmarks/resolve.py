"""Fuzzy deduplication without the text: from signatures to clusters, at sizes that grow. Each size in its own process.

python -m benchmarks.resolve [--millions 1 2 5 10] [--workers 2] [--verify signature] [--edge-budget N]

Shards of 100,000 documents make their signatures up whenever they are read, so nothing but the exchange is on the disk.
In every group of four shards each tenth row is a cluster of four: one signature with six other lanes in each member, in
three bands of their own. So any two members share two bands at least, members agree in 100 of 112 lanes, no other
documents agree in more than a few, and the exact answer is known: it is checked. Making signatures up, four times for
each shard, is in the seconds; what it takes of them is shown beside them.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from benchmarks.common import print_table
from gristmill.operators import columns
from gristmill.pipelines.decide.fuzzy.clusters import Clusters
from gristmill.pipelines.decide.fuzzy.parameters import Parameters
from gristmill.pipelines.decide.fuzzy.resolve import resolve
from gristmill.pipelines.decide.fuzzy.similarity import SignatureEvidence
from gristmill.pipelines.decide.shards import SurvivingShard, Survivors
from gristmill.pipelines.engine.local import LocalEngine

PERMUTATIONS, BANDS, ROWS = 112, 14, 8
GROUP, ONE_IN, CHANGED = 4, 10, 6
COLUMN = "signature"
#: Processor seconds of each time that signatures were made up.
MAKING_UP: list[float] = []


@dataclass(frozen=True)
class MadeUpShard:
    """A shard of signatures that are made up when they are read, the same each time."""

    ordinal: int
    rows: int

    @property
    def schema(self) -> pa.Schema:
        return pa.schema([(columns.ROW, pa.uint32()), (COLUMN, pa.binary(2 * PERMUTATIONS))])

    def read(self, names: Sequence[str], /) -> pa.Table:
        table = {columns.ROW: pa.array(np.arange(self.rows, dtype=np.uint32))}
        if COLUMN in names:
            start = time.thread_time()
            lanes = pa.py_buffer(self.signatures())
            MAKING_UP.append(time.thread_time() - start)
            table[COLUMN] = pa.FixedSizeBinaryArray.from_buffers(pa.binary(2 * PERMUTATIONS), self.rows, [None, lanes])
        return pa.table(table).select(list(names))

    def signatures(self) -> NDArray[np.uint16]:
        """Random but for each tenth: there they are those of the group, with lanes of this shard's own."""
        group, member = divmod(self.ordinal, GROUP)
        signatures = _random(self.ordinal, 0, self.rows).copy()
        shared = _random(group, 1, self.rows // ONE_IN).copy()
        own = (member * CHANGED + np.arange(CHANGED)) * 4
        shared[:, own] = signatures[::ONE_IN, own]
        signatures[::ONE_IN] = shared
        return signatures


def _random(seed: int, stream: int, n: int) -> NDArray[np.uint16]:
    raw = np.random.default_rng([seed, stream]).bytes(2 * PERMUTATIONS * n)
    return np.frombuffer(raw, np.uint16).reshape(n, PERMUTATIONS)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--millions", type=float, nargs="+", default=[1, 2, 5, 10])
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--verify", choices=["signature", "none"], default="signature")
    parser.add_argument("--edge-budget", type=int, default=Parameters.edge_budget)
    parser.add_argument("--json", action="store_true", help="one size, in this process")
    options = parser.parse_args()
    if options.json:
        print(json.dumps(_measure(options)))
        return
    rows = []
    for millions in options.millions:
        given = {"--millions": millions, "--workers": options.workers, "--verify": options.verify}
        given["--edge-budget"] = options.edge_budget
        arguments = [str(word) for pair in given.items() for word in pair]
        program = [sys.executable, "-m", "benchmarks.resolve", "--json", *arguments]
        found = json.loads(subprocess.run(program, capture_output=True, text=True, check=True).stdout)
        shown = ("documents", "candidates", "dropped", "wall", "processor", "making_up", "memory")
        rows.append([found[name] for name in shown])
    print_table(["documents", "pairs", "dropped", "wall s", "processor s", "making up s", "peak MB"], rows)


def _measure(options: argparse.Namespace) -> dict[str, Any]:
    """Resolve once, after a small run that compiles the kernels; the answer is checked."""
    parameters = Parameters(COLUMN, BANDS, ROWS, 0.75, options.verify, edge_budget=options.edge_budget)
    _resolve(parameters, 4, 100, options.workers)
    MAKING_UP.clear()
    wall, processor = time.perf_counter(), time.process_time()
    # whole groups of shards of about 100,000 documents, a multiple of ten each
    shards = max(1, round(options.millions[0] * 1e6 / (GROUP * 100_000))) * GROUP
    rows = round(options.millions[0] * 1e6 / shards / ONE_IN) * ONE_IN
    found = _resolve(parameters, shards, rows, options.workers)
    clusters = shards // GROUP * rows // ONE_IN
    assert (found.clusters, found.dropped, found.sizes) == (clusters, (GROUP - 1) * clusters, {GROUP: clusters})
    return {
        "documents": shards * rows,
        "candidates": found.candidates,
        "dropped": found.dropped,
        "wall": time.perf_counter() - wall,
        "processor": time.process_time() - processor,
        "making_up": sum(MAKING_UP),
        "memory": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6,
    }


def _resolve(parameters: Parameters, shards: int, rows: int, workers: int) -> Clusters:
    made_up = [SurvivingShard(MadeUpShard(ordinal, rows)) for ordinal in range(shards)]
    with tempfile.TemporaryDirectory() as folder:
        evidence = SignatureEvidence(COLUMN, PERMUTATIONS)
        survivors = Survivors(made_up, shards * rows)
        return resolve(parameters, evidence, survivors, LocalEngine(workers), folder)


if __name__ == "__main__":
    main()
