"""A changed threshold over millions of documents, from stored measures: what `gristmill what-if` takes.

python -m benchmarks.what_if [--millions 10] [--workers 2] [--runs 3] [--keep FOLDER]

The store is made up: shards of 250,000 documents of four sources with an id, a content id, a language, a score and the
columns of `gopher` and `tokens`, as a run would have measured them; there are no texts behind them. Seconds are those
of a process from its start to its end, medians of the runs.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa

from benchmarks.common import print_table
from gristmill.operators import columns
from gristmill.operators.measures.gopher import TYPES
from gristmill.pipelines.planning.state import plan_run
from gristmill.pipelines.recipe.recipe import load_recipe
from gristmill.pipelines.store.measures import MeasureStore, Pass, ShardCounts, write_measures

SOURCES = ("web", "books", "forums", "news")
SHARD = 250_000
#: Statistics that no text has a 0 in; of others most texts of a real corpus do, which is what makes them small.
DENSE = ("mean_word_length", "alpha_words", "gram")
#: Share of the documents that are copies of others, at most.
COPIES = 0.05
LANGUAGES = ("en", "de", "fr", "pt", "ja")
RULES = """
decide:
  - drop: {when: "lang in ('pt', 'ja')", name: languages}
  - drop: "gopher_words < 50 or gopher_symbol_ratio > 0.1 or gopher_dup_lines > 0.3"
  - drop: {when: "quality < 0.3", name: low_quality}
"""
SELECT = "  - select: {by: quality, method: top, fraction: 0.5}\n"
LAST = 'decide.low_quality.when="quality < 0.4"'
FIRST = "decide.languages.when=\"lang = 'ja'\""
#: What is asked: rules after those above, and the command.
ASKED = {
    "what-if, the last drop changed": ("", "what-if", "--set", LAST, "--examples", "0"),
    "what-if, the first drop changed": ("", "what-if", "--set", FIRST, "--examples", "0"),
    "sweep over the last drop, 17 limits": ("", "sweep", "quality", "0.1..0.9"),
    "sweep over the second drop, 17 limits": ("", "sweep", "gopher_words", "20..180"),
    "what-if with exact_dedup after them": ("  - exact_dedup\n", "what-if", "--set", LAST, "--examples", "0"),
    "what-if with select after them": (SELECT, "what-if", "--set", LAST, "--examples", "0"),
}
PROGRAM = """
import resource, sys
from gristmill.pipelines.cli.main import main
try:
    main()
except SystemExit as end:
    assert not end.code, end.code
used = resource.getrusage(resource.RUSAGE_SELF)
print(used.ru_utime + used.ru_stime, used.ru_maxrss / 1000, file=sys.stderr)
"""


def write_recipe(folder: Path, more: str) -> Path:
    """A recipe over the sources."""
    fields = "metadata: {lang: string, quality: float}"
    sources = "".join(f'  - {{name: {name}, path: "data/{name}-*.jsonl", {fields}}}\n' for name in SOURCES)
    recipe = folder / "recipe.yaml"
    head = f"version: 1\nname: what-if\nstore: ./store\nsources:\n{sources}measure: [gopher, text_hash]"
    recipe.write_text(f"{head}{RULES}{more}write: {{}}\n")
    return recipe


def make_store(folder: Path, documents: int) -> None:
    """Measures of so many documents, without their text."""
    shards = max(len(SOURCES), round(documents / SHARD))
    (folder / "data").mkdir(parents=True)
    for i in range(shards):
        line = json.dumps({"id": f"{i}", "text": "made up", "lang": "en", "quality": 0.5})
        (folder / "data" / f"{SOURCES[i % len(SOURCES)]}-{i:04d}.jsonl").write_text(line + "\n")
    state = plan_run(load_recipe(str(write_recipe(folder, ""))), asks=False)
    plan, store = state.plan, MeasureStore(state.plan.loaded.store)
    operators = {plan.fingerprint(m.ready): tuple(m.operator.gives().names) for m in plan.measures if m.ready}
    document = (columns.ROW, columns.ID, columns.CONTENT_ID, columns.BYTES, "lang", "quality")
    operators |= {plan.document_fingerprint(source): document for source in plan.loaded.recipe.sources}
    done = Pass(operators)
    store.begin(done)
    measured = _made_up(plan.schema)
    for shard in state.registry.register(state.pending, plan.loaded.document):
        table = _of_shard(measured, shard.ordinal).select(
            [*document, *(n for m in plan.measures for n in m.operator.gives().names)]
        )
        write_measures(
            store.file(done.name, shard.ordinal), table, ShardCounts(shard.ordinal, SHARD, SHARD, 0, SHARD * 2000)
        )


def _made_up(schema: pa.Schema) -> pa.Table:
    random = np.random.default_rng(1)
    table = {
        columns.ROW: pa.array(np.arange(SHARD, dtype=np.uint32)),
        columns.BYTES: pa.array(random.integers(100, 4000, SHARD).astype(np.uint64)),
        "lang": pa.array(random.choice(LANGUAGES, SHARD, p=(0.6, 0.15, 0.1, 0.1, 0.05))),
        "quality": pa.array(random.random(SHARD)),
        "tokens": pa.array(random.integers(20, 1000, SHARD), schema.field("tokens").type),
    }
    for name in schema.names:
        if name.startswith("gopher_"):
            kind = TYPES.get(name.removeprefix("gopher_"))
            values = random.integers(0, 250, SHARD) if kind else random.random(SHARD) ** 2
            if kind is None and not name.endswith(DENSE):
                values *= random.random(SHARD) < 0.15
            table[name] = pa.array(values, kind or pa.float64())
    return pa.table(table)


def _of_shard(measured: pa.Table, ordinal: int) -> pa.Table:
    """The measures of one shard: the rows of all are alike, in an order of their own, with ids of their own."""
    order = np.random.default_rng([2, ordinal]).permutation(SHARD)
    table = measured.take(pa.array(order)).set_column(0, columns.ROW, measured[columns.ROW])
    random = np.random.default_rng([3, ordinal])
    hashes = {}
    for name in (columns.CONTENT_ID, "text_hash"):
        words = random.integers(0, 2**63, (SHARD, 2))
        copies = random.random(SHARD) < COPIES
        words[copies] = random.integers(0, SHARD, (int(copies.sum()), 1))
        hashes[name] = pa.FixedSizeBinaryArray.from_buffers(pa.binary(16), SHARD, [None, pa.py_buffer(words.tobytes())])
    names = pa.array([f"doc-{ordinal}-{i}" for i in range(SHARD)])
    for name, column in {**hashes, columns.ID: names}.items():
        table = table.append_column(name, column)
    return table


def ask(recipe: Path, workers: int, command: str, *arguments: str) -> tuple[float, float, float]:
    """Seconds on the wall, seconds of processor time and peak MB of a command."""
    line = [sys.executable, "-c", PROGRAM, command, str(recipe), *arguments, "--workers", str(workers), "--quiet"]
    environment = {**os.environ}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)  # as it is for who does not set it
    began = time.perf_counter()
    done = subprocess.run(line, capture_output=True, text=True, check=False, env=environment)
    if done.returncode:
        raise SystemExit(done.stderr)
    processor, memory = map(float, done.stderr.split()[-2:])
    return time.perf_counter() - began, processor, memory


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--millions", type=float, default=10)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--keep", type=Path, help="a folder for the store, which is used again where it is there")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as made:
        folder = (options.keep or Path(made, "store")).resolve()
        if not folder.exists():
            make_store(folder, round(options.millions * 1e6))
        size = sum(path.stat().st_size for path in folder.rglob("*.parquet"))
        print(f"{len(list((folder / 'data').iterdir())) * SHARD:,} documents, {size / 1e6:,.0f} MB of measures\n")
        rows = []
        for what, (more, *command) in ASKED.items():
            recipe = write_recipe(folder, more)
            runs = [ask(recipe, options.workers, *command) for _ in range(options.runs)]
            rows.append([what, *(statistics.median(column) for column in zip(*runs, strict=True))])
        print_table(["asked", "wall s", "processor s", "peak MB"], rows)


if __name__ == "__main__":
    main()
