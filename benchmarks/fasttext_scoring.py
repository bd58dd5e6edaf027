"""fastText scoring: speed per core beside the library's own predict, and memory of two processes with one model.

    python -m benchmarks.fasttext_scoring

Both score the same texts with the same models (word bigrams; trained once on the benchmark corpus) and one thread. The
library gets a list of Python strings whose newlines are spaces already, ours Arrow text as it is. Memory is the
proportional set size (PSS) of each of two processes after both have scored everything: a page that both have mapped
counts half.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import re
from collections.abc import Callable
from functools import partial
from multiprocessing.queues import SimpleQueue
from multiprocessing.synchronize import Barrier
from pathlib import Path

import fasttext

from benchmarks.common import bench_texts, median_seconds, print_table, size_of
from benchmarks.corpus import WORK
from gristmill.operators.fasttext.classifier import Classifier

#: Name to (dimensions, buckets): fastText's defaults, and those of `gristmill train quality`.
MODELS = {"dim 100, 2 million buckets": (100, 2_000_000), "dim 32, 500,000 buckets": (32, 500_000)}
LABEL = "__label__0"


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--megabytes", type=float, default=20, help="how much text")
    parser.add_argument("--runs", type=int, default=5)
    options = parser.parse_args()
    models = {name: trained_model(*size) for name, size in MODELS.items()}
    print_table(("model", "fastText MB/s", "gristmill MB/s", "ratio"), speeds(models, options.megabytes, options.runs))
    print()
    rows = [(name, *memory(score, next(iter(models.values())), options.megabytes)) for name, score in SCORERS.items()]
    print_table(("two processes, dim 100", "model file MB", "PSS MB of one", "PSS MB of the other"), rows)


def trained_model(dim: int, buckets: int) -> Path:
    """A model of two labels trained on the benchmark corpus; made once."""
    path = WORK / f"fasttext-{dim}-{buckets}.bin"
    if not path.exists():
        WORK.mkdir(parents=True, exist_ok=True)
        lines = WORK / "fasttext-train.txt"
        lines.write_text("".join(f"__label__{i % 2} {text}\n" for i, text in enumerate(one_line_texts(50))))
        # As many threads as it takes to initialise the whole matrix (see pipelines/fasttext_training.py).
        options = {"wordNgrams": 2, "epoch": 1, "thread": 11, "verbose": 0}
        fasttext.train_supervised(str(lines), dim=dim, bucket=buckets, **options).save_model(str(path))
    return path


def speeds(models: dict[str, Path], megabytes: float, runs: int) -> list[tuple[object, ...]]:
    """Name, MB/s of the library, MB/s of ours, ratio, for each model."""
    texts, lines = bench_texts(megabytes), one_line_texts(megabytes)
    size = size_of(texts) / 1e6
    rows: list[tuple[object, ...]] = []
    for name, path in models.items():
        model, probability = fasttext.load_model(str(path)), Classifier(path).probability(LABEL)
        theirs = size / median_seconds(partial(model.predict, lines), runs)
        ours = size / median_seconds(partial(probability, texts), runs)
        rows.append((name, theirs, ours, ours / theirs))
    return rows


def one_line_texts(megabytes: float) -> list[str]:
    """The texts as the library takes them."""
    return [re.sub(r"[\n\r]", " ", text) for text in bench_texts(megabytes).to_pylist()]


def score_by_library(path: Path, megabytes: float) -> object:
    """Score with fastText; returns what must stay in memory."""
    model = fasttext.load_model(str(path))
    model.predict(one_line_texts(megabytes))
    return model


def score_by_kernel(path: Path, megabytes: float) -> object:
    """Score with gristmill; returns what must stay in memory."""
    probability = Classifier(path).probability(LABEL)
    probability(bench_texts(megabytes))
    return probability


SCORERS = {"fastText": score_by_library, "gristmill": score_by_kernel}


def memory(score: Callable[[Path, float], object], path: Path, megabytes: float) -> tuple[float, ...]:
    """Size of the model file, and the PSS of each of two processes that have scored with it, in MB."""
    context = multiprocessing.get_context("spawn")
    scored, measured, found = context.Barrier(2), context.Barrier(2), context.SimpleQueue()
    arguments = (score, path, megabytes, scored, measured, found)
    processes = [context.Process(target=report_memory, args=arguments) for _ in range(2)]
    for process in processes:
        process.start()
    sizes = [found.get() for _ in processes]
    for process in processes:
        process.join()
    return (os.path.getsize(path) / 1e6, *sizes)


def report_memory(
    score: Callable[[Path, float], object],
    path: Path,
    megabytes: float,
    scored: Barrier,
    measured: Barrier,
    found: SimpleQueue[float],
) -> None:
    """In a process of its own: score, wait for the other process to have scored, put the PSS in MB."""
    model = score(path, megabytes)
    scored.wait()
    kilobytes = re.search(r"^Pss: +(\d+) kB", Path("/proc/self/smaps_rollup").read_text(), re.MULTILINE)
    assert kilobytes is not None
    found.put(int(kilobytes[1]) * 1024 / 1e6)
    measured.wait()  # nobody unmaps anything before both have looked
    del model


if __name__ == "__main__":
    main()
