"""Fuzzy deduplication as a whole job, read to written dataset, beside datatrove's four MinHash stages.

    python -m benchmarks.dedup [--megabytes 500] [--runs 3] [--peer-python peers/datatrove/bin/python]

Ours is a new process on two workers, kernels compiled before. datatrove (see benchmarks/gopher.py for its environment,
and add tokenizers) has two workers and 14 bands of 8, and runs once as shipped (words by spaCy's tokeniser) and once
with words by str.split. Text: the bench corpus tiled, the same files for all. Pyarrow reads and writes them beside it,
one thread.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import yaml

from benchmarks.corpus import WORK, text_bytes, tiled
from benchmarks.end_to_end import floor, gristmill, print_steps

PEER = """
import sys
from datatrove.executor import LocalPipelineExecutor
from datatrove.pipeline.dedup import MinhashDedupBuckets, MinhashDedupCluster, MinhashDedupFilter, MinhashDedupSignature
from datatrove.pipeline.dedup import minhash
from datatrove.pipeline.dedup.minhash import MinhashConfig
from datatrove.pipeline.readers import ParquetReader
from datatrove.pipeline.writers import ParquetWriter

source, work, tasks, words = sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4]

class SplitWords:
    def word_tokenize(self, text):
        return text.split()

if words == "split":
    minhash.load_word_tokenizer = lambda language: SplitWords()
config = MinhashConfig(num_buckets=14, hashes_per_bucket=8)

def stage(tasks, *pipeline):
    stage.n += 1
    logs = f"{work}/logs{stage.n}"
    LocalPipelineExecutor(pipeline=list(pipeline), tasks=tasks, workers=2, logging_dir=logs).run()
stage.n = 0

def reader():
    return ParquetReader(source, glob_pattern="*.parquet")

if __name__ == "__main__":
    stage(tasks, reader(), MinhashDedupSignature(output_folder=f"{work}/signatures", config=config))
    stage(14, MinhashDedupBuckets(f"{work}/signatures", f"{work}/buckets", config=config))
    stage(1, MinhashDedupCluster(f"{work}/buckets", f"{work}/remove", config=config))
    stage(tasks, reader(), MinhashDedupFilter(f"{work}/remove"), ParquetWriter(f"{work}/out"))
"""


def measure(megabytes: int) -> dict[str, Any]:
    """One cold run (empty store) of ours."""
    folder = WORK / "dedup"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    recipe = {
        "version": 1,
        "name": "dedup",
        "store": str(folder / "store"),
        "sources": [{"name": "bench", "path": str(tiled(megabytes) / "*.parquet")}],
        "decide": [{"fuzzy_dedup": {"threshold": 0.75}}],
        "write": {"columns": ["id", "text", "source"]},
    }
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump(recipe, sort_keys=False))
    result, wall, processor, memory = gristmill(
        "run", str(path), "--json", "--quiet", "--workers", "2", "--engine", "local"
    )
    counts = {key: result["funnel"][key] for key in ("documents", "kept")}
    return {"wall": wall, "processor": processor, "memory": memory, "steps": result["processor_seconds"], **counts}


def peer(python: str, megabytes: int, words: str) -> float:
    """Seconds of datatrove's four stages."""
    work, script = WORK / "dedup-peer", WORK / "dedup_peer.py"
    shutil.rmtree(work, ignore_errors=True)
    script.write_text(PEER)  # a file: its workers import it
    source = tiled(megabytes)
    tasks = len(list(source.glob("*.parquet")))
    start = time.perf_counter()
    done = subprocess.run(
        [python, str(script), str(source), str(work), str(tasks), words], capture_output=True, text=True, check=False
    )
    if done.returncode != 0 or not list(Path(work, "out").glob("*.parquet")):
        sys.exit(f"datatrove failed:\n{done.stderr[-3000:]}")
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabytes", type=int, default=500)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--peer-python", help="interpreter of an environment with datatrove")
    options = parser.parse_args()
    measure(10)  # compiles kernels
    runs = sorted((measure(options.megabytes) for _ in range(options.runs)), key=lambda run: run["wall"])
    middle = runs[len(runs) // 2]
    text = text_bytes(tiled(options.megabytes)) / 1e6
    pyarrow = statistics.median(floor(tiled(options.megabytes)) for _ in range(options.runs))
    print(f"{middle['documents']:,} documents, {text:.0f} MB, {middle['kept']:,} kept, median of {options.runs}")
    used = f"processor {middle['processor']:.1f} s, {middle['memory'] / 1e6:.0f} MB"
    print(f"gristmill  {middle['wall']:7.1f} s  {used}")
    print(f"pyarrow    {pyarrow:7.1f} s  one thread, read and written, nothing else: 1/{middle['wall'] / pyarrow:.1f}")
    for words in ("shipped", "split") if options.peer_python else ():
        seconds = peer(options.peer_python, options.megabytes, words)
        print(f"datatrove  {seconds:7.1f} s  words {words}: {seconds / middle['wall']:.0f} times as long", flush=True)
    print_steps(middle["steps"], text)


if __name__ == "__main__":
    main()
