"""Paragraph and line deduplication: how fast pieces are hashed, and taken out of texts, beside plain Python.

    python -m benchmarks.paragraphs

Python splits, lower-cases and joins by its own string methods and takes the first 8 bytes of SHA-1, as CCNet hashes
lines (Wenzek et al. 2020, section 3.2). One line in twenty is removed.
"""

from __future__ import annotations

import argparse
import hashlib
import re

import numpy as np
import pyarrow as pa

from benchmarks.common import bench_texts, median_seconds, print_table, size_of
from gristmill.operators.measures.paragraph_hashes import ParagraphHashes
from gristmill.operators.rules.paragraph_dedup import POSITIONS, ParagraphDedup

SEPARATORS = {"paragraph": re.compile(r"\n\s*\n"), "line": re.compile(r"\n")}


def hashed_in_python(texts: list[str], by: str) -> list[list[bytes]]:
    """The hashes of the pieces of each text."""
    split = SEPARATORS[by].split
    return [
        [hashlib.sha1(" ".join(piece.lower().split()).encode()).digest()[:8] for piece in split(text)] for text in texts
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabytes", type=float, default=20, help="how much of the benchmark corpus to use")
    parser.add_argument("--runs", type=int, default=5, help="the median of so many runs is shown")
    arguments = parser.parse_args()

    texts = bench_texts(arguments.megabytes)
    documents, plain, size = pa.record_batch({"text": texts}), texts.to_pylist(), size_of(texts) / 1e6
    rows = []
    for by in SEPARATORS:
        rule = ParagraphDedup(by=by)
        measure = rule.measure.open({})
        ours = size / median_seconds(lambda measure=measure: measure(documents), arguments.runs)
        python = size / median_seconds(lambda by=by: hashed_in_python(plain, by), arguments.runs)
        rows.append([f"hash {by}s", ours, python, ours / python])
    hashes = ParagraphHashes(by="line").open({})(documents)[0]
    some = [np.arange(0, len(lines), 20) for lines in hashes]
    positions = pa.array(some, POSITIONS)
    rule = ParagraphDedup(by="line")
    ours = size / median_seconds(lambda: rule.remove(texts, positions), arguments.runs)
    rows.append(["remove lines", ours, "", ""])
    print_table(["paragraph_dedup", "MB/s per core", "Python", "times as fast"], rows)


if __name__ == "__main__":
    main()
