"""What benchmarks share: text, timing, a peer in its own interpreter, a table.

Times are CPU seconds of the calling thread: on a machine that others use too they vary less than seconds on the wall,
and what is measured here computes without waiting.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from benchmarks.corpus import DATA

BENCH = DATA / "bench"


def bench_texts(megabytes: float) -> pa.LargeStringArray:
    """Texts of the benchmark corpus from its start on, up to that many MB (1e6 bytes) of UTF-8."""
    if not BENCH.exists():
        raise SystemExit(f"the benchmark corpus is not there: {BENCH}")
    pieces, left = [], int(megabytes * 1e6)
    for path in sorted(BENCH.glob("part-*.parquet")):
        texts = pq.read_table(path, columns=["text"])["text"].combine_chunks().cast(pa.large_string())
        fitting = pc.sum(pc.less_equal(pc.cumulative_sum(pc.binary_length(texts)), left)).as_py() or 0
        pieces.append(texts.slice(0, fitting))
        if fitting < len(texts):
            break
        left -= size_of(texts)
    return pa.concat_arrays(pieces)


def size_of(texts: pa.Array) -> int:
    """UTF-8 bytes of all texts."""
    return int(pc.sum(pc.binary_length(texts)).as_py() or 0)


def median_seconds(function: Callable[[], Any], runs: int = 5) -> float:
    """Median CPU seconds of a call, after one call that is not counted (compilation, caches)."""
    function()
    return statistics.median(_seconds(function) for _ in range(runs))


def _seconds(function: Callable[[], Any]) -> float:
    start = time.thread_time()
    function()
    return time.thread_time() - start


#: What a peer's snippet may use: the same timing as here, and the value that was handed over.
_PRELUDE = """
import json, statistics, sys, time
def _seconds(function):
    start = time.thread_time(); function(); return time.thread_time() - start
def median_seconds(function, runs=5):
    function(); return statistics.median(_seconds(function) for _ in range(runs))
given = json.load(open(sys.argv[1]))
def give_back(value):
    json.dump(value, open(sys.argv[2], "w"))
"""


def run_peer(python: str, snippet: str, given: Any) -> Any:
    """Run a snippet in a peer's interpreter; what it hands to `give_back`, a JSON value.

    The snippet finds the JSON value `given` under that name, and `median_seconds(function, runs)`.
    """
    with tempfile.TemporaryDirectory() as folder:
        source, result = Path(folder, "given.json"), Path(folder, "result.json")
        source.write_text(json.dumps(given))
        done = subprocess.run(
            [python, "-c", _PRELUDE + snippet, str(source), str(result)], capture_output=True, text=True, check=False
        )
        if done.returncode != 0:
            raise SystemExit(f"{python} failed:\n{done.stderr}")
        return json.loads(result.read_text())


def print_table(header: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """A Markdown table; numbers to three significant digits, or whole."""
    cells = [[_shown(cell) for cell in row] for row in [header, *rows]]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    cells.insert(1, ["-" * width for width in widths])
    for row in cells:
        print("| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |")


def _shown(cell: Any) -> str:
    if isinstance(cell, float):
        return f"{cell:,.0f}" if abs(cell) >= 100 else f"{cell:.3g}"
    return f"{cell:,}" if isinstance(cell, int) else str(cell)
