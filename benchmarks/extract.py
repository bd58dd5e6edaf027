"""Pages: reading WARC beside fastwarc, extraction beside the extractors alone.

    python -m benchmarks.extract [--runs 3]

One core each, on the WARC files of the benchmark corpus. Reading is from the file to decoded HTML; fastwarc, which
neither parses HTTP here nor decodes, is a bound. An extraction is the whole task of a shard, from the file to Parquet:
reading, the process that extracts, limits for each page. MB are those of HTML, seconds processor seconds of all
processes.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import trafilatura
from fastwarc.warc import ArchiveIterator
from resiliparse.extract.html2text import extract_plain_text

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


def seconds(work: Callable[[], Any], runs: int) -> float:
    """Return the median processor seconds of a call, after one that is not counted."""
    work()
    taken = []
    for _ in range(runs):
        start = processor_seconds()
        work()
        taken.append(processor_seconds() - start)
    return statistics.median(taken)


def by_library(name: str) -> Callable[[str], str | None]:
    """Return the library's own extraction with the options that ours has."""
    if name == "trafilatura":
        return lambda page: trafilatura.extract(page, fast=True, include_comments=False)
    return lambda page: extract_plain_text(
        page, preserve_formatting=True, main_content=True, alt_texts=False, comments=False
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=3)
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

    pages = read()
    size = sum(len(page.encode()) for page in pages) / 1e6
    start = time.perf_counter()
    rows: list[list[object]] = []
    ours, theirs = seconds(read, options.runs), seconds(read_by_fastwarc, options.runs)
    rows.append(["reading: fastwarc", size / theirs, size / ours, theirs / ours])
    for name in ("resiliparse", "trafilatura"):
        library = by_library(name)
        theirs = seconds(lambda library=library: [library(page) for page in pages], options.runs)
        extract = Extract.model_validate({"extractor": name})
        with tempfile.TemporaryDirectory() as folder:
            calls = iter(range(1000))

            def task(extract: Extract = extract, folder: str = folder, calls: Any = calls) -> None:
                registry = Registry(str(Path(folder, str(next(calls)))), extract)
                ExtractShard(registry.shard(0, spec, source)).run()

            ours = seconds(task, options.runs)
        rows.append([f"text: {name}", size / theirs, size / ours, theirs / ours])
    print(f"{len(pages)} pages, {size:.1f} MB of HTML, {time.perf_counter() - start:.0f} s")
    print_table(["job: library", "library MB/s", "gristmill MB/s", "gristmill / library"], rows)


if __name__ == "__main__":
    main()
