"""Pages: reading WARC beside fastwarc, extraction beside the extractors alone.

    python -m benchmarks.extract [--runs 5]

One core each, on the WARC file of the benchmark corpus. The extractors alone get decoded pages in memory, or read the
file as a script would: fastwarc with its parser of HTTP, UTF-8 or else resiliparse's guess. Ours is the whole task of a
shard, from the file to Parquet: reading, quarantine, the process that extracts, limits for each page. fastwarc, which
neither parses HTTP nor decodes when it is timed for reading, is a bound. MB are of HTML, seconds processor seconds of
all processes; what is compared takes turns, and ratios are medians of turns.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import psutil
import trafilatura
from fastwarc.warc import ArchiveIterator, WarcRecordType
from resiliparse.extract.html2text import extract_plain_text
from resiliparse.parse.encoding import bytes_to_str, detect_encoding

from benchmarks.common import print_table
from benchmarks.corpus import DATA
from gristmill.operators.extract.extract import Extract
from gristmill.pipelines.shard_tasks.extract import ExtractShard
from gristmill.pipelines.sources.discover import discover
from gristmill.pipelines.sources.formats import with_defaults
from gristmill.pipelines.sources.read import read_shard
from gristmill.pipelines.sources.spec import Source
from gristmill.pipelines.store.registry import Registry


def processor_seconds() -> float:
    """Return the processor seconds of this process and its children so far."""
    own = psutil.Process()
    times = [process.cpu_times() for process in (own, *own.children())]
    return sum(entry.user + entry.system for entry in times)


def in_turns(works: Sequence[Callable[[], Any]], runs: int) -> list[list[float]]:
    """Return the processor seconds of each call in each turn, after one turn that is not counted."""
    turns: list[list[float]] = []
    for _ in range(runs + 1):
        turn = []
        for work in works:
            start = processor_seconds()
            work()
            turn.append(processor_seconds() - start)
        turns.append(turn)
    return turns[1:]


def by_library(name: str) -> Callable[[str], str | None]:
    """Return the library's own extraction with the options that ours has."""
    if name == "trafilatura":
        return lambda page: trafilatura.extract(page, fast=True, include_comments=False)
    return lambda page: extract_plain_text(
        page, preserve_formatting=True, main_content=True, alt_texts=False, comments=False
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=5)
    options = parser.parse_args()
    path = DATA / "web" / "real-pages.warc.gz"
    source = with_defaults(Source(name="crawl", path=str(path), format="warc"))
    (spec,) = discover([source], "/")

    def read() -> list[str]:
        return [text.as_py() for batch in read_shard(spec, source) for text in batch.documents["text"]]

    def read_by_fastwarc() -> None:
        with path.open("rb") as stream:
            for record in ArchiveIterator(stream, parse_http=False):
                record.reader.read()

    def pages_by_fastwarc() -> Iterator[str]:
        with path.open("rb") as stream:
            for record in ArchiveIterator(stream, record_types=WarcRecordType.response):
                body = record.reader.read()
                try:
                    yield body.decode()
                except UnicodeDecodeError:
                    yield bytes_to_str(body, detect_encoding(body))

    pages = read()
    size = sum(len(page.encode()) for page in pages) / 1e6
    start = time.perf_counter()
    turns = in_turns([read_by_fastwarc, read], options.runs)
    rate = [size / statistics.median(column) for column in zip(*turns, strict=True)]
    rows: list[list[object]] = [["reading: fastwarc", "", *rate, "", statistics.median(a / b for a, b in turns)]]
    ways: list[tuple[str, dict[str, Any]]] = [
        ("resiliparse", {}), ("trafilatura", {"rescue": 0}), ("trafilatura", {})
    ]  # fmt: skip
    for name, way in ways:
        library, extract = by_library(name), Extract.model_validate({"extractor": name, **way})
        with tempfile.TemporaryDirectory() as folder:
            calls = iter(range(1000))

            def task(extract: Extract = extract, folder: str = folder, calls: Any = calls) -> None:
                registry = Registry(str(Path(folder, str(next(calls)))), extract)
                ExtractShard(registry.shard(0, spec, source)).run()

            turns = in_turns(
                [
                    lambda library=library: [library(page) for page in pages],
                    lambda library=library: [library(page) for page in pages_by_fastwarc()],
                    task,
                ],
                options.runs,
            )
        rate = [size / statistics.median(column) for column in zip(*turns, strict=True)]
        job = f"text: {name}" + "".join(f", {option}: {value}" for option, value in way.items())
        ratios = [statistics.median(turn[i] / turn[2] for turn in turns) for i in (0, 1)]
        rows.append([job, *rate, *ratios])
    print(f"{len(pages)} pages, {size:.1f} MB of HTML, {time.perf_counter() - start:.0f} s")
    heads = ["library, from memory", "library, from the file", "gristmill", "/ from memory", "/ from the file"]
    print_table(["job: library", *(f"{head}, MB/s" if "/" not in head else head for head in heads)], rows)


if __name__ == "__main__":
    main()
