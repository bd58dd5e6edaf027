"""Cost against size: the quickstart recipe over 50, 100, 200 and 400 MB, each from an empty store.

python -m benchmarks.growth [--workers 2] [--runs 3]
"""

from __future__ import annotations

import argparse
import statistics

from benchmarks.common import print_table
from benchmarks.end_to_end import measure

SIZES = (50, 100, 200, 400)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--runs", type=int, default=3)
    options = parser.parse_args()
    measure(10, options.workers, docs=False)  # compiles kernels, trains the model
    rows = []
    for megabytes in SIZES:
        runs = [measure(megabytes, options.workers, docs=False) for _ in range(options.runs)]
        wall, processor, memory = (statistics.median(r[key] for r in runs) for key in ("wall", "processor", "memory"))
        rows.append([f"{megabytes}", f"{wall:.1f}", f"{processor:.1f}", f"{memory / 1e6:.0f}"])
    print_table(["MB of text", "wall s", "processor s", "peak MB"], rows)


if __name__ == "__main__":
    main()
