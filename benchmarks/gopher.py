"""Gopher statistics: speed per core beside datatrove's filters, and how many values are equal.

    python -m benchmarks.gopher --peer-python peers/datatrove/bin/python

datatrove runs in an environment of its own, made once (xxhash 4 breaks datatrove 0.10.1):

    python -m venv peers/datatrove
    peers/datatrove/bin/pip install "datatrove==0.10.1" "xxhash<4" nltk regex spacy

Both get the same texts. datatrove is timed as shipped, with the words of spaCy's tokeniser (on a quarter of the
texts), and with words by str.split, which is quicker. Its filters stop at the first threshold that a document fails;
ours always finds all statistics. Where values differ it is by the set of characters taken for punctuation, by line ends
other than a line feed, and because datatrove joins the words of repeated n-grams without a space, so that "a bc"
repeats "ab c".
"""

from __future__ import annotations

import argparse
import math
from collections import Counter

import pyarrow as pa

from benchmarks.common import bench_texts, median_seconds, print_table, run_peer, size_of
from gristmill.operators.measures.gopher import Gopher

_FILTERS = """
from datatrove.data import Document
from datatrove.pipeline.filters import gopher_quality_filter, gopher_repetition_filter
if given["split"]:
    for module in (gopher_quality_filter, gopher_repetition_filter):
        module.split_into_words = lambda text, language: text.split()
quality = gopher_quality_filter.GopherQualityFilter()
repetition = gopher_repetition_filter.GopherRepetitionFilter()
"""

PEER_SPEED = (
    _FILTERS
    + """
documents = [Document(text=text, id="") for text in given["texts"]]
def both():
    for document in documents:
        quality.filter(document)
        repetition.filter(document)
give_back(median_seconds(both, given["runs"]))
"""
)

#: datatrove's own functions and, where a filter holds them, its expressions.
PEER_VALUES = (
    _FILTERS
    + """
from datatrove.utils.text import PUNCTUATION_SET
from datatrove.pipeline.filters.gopher_repetition_filter import (
    find_all_duplicate, find_duplicates, find_top_duplicate, get_n_grams
)
def values(text):
    words, lines = text.split(), text.splitlines()
    non_symbol = [w for w in words if any(ch not in PUNCTUATION_SET for ch in w)]
    row = {
        "words": len(non_symbol),
        "mean_word_length": sum(map(len, non_symbol)) / len(non_symbol),
        "hash_ratio": text.count("#") / len(words),
        "ellipsis_ratio": (text.count("...") + text.count("…")) / len(words),
        "bullet_lines": sum(s.lstrip().startswith("•") or s.lstrip().startswith("-") for s in lines) / len(lines),
        "ellipsis_lines": sum(s.rstrip().endswith("...") or s.rstrip().endswith("…") for s in lines) / len(lines),
        "alpha_words": sum(any(c.isalpha() for c in w) for w in words) / len(words),
        "stop_words": len(quality.stop_words.intersection(set(words))),
    }
    for name, pieces in (
        ("line", repetition._line_splitter.split(text)),
        ("paragraph", repetition.paragraph_exp.split(text.strip())),
    ):
        elements, characters = find_duplicates(pieces)
        row[f"dup_{name}s"] = elements / len(pieces)
        row[f"dup_{name}_chars"] = characters / len(text)
    for n in range(2, 5):
        grams = get_n_grams(words, n)
        row[f"top_{n}gram"] = find_top_duplicate(grams) / len(text) if grams else 0
    for n in range(5, 11):
        row[f"dup_{n}grams"] = find_all_duplicate(words, n) / len(text)
    return row
give_back([values(text) if any(any(ch not in PUNCTUATION_SET for ch in w) for w in text.split()) else None
           for text in given["texts"]])
"""
)


def compare_values(python: str, texts: pa.LargeStringArray) -> None:
    """Print which share of the values equals datatrove's, by column."""
    theirs = run_peer(python, PEER_VALUES, {"texts": texts.to_pylist(), "split": True})
    ours = Gopher().open({})(pa.record_batch({"text": texts})).to_pylist()
    pairs = [(mine, other) for mine, other in zip(ours, theirs, strict=True) if other is not None]
    equal = Counter(
        name
        for mine, other in pairs
        for name, value in other.items()
        if math.isclose(value, mine[f"gopher_{name}"], rel_tol=1e-12)
    )
    names = list(pairs[0][1])
    shares = {name: equal[name] / len(pairs) for name in names}
    shares["all"] = sum(shares.values()) / len(names)
    print_table(["column", "values equal"], [(name, f"{share:.2%}") for name, share in shares.items()])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer-python", help="interpreter of an environment with datatrove")
    parser.add_argument("--megabytes", type=float, default=4, help="how much of the benchmark corpus to use")
    parser.add_argument("--runs", type=int, default=5, help="the median of so many runs is shown")
    arguments = parser.parse_args()

    texts = bench_texts(arguments.megabytes)
    documents, function = pa.record_batch({"text": texts}), Gopher().open({})
    size = size_of(texts) / 1e6
    mine = median_seconds(lambda: function(documents), arguments.runs)
    rows = [["gristmill", size / mine, len(texts) / mine, 1.0]]
    if arguments.peer_python:
        for name, split, part in (
            ("datatrove, words by str.split", True, texts),
            ("datatrove as shipped", False, texts[: len(texts) // 4]),
        ):
            given = {"texts": part.to_pylist(), "runs": arguments.runs, "split": split}
            rate = size_of(part) / 1e6 / run_peer(arguments.peer_python, PEER_SPEED, given)
            rows.append([name, rate, rate * len(texts) / size, size / mine / rate])
    print_table(["Gopher statistics", "MB/s per core", "documents/s", "times as long"], rows)
    if arguments.peer_python:
        print()
        compare_values(arguments.peer_python, texts)


if __name__ == "__main__":
    main()
