"""The exchange in one step and in two: requests to an object store, and time on the local disk.

python -m benchmarks.exchange [--senders 100 1000 10000] [--partitions 32] [--tokens] [--on-disk 500] [--runs 3]

Each sender has a hundred rows for each partition, of two 64-bit numbers; with --tokens it has two documents for each,
sent in two parts, as tasks send tokens to be packed. Requests are counted by moto's S3 server on
loopback; those of one step, for one partition and up to a thousand senders, stand for the others. On the disk all
partitions are received in both ways from the same files, in turn, and give the same.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time

import numpy as np
import pyarrow as pa

from benchmarks.common import print_table
from gristmill.pipelines.config.tuning import tuned
from gristmill.pipelines.engine.base import run_all
from gristmill.pipelines.engine.local import LocalEngine
from gristmill.pipelines.exchange.shuffle import Exchange
from tests.reliability.object_store import bucket

SCHEMA = pa.schema([("key", pa.uint64()), ("address", pa.uint64())])
DOCUMENTS = pa.schema([*SCHEMA, ("tokens", pa.large_list(pa.uint16()))])
ROWS = 100
SAMPLED = 1000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--senders", type=int, nargs="*", default=[100, 1000, 10_000])
    parser.add_argument("--partitions", type=int, default=32)
    parser.add_argument("--tokens", action="store_true", help="documents of 100 tokens in the place of keys")
    parser.add_argument("--on-disk", type=int, default=500, metavar="SENDERS", help="as many partitions; 0 for none")
    parser.add_argument("--runs", type=int, default=3)
    options = parser.parse_args()
    with bucket("s3://exchanged") as (server, _):
        rows = []
        for senders in options.senders:
            exchange = Exchange(
                f"s3://exchanged/{senders}", options.partitions, DOCUMENTS if options.tokens else SCHEMA
            )
            counts = []
            server.clear()
            _send(exchange, senders)
            counts.append(len(server.requests))
            server.clear()
            few = min(senders, SAMPLED)
            exchange.receive(range(few), 0)
            counts.append(len(server.requests) * senders // few * options.partitions)
            server.clear()
            with tuned(exchange_blocks=0):
                merged = exchange.merged(range(senders), LocalEngine(2))
            counts.append(len(server.requests))
            server.clear()
            _receive(merged, senders)
            counts.append(len(server.requests))
            rows.append([f"{n:,}" for n in (senders, *counts, counts[2] + counts[3])])
    columns = ["senders", "written", "one step: read", "two: merged", "two: read", "two: all"]
    print(f"requests, {options.partitions} partitions")
    print_table(columns, rows)
    if options.on_disk:
        _on_disk(options.on_disk, options.runs)


def _on_disk(senders: int, runs: int) -> None:
    """Print the seconds of both ways on the local disk, medians of alternating runs."""
    seconds: dict[str, list[float]] = {"one step": [], "two steps": []}
    with tempfile.TemporaryDirectory() as folder:
        exchange = Exchange(folder, senders, SCHEMA)
        began = time.perf_counter()
        _send(exchange, senders)
        sent = time.perf_counter() - began
        for _ in range(runs):
            began = time.perf_counter()
            one = _receive(exchange, senders)
            seconds["one step"].append(time.perf_counter() - began)
            began = time.perf_counter()
            with tuned(exchange_blocks=0):
                merged = exchange.merged(range(senders), LocalEngine(2))
            assert _receive(merged, senders) == one
            seconds["two steps"].append(time.perf_counter() - began)
    rows = [
        [way, f"{statistics.median(taken):.1f}", " ".join(f"{t:.1f}" for t in taken)] for way, taken in seconds.items()
    ]
    size = f"{ROWS * senders**2 * 16 / 1e6:,.0f} MB"
    print(f"local disk, {senders:,} senders and as many partitions, {size}, sent in {sent:.1f} s")
    print_table(["received in", "s, median", "runs"], rows)


def _send(exchange: Exchange, senders: int) -> None:
    if exchange.schema is DOCUMENTS:
        _send_documents(exchange, senders)
        return
    n = ROWS * exchange.partitions
    partition = np.random.default_rng(0).permutation(np.arange(n) % exchange.partitions)

    def send(sender: int) -> None:
        keys = np.arange(n, dtype=np.uint64) * np.uint64(sender + 1)
        exchange.send(sender, pa.table([keys, keys], schema=SCHEMA), partition)

    for _ in run_all(LocalEngine(2), send, range(senders)):
        pass


def _send_documents(exchange: Exchange, senders: int) -> None:
    n = exchange.partitions
    tokens = pa.LargeListArray.from_arrays(np.arange(n + 1) * 100, np.arange(100 * n).astype(np.uint16))

    def send(sender: int) -> None:
        with exchange.sending(sender) as parts:
            for part in range(2):
                keys = np.arange(n, dtype=np.uint64) * np.uint64(2 * sender + part)
                parts.send(pa.table([keys, keys, tokens], schema=DOCUMENTS), np.arange(n))

    for _ in run_all(LocalEngine(2), send, range(senders)):
        pass


def _receive(exchange: Exchange, senders: int) -> int:
    """Receive all partitions; return a checksum of their rows in order."""

    def receive(partition: int) -> int:
        keys = exchange.receive(range(senders), partition)["key"].to_numpy()
        return int((keys * np.arange(1, len(keys) + 1, dtype=np.uint64)).sum())

    return sum(run_all(LocalEngine(2), receive, range(exchange.partitions)))


if __name__ == "__main__":
    main()
