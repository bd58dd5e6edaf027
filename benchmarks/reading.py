"""A dataset as a stream of rows, beside pyarrow that reads the same files in batches of as many rows.

    python -m benchmarks.reading [--megabytes 100] [--runs 15]

All give Python strings. Processor seconds of the least run of each, made in turn: what others do on a shared machine
only adds to them.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterable

import pyarrow.parquet as pq

import gristmill
from benchmarks.common import print_table
from benchmarks.corpus import WORK, tiled
from gristmill.pipelines.readers.row_stream import BATCH_ROWS, RowStream

RECIPE = """
version: 1
name: read
store: {store}
sources: [{{name: docs, path: "{folder}/*.parquet"}}]
decide: [{{drop: "tokens = 0"}}]
write: {{columns: [id, text, source]}}
"""
BUFFER = 10_000


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--megabytes", type=int, default=100)
    parser.add_argument("--runs", type=int, default=15)
    options = parser.parse_args()
    dataset = gristmill.open_dataset(written(options.megabytes))

    def alone() -> Iterable[str]:
        for path in dataset.paths:
            for batch in pq.ParquetFile(path).iter_batches(BATCH_ROWS, columns=["text"], use_threads=False):
                yield from batch.column(0).to_pylist()

    readers: dict[str, Callable[[], Iterable[str]]] = {
        "pyarrow alone": alone,
        "stream, rows as they lie": lambda: dataset.stream("text").iterate(),
        f"stream, {BUFFER:,} rows shuffled together": lambda: dataset.stream(
            "text", seed=0, shuffle_buffer=BUFFER
        ).iterate(),
        "the same, by two workers, one after the other": lambda: halves(dataset.stream("text", seed=0)),
    }
    size = sum(len(text.encode()) for text in alone()) / 1e6
    seconds: dict[str, list[float]] = {name: [] for name in readers}
    for _ in range(options.runs):
        for name, read in readers.items():
            start = time.process_time()
            rows = sum(1 for _ in read())
            seconds[name].append(time.process_time() - start)
            assert rows == dataset.rows
    least = {name: min(of) for name, of in seconds.items()}
    print(f"{dataset.rows:,} texts, {size:.0f} MB, in {len(dataset.paths)} files")
    print_table(
        ["", "MB/s", "speed beside pyarrow alone"],
        [[name, size / took, least["pyarrow alone"] / took] for name, took in least.items()],
    )


def halves(stream: RowStream) -> Iterable[str]:
    """All rows, those of two workers one after the other."""
    for worker in range(2):
        yield from stream.iterate(worker, 2)


def written(megabytes: int) -> str:
    """A dataset of about so many MB of text; made once."""
    store = WORK / "reading" / f"{megabytes}MB"
    dataset = store / "datasets" / "read"
    if not (dataset / "CURRENT").exists():
        recipe = store / "recipe.yaml"
        store.mkdir(parents=True, exist_ok=True)
        recipe.write_text(RECIPE.format(store=store, folder=tiled(megabytes)))
        gristmill.run(recipe, engine="local")
    return str(dataset)


if __name__ == "__main__":
    main()
