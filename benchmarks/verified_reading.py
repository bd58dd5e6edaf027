"""What verified reading costs: digests beside the reading itself, and whole runs beside those of an earlier code.

    python -m benchmarks.verified_reading [--megabytes 100] [--workers 2] [--pairs 5] [--baseline CHECKOUT]

The recipe is that of benchmarks/end_to_end.py: from an empty store, then with another budget (measures are read, no
text is measured), then once more (all cached). With `--baseline`, a checkout of the code before, each run has a partner
by that code, which of the two goes first alternating, and the last column is the median of the pairs' ratios.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
from pathlib import Path

import pyarrow.parquet as pq

from benchmarks.common import median_seconds, print_table
from benchmarks.corpus import ROOT, WORK
from benchmarks.end_to_end import gristmill, measure, recipe
from gristmill.pipelines.storage import files

#: Runs of a recipe on one store, one after the other: what each is, and its overrides.
RUNS = {
    "from an empty store": (),
    "another budget": ("--set", "decide.select.documents=1000"),
    "the same again": ("--set", "decide.select.documents=1000"),
}


def whole_runs(code: Path, megabytes: int, workers: int) -> tuple[dict[str, float], Path]:
    """Processor seconds of each of RUNS by the code in a folder, and their store."""
    folder = WORK / "verified_reading" / ("now" if code == ROOT else "before")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    asked = [
        "run",
        str(recipe(folder, megabytes, docs=False)),
        "--quiet",
        "--workers",
        str(workers),
        "--engine",
        "local",
    ]
    seconds = {what: gristmill(*asked, *overrides, code=code)[2] for what, overrides in RUNS.items()}
    return seconds, folder / "store"


def pairs(codes: list[Path], megabytes: int, workers: int, count: int) -> list[list[dict[str, float]]]:
    """Whole runs by each code, in turns; one list for each pair, in the order of `codes`."""
    found = []
    for i in range(count):
        order = codes if i % 2 == 0 else codes[::-1]
        seconds = {code: whole_runs(code, megabytes, workers)[0] for code in order}
        found.append([seconds[code] for code in codes])
    return found


def digests(store: Path) -> list[list[object]]:
    """For the tables of a store by folder: their size, and processor seconds to read and to check all of them once."""
    rows: list[list[object]] = []
    for kind in ("measures", "runs", "shards", "datasets"):
        tables = [str(path) for path in sorted((store / kind).rglob("*.parquet"))]
        check = files.digest if kind == "datasets" else files.check_table  # a manifest has the digests of a version
        reading = median_seconds(lambda tables=tables: [pq.read_table(path, use_threads=False) for path in tables])
        checking = median_seconds(lambda tables=tables, check=check: [check(path) for path in tables])
        rows.append([kind, sum(os.path.getsize(path) for path in tables) / 1e6, reading, checking])
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabytes", type=int, default=100)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--baseline", type=lambda path: Path(path).resolve(), help="a checkout of the code before")
    options = parser.parse_args()
    measure(10, options.workers, docs=False)  # compiles kernels, trains the model
    codes = [ROOT] if options.baseline is None else [options.baseline, ROOT]
    if options.baseline is not None:
        whole_runs(options.baseline, 10, options.workers)  # compiles that code's kernels

    seconds, store = whole_runs(ROOT, options.megabytes, options.workers)
    print("processor seconds to read all tables of a store once, and to compare their digests")
    table = digests(store)
    print_table(["folder", "MB", "reading s", "checking s"], table)
    checking = sum(float(row[-1]) for row in table)  # type: ignore[arg-type]
    first = seconds["from an empty store"]
    print(
        f"all of them checked once: {checking:.2f} s, {checking / first:.2%} of the {first:.1f} s from an empty store"
    )

    found = pairs(codes, options.megabytes, options.workers, options.pairs)
    print(f"\nprocessor seconds of whole runs, {options.megabytes} MB of text, medians of {options.pairs}")
    rows: list[list[object]] = []
    for what in RUNS:
        medians = [statistics.median(pair[i][what] for pair in found) for i in range(len(codes))]
        ratio = [statistics.median(pair[-1][what] / pair[0][what] for pair in found)] if len(codes) > 1 else []
        rows.append([what, *medians, *ratio])
    print_table(["run", *(["before", "now", "now / before"] if len(codes) > 1 else ["now"])], rows)


if __name__ == "__main__":
    main()
