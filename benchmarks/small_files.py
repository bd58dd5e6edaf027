"""A source of many files of one JSON line: read to written dataset, from an empty store, and once more with a new file.

python -m benchmarks.small_files [--files 5000] [--baseline PATH]

`--baseline` names a checkout of earlier code, which is run beside this one (on a tenth of the files: it took over four
minutes for 5,000). Seconds are those of a process from its start to its end.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.common import print_table
from tests.support import sentences

RECIPE = """version: 1
name: small
store: ./store
sources:
  - {name: docs, path: data}
decide:
  - drop: "gopher_words < 20"
  - exact_dedup: longest
write: {columns: [id, text, source]}
"""
#: Runs the command line and prints what the process took, on the last line.
PROGRAM = """
import json, resource, sys
from gristmill.pipelines.cli.main import main
sys.argv = ["gristmill", "run", "recipe.yaml", "--quiet"]
try:
    main()
except SystemExit as end:
    assert not end.code, end.code
used = resource.getrusage(resource.RUSAGE_SELF)
print(json.dumps([used.ru_utime + used.ru_stime, used.ru_maxrss / 1000]))
"""
HERE = Path(__file__).parents[1]


def write_files(folder: Path, first: int, last: int) -> None:
    """Files of one document each."""
    (folder / "data").mkdir(parents=True, exist_ok=True)
    for i in range(first, last):
        line = json.dumps({"id": f"doc-{i}", "text": sentences(i, 60)}) + "\n"
        (folder / "data" / f"docs-{i:06d}.jsonl").write_text(line)


def run(folder: Path, code: Path) -> tuple[float, float, float]:
    """Seconds on the wall, seconds of processor time and peak MB of a run."""
    began = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(code)},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise SystemExit(done.stderr)
    processor, memory = json.loads(done.stdout.splitlines()[-1])
    return time.perf_counter() - began, processor, memory


def measure(name: str, files: int, code: Path) -> list[list[str]]:
    """Rows of the table: an empty store, then one file more."""
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        (folder / "recipe.yaml").write_text(RECIPE)
        write_files(folder, 0, files)
        rows = []
        for what in ("an empty store", "one file more"):
            wall, processor, memory = run(folder, code)
            rows.append([name, f"{files:,}", what, f"{wall:.1f}", f"{processor:.1f}", f"{memory:.0f}"])
            write_files(folder, files, files + 1)
        return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=5_000)
    parser.add_argument("--baseline", type=Path)
    options = parser.parse_args()
    measure("", 70, HERE)  # compiles kernels
    rows = measure("gristmill", options.files, HERE)
    if options.baseline is not None:
        rows += measure("before", options.files // 10, options.baseline.resolve())
    print_table(["code", "files", "store", "wall s", "processor s", "peak MB"], rows)


if __name__ == "__main__":
    main()
