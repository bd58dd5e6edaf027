"""The first run on a machine, the run after it, and a run that finds all done: what kernels' compilation costs.

    python -m benchmarks.first_run [--megabytes 15] [--baseline FOLDER]

The quickstart recipe with fuzzy_dedup, each run a new process: `first` with an empty cache of machine code and an empty
store, `second` with an empty store, `cached` once more. Beside them stand the figures of an earlier code: measured here
where its checkout is named, else those that were measured when this benchmark was made (two cores, another machine).
Python's bytecode lies where pip left it: an installer that leaves none adds about 4 s to the first run.
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import yaml

from benchmarks.common import print_table
from benchmarks.corpus import ROOT
from benchmarks.end_to_end import recipe

RUNS = ("first", "second", "cached")
BEFORE = {"first": (69.0, 0.0), "second": (6.6, 0.0), "cached": (3.0, 0.0)}


def measure(code: Path, megabytes: int) -> dict[str, tuple[float, float]]:
    """Wall and processor seconds of each of RUNS, by the code in a folder."""
    with tempfile.TemporaryDirectory() as held:
        folder = Path(held)
        path = recipe(folder, megabytes, docs=False)
        asked = yaml.safe_load(path.read_text())
        asked["decide"].insert(2, {"fuzzy_dedup": {}})
        path.write_text(yaml.safe_dump(asked, sort_keys=False))
        caches = {"XDG_CACHE_HOME": str(folder / "cache")}
        environment = {**os.environ, "PYTHONPATH": str(code), **caches}
        environment.pop("PYTHONDONTWRITEBYTECODE", None)  # as it is for who does not set it
        found = {}
        for run in RUNS:
            if run == "second":
                shutil.rmtree(folder / "store")
            before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
            command = [
                sys.executable,
                "-m",
                "gristmill",
                "run",
                str(path),
                "--quiet",
                "--json",
                "--engine",
                "local",
            ]
            subprocess.run(command, cwd=folder, env=environment, stdout=subprocess.DEVNULL, check=True)
            wall, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
            found[run] = (wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
        return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabytes", type=int, default=15)
    parser.add_argument("--baseline", type=Path, help="a checkout of earlier code")
    options = parser.parse_args()
    now = measure(ROOT, options.megabytes)
    before = BEFORE if options.baseline is None else measure(options.baseline, options.megabytes)
    rows = [[run, *now[run], *(seconds or "" for seconds in before[run])] for run in RUNS]
    print_table(["run", "wall s", "processor s", "before: wall s", "before: processor s"], rows)
    print(f"the first run takes {now['first'][0] - now['second'][0]:.1f} s longer than the second")


if __name__ == "__main__":
    main()
