"""Published rules of lines and pages: speed per core beside datatrove's filters.

    python -m benchmarks.page_rules --peer-python peers/datatrove/bin/python

datatrove runs in the environment that benchmarks/gopher.py describes. Both get the same texts, datatrove as shipped
(words and sentences by spaCy) a quarter of them. Its filters stop at the first rule that drops a page; ours always
find all statistics, so what is timed beside a filter is all that its decision needs: for C4 the lines, then the
statistics of what is left. DCLM has no package of its line rules.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

import pyarrow as pa

from benchmarks.common import bench_texts, median_seconds, print_table, run_peer, size_of
from gristmill.operators.measures.page_statistics import PageStatistics
from gristmill.operators.transforms.clean_lines import PUBLISHED, CleanLines

PEER_SPEED = """
from datatrove.data import Document
from datatrove.pipeline.filters.c4_filters import C4QualityFilter
from datatrove.pipeline.filters.fineweb_quality_filter import FineWebQualityFilter
from datatrove.utils.word_tokenizers import WordTokenizer
class Split(WordTokenizer):
    word_tokenize = staticmethod(str.split)
    sent_tokenize = span_tokenize = None
filter = {
    "c4_lines": lambda: C4QualityFilter(min_num_sentences=-1, filter_lorem_ipsum=False, filter_curly_bracket=False),
    "c4": C4QualityFilter,
    "fineweb_split": lambda: FineWebQualityFilter(language=Split()),
    "fineweb": FineWebQualityFilter,
}[given["filter"]]()
def all_of_them():
    for text in given["texts"]:
        filter.filter(Document(text=text, id=""))
give_back(median_seconds(all_of_them, given["runs"]))
"""


#: What datatrove's filters above are called in the table.
PEERS = {
    "c4_lines": "C4QualityFilter without its rules of pages",
    "c4": "C4QualityFilter as shipped",
    "fineweb_split": "FineWebQualityFilter, words by str.split",
    "fineweb": "FineWebQualityFilter as shipped",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer-python", help="interpreter of an environment with datatrove")
    parser.add_argument("--megabytes", type=float, default=8, help="how much of the benchmark corpus to use")
    parser.add_argument("--runs", type=int, default=5, help="the median of so many runs is shown")
    arguments = parser.parse_args()

    texts, measure = bench_texts(arguments.megabytes), PageStatistics().open({})
    clean = {corpus: CleanLines(rules=corpus).open_measuring({}) for corpus in PUBLISHED}  # type: ignore[arg-type]

    def measured(array: pa.LargeStringArray) -> pa.RecordBatch:
        return measure(pa.record_batch({"text": array}))

    #: what is timed, and datatrove's filters beside it with the share of the texts that they get
    timed: dict[str, tuple[Callable[[], Any], dict[str, int]]] = {
        "clean_lines: c4": (lambda: clean["c4"](texts), {"c4_lines": 1}),
        "clean_lines: refinedweb": (lambda: clean["refinedweb"](texts), {}),
        "clean_lines: dclm": (lambda: clean["dclm"](texts), {}),
        "page_statistics": (lambda: measured(texts), {"fineweb_split": 1, "fineweb": 4}),
        "clean_lines: c4, then page_statistics": (lambda: measured(clean["c4"](texts).texts), {"c4": 4}),
    }
    size, rows = size_of(texts) / 1e6, []
    for name, (function, peers) in timed.items():
        mine = size / median_seconds(function, arguments.runs)
        rows.append([name, mine, ""])
        for peer, divisor in peers.items() if arguments.peer_python else ():
            part = texts[: len(texts) // divisor]
            given = {"texts": part.to_pylist(), "runs": arguments.runs, "filter": peer}
            rate = size_of(part) / 1e6 / run_peer(arguments.peer_python, PEER_SPEED, given)
            rows.append([f"datatrove, {PEERS[peer]}", rate, mine / rate])
    print_table(["rules of lines and pages", "MB/s per core", "times as long"], rows)


if __name__ == "__main__":
    main()
