"""Cost of a night against what is new: 300 MB are there, and 1, 5 and 20 % come. `gristmill refresh`, with guards.

Each night is a new process on a store where nothing but the first night is done. Beside it: the first night, which
reads everything, and a night in which nothing is new.

python -m benchmarks.nights [--megabytes 300] [--runs 3]
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from benchmarks.common import print_table
from benchmarks.corpus import ROOT, WORK, tiled

SHARES = (0.01, 0.05, 0.2)
RECIPE = {
    "version": 1,
    "name": "web",
    "store": "./store",
    "sources": [{"name": "crawl", "path": "data/{date}/*.parquet"}],
    "measure": ["gopher"],
    "decide": [
        {"drop": {"when": "gopher_words < 50 or gopher_symbol_ratio > 0.1", "name": "quality"}},
        "exact_dedup",
        {"fuzzy_dedup": {"index": {"name": "web"}}},
    ],
    "write": {"columns": ["id", "text", "source", "gopher_words", "tokens"]},
    "refresh": {
        "since": "2026-11-01",
        "vanished": "withdraw",
        "changed": "withdraw",
        "guards": {"kept": {"min": 0.1}, "source_loss": 0.1, "drift": {"psi": 5.0}, "documents": {"min": 0.9}},
    },
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabytes", type=int, default=300)
    parser.add_argument("--runs", type=int, default=3)
    options = parser.parse_args()
    folder = WORK / "nights"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    texts = pa.concat_tables(map(pq.read_table, sorted(tiled(int(options.megabytes * 1.25)).glob("*.parquet"))))
    first = int(texts.num_rows / 1.25)
    (folder / "recipe.yaml").write_text(yaml.safe_dump(RECIPE, sort_keys=False))
    write(folder, 1, texts.slice(0, first))
    night(folder, 1)  # compiles kernels
    shutil.rmtree(folder / "store")
    began = [night(folder, 1)]
    shutil.copytree(folder / "store", folder / "before")
    rows = [("the first night, all of it", "", began)]
    rows.append(("nothing new", "0", [night(folder, 2) for _ in range(options.runs)]))
    for share in SHARES:
        write(folder, 2, texts.slice(first, int(first * share)))
        found = []
        for _ in range(options.runs):
            shutil.rmtree(folder / "store")
            shutil.copytree(folder / "before", folder / "store")
            found.append(night(folder, 2))
        shutil.rmtree(folder / "data" / "2026-11-02")
        rows.append((f"{share:.0%} new", f"{share * options.megabytes:g}", found))
    table = []
    for name, megabytes, found in rows:
        wall, processor = (statistics.median(run[key] for run in found) for key in ("wall", "processor"))
        table.append([name, megabytes, f"{wall:.1f}", f"{processor:.1f}"])
    print_table(["", "MB of new text", "seconds", "processor s"], table)
    shutil.rmtree(folder)


def write(folder: Path, day: int, texts: pa.Table) -> None:
    """The files of a night, each of about 10,000 documents."""
    place = folder / "data" / f"2026-11-{day:02d}"
    place.mkdir(parents=True)
    for i, start in enumerate(range(0, texts.num_rows, 10_000)):
        pq.write_table(
            texts.slice(start, 10_000), place / f"part-{i:03d}.parquet", compression="zstd", row_group_size=4000
        )


def night(folder: Path, day: int) -> dict[str, float]:
    """One night as a process of its own: seconds on the wall and of the processors."""
    line = [
        sys.executable,
        "-m",
        "gristmill",
        "refresh",
        "recipe.yaml",
        "--date",
        f"2026-11-{day:02d}",
        "--json",
        "--quiet",
    ]
    start = time.perf_counter()
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(line, cwd=folder, stdout=said, env={**os.environ, "PYTHONPATH": str(ROOT)})
        _, status, used = os.wait4(process.pid, 0)
        wall = time.perf_counter() - start
        said.seek(0)
        assert os.waitstatus_to_exitcode(status) == 0, json.load(said)["held"]
    return {"wall": wall, "processor": used.ru_utime + used.ru_stime}


if __name__ == "__main__":
    main()
