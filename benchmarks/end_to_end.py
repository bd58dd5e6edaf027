"""The quickstart recipe, read to written dataset, as a new process, beside pyarrow reading and writing the same files.

    python -m benchmarks.end_to_end [--megabytes 500] [--workers 2] [--runs 3]

Prints MB/s of text (MB = 1e6 bytes of UTF-8) by wall clock and per core (by processor time), peak memory, and each
step's share of the processor time. Kernels are compiled before. Text: the bench corpus tiled, and data/docs beside it.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import yaml

from benchmarks.corpus import DATA, ROOT, WORK, text_bytes, tiled


def recipe(folder: Path, megabytes: int, docs: bool) -> Path:
    """The recipe of configs/quickstart.yaml over the tiled corpus, all documents of good quality selected from."""
    held = yaml.safe_load((ROOT / "configs" / "quickstart.yaml").read_text())
    held["store"] = str(folder / "store")
    held["sources"] = [{"name": "bench", "path": str(tiled(megabytes) / "*.parquet")}]
    if docs:
        held["sources"].append({"name": "docs", "path": str(DATA / "docs" / "*.jsonl.gz")})
    for measure in held["measure"]:
        if "quality" in measure:
            measure["quality"]["model"] = str(model())
        if "importance" in measure:
            measure["importance"]["target"] = str(DATA / "target" / "usenet_sci_med.jsonl.gz")
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump(held, sort_keys=False))
    return path


def model() -> Path:
    """A quality classifier (dim 100, bigrams): encyclopedia articles against usenet."""
    path = WORK / "quality.bin"
    if not path.exists():
        sides = {"--positive": "wikitext_valid_passages.jsonl.gz", "--negative": "usenet_sci_med.jsonl.gz"}
        chosen = [word for option, name in sides.items() for word in (option, str(DATA / "target" / name))]
        gristmill("train", "quality", *chosen, "--dim", "100", "--word-ngrams", "2", "--out", str(path))
    return path


def gristmill(*arguments: str, code: Path = ROOT) -> tuple[dict[str, Any], float, float, int]:
    """Run the command by the code of a checkout; its JSON, wall seconds, processor seconds, peak memory in bytes."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    start = time.perf_counter()
    command, environment = [*entry(code), *arguments], {**os.environ, "PYTHONPATH": str(code)}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, cwd=code, env=environment)
    assert process.stdout is not None
    printed = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    wall = time.perf_counter() - start
    if status:
        sys.exit(f"gristmill {' '.join(arguments)} ended with {status}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    processor = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return (json.loads(printed) if "--json" in arguments else {}), wall, processor, usage.ru_maxrss * 1024


def entry(code: Path) -> list[str]:
    """Return the command that starts gristmill by the code of a checkout, be it one from before it had one root."""
    return [sys.executable, "-m", "gristmill" if (code / "gristmill").is_dir() else "pipelines.cli"]


def floor(folder: Path) -> float:
    """Seconds to read the Parquet files and write them again with pyarrow, one thread."""
    start = time.perf_counter()
    for path in sorted(folder.glob("*.parquet")):
        pq.write_table(
            pq.read_table(path, use_threads=False), WORK / "floor.parquet", compression="zstd", compression_level=3
        )
    return time.perf_counter() - start


def measure(megabytes: int, workers: int, docs: bool) -> dict[str, Any]:
    """One cold run (empty store) of the recipe."""
    folder = WORK / "end_to_end"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    result, wall, processor, memory = gristmill(
        "run", str(recipe(folder, megabytes, docs)), "--json", "--quiet", "--workers", str(workers), "--engine", "local"
    )
    text = result["funnel"]["text_bytes"]
    return {"wall": wall, "processor": processor, "memory": memory, "text": text, "steps": result["processor_seconds"]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabytes", type=int, default=500)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--runs", type=int, default=3)
    options = parser.parse_args()
    measure(10, options.workers, docs=False)  # compiles kernels, trains the model
    runs = [measure(options.megabytes, options.workers, docs=True) for _ in range(options.runs)]
    seconds = statistics.median(floor(tiled(options.megabytes)) for _ in range(options.runs))
    middle = sorted(runs, key=lambda run: run["wall"])[len(runs) // 2]
    text = middle["text"] / 1e6
    print(f"text {text:.0f} MB, {options.workers} workers, median of {options.runs}")
    wall, processor = middle["wall"], middle["processor"]
    print(f"wall {wall:.1f} s = {text / wall:.1f} MB/s")
    print(f"processor {processor:.1f} s = {text / processor:.1f} MB/s per core")
    print(f"peak memory {middle['memory'] / 1e6:.0f} MB")
    bench = text_bytes(tiled(options.megabytes)) / 1e6
    print(f"pyarrow read and write, one thread, {bench:.0f} MB: {seconds:.1f} s = {bench / seconds:.0f} MB/s")
    print_steps(middle["steps"], text)


def print_steps(steps: dict[str, float], megabytes: float) -> None:
    """Each step's share of the processor seconds that the steps took together, and its speed."""
    total = sum(steps.values())
    for step, spent in sorted(steps.items(), key=lambda item: -item[1]):
        print(f"  {step:<20} {spent / total:6.1%}  {megabytes / spent:8.1f} MB/s")


if __name__ == "__main__":
    main()
