"""The share of a run that its report takes, and how large its page is; documents have few words and many numbers."""

from __future__ import annotations

import argparse
import tempfile
import time
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import yaml

import gristmill
from gristmill.pipelines.engine import open_engine
from gristmill.pipelines.html.reports import leave_report
from gristmill.pipelines.progress.reporter import Reporter
from gristmill.pipelines.stages.context import Context, RunResult
from gristmill.pipelines.stages.run import run

SOURCES, NUMBERS, SHARD = 8, 8, 250_000
LANGUAGES = np.array(["en", "de", "fr", "es", "zh", "ru", "ja"])


def write_recipe(folder: Path, documents: int) -> Path:
    """A recipe over Parquet files of 250,000 documents, of eight sources in turn."""
    draw = np.random.default_rng(0)
    numbers = [f"score_{i}" for i in range(NUMBERS)]
    for shard, first in enumerate(range(0, documents, SHARD)):
        n = min(SHARD, documents - first)
        table = {name: draw.beta(2 + i, 3, n) for i, name in enumerate(numbers)}
        table["lang"] = LANGUAGES[np.minimum(draw.geometric(0.4, n) - 1, len(LANGUAGES) - 1)]
        table["text"] = [f"document {first + i} says {i % 977}" for i in range(n)]
        pq.write_table(pa.table(table), folder / f"source-{shard % SOURCES}-{shard:05d}.parquet")
    metadata = {"lang": "string", **dict.fromkeys(numbers, "float")}
    sources = range(min(SOURCES, -(-documents // SHARD)))
    recipe = {
        "version": 1,
        "name": "report",
        "store": "./store",
        "sources": [{"name": f"s{i}", "path": f"source-{i}-*", "id": None, "metadata": metadata} for i in sources],
        "decide": [{"drop": "score_0 < 0.2"}, {"drop": "score_1 > quantile(0.9)"}, "exact_dedup"],
        "write": {"columns": ["id", "text", "source"]},
    }
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump(recipe))
    return path


def main() -> None:
    """Print processor and wall seconds of the run and of its report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--documents", type=int, default=1_000_000)
    parser.add_argument("--workers", type=int, default=2)
    asked = parser.parse_args()
    taken: list[tuple[float, float]] = []

    def timed(context: Context) -> RunResult:
        begun = time.perf_counter(), time.process_time()
        result = leave_report(context)
        taken.append((time.perf_counter() - begun[0], time.process_time() - begun[1]))
        return result

    with tempfile.TemporaryDirectory() as folder:
        loaded = gristmill.load_recipe(write_recipe(Path(folder), asked.documents))
        begun = time.perf_counter(), time.process_time()
        result = run(loaded, partial(open_engine, "local", asked.workers), Reporter(quiet=True), finish=timed)
        wall, processor = time.perf_counter() - begun[0], time.process_time() - begun[1]
        size = Path(str(result.report)).stat().st_size
    (own_wall, own), documents = taken[0], result.funnel.documents
    print(f"{documents:,} documents: {wall:.1f} s, {processor:.1f} processor seconds")
    print(f"report: {own_wall:.1f} s, {own:.1f} processor seconds ({own / processor:.1%}), {size:,} bytes")


if __name__ == "__main__":
    main()
