"""FineWeb's pipeline as a whole job, from a crawl, and from text, to a written dataset, beside datatrove's own steps.

    python -m benchmarks.crawl [--copies 6] [--megabytes 100] [--runs 3] [--peer-python peers/datatrove/bin/python]

Both read the same files with two workers: the WARC file of the benchmark corpus so many times over, and its text tiled.
Ours is configs/web/fineweb.yaml as a new process with an empty store, kernels compiled before. datatrove (see
benchmarks/gopher.py for its environment, and add trafilatura, lxml_html_clean, warcio, faust-cchardet, python-magic,
fasteners, fasttext-numpy2-wheel and tokenizers) takes its reader, extractor, filters, MinHash and formatter as in its
examples/fineweb.py, without the lists of URLs, and the language model that ours has; it runs once as shipped, and once
with words by str.split and sentences by a pattern in place of spaCy's.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import yaml

from benchmarks.corpus import DATA, ROOT, WORK, tiled
from benchmarks.end_to_end import gristmill, print_steps
from gristmill.operators.measures.language import Language

PEER = """
import re, sys
from datatrove.utils import lid, word_tokenizers

source, work, tasks, kind, words, model = sys.argv[1], sys.argv[2], int(sys.argv[3]), *sys.argv[4:]
lid.cached_asset_path_or_download = lambda *args, **kwargs: model

class Simple(word_tokenizers.WordTokenizer):
    def word_tokenize(self, text):
        return text.split()
    def sent_tokenize(self, text):
        return [sentence for sentence in re.split(r"(?<=[.!?])\\s+", text) if sentence]
    def span_tokenize(self, text):
        return [match.span() for match in re.finditer(r"\\S.*?(?:[.!?](?=\\s)|\\Z)", text, re.DOTALL)]

if words == "simple":
    word_tokenizers.load_word_tokenizer = lambda language: Simple()  # before anything imports it by name

from datatrove.executor import LocalPipelineExecutor
from datatrove.pipeline.dedup import MinhashDedupBuckets, MinhashDedupCluster, MinhashDedupFilter, MinhashDedupSignature
from datatrove.pipeline.dedup.minhash import MinhashConfig
from datatrove.pipeline.extractors import Trafilatura
from datatrove.pipeline.filters import (
    C4QualityFilter, FineWebQualityFilter, GopherQualityFilter, GopherRepetitionFilter, LanguageFilter,
)
from datatrove.pipeline.formatters import PIIFormatter
from datatrove.pipeline.readers import ParquetReader, WarcReader
from datatrove.pipeline.writers import ParquetWriter

config = MinhashConfig(num_buckets=14, hashes_per_bucket=8)

def stage(tasks, *pipeline):
    stage.n += 1
    logs = f"{work}/logs{stage.n}"
    LocalPipelineExecutor(pipeline=list(pipeline), tasks=tasks, workers=2, logging_dir=logs).run()
stage.n = 0

def filtered():
    return ParquetReader(f"{work}/filtered", glob_pattern="*.parquet")

if __name__ == "__main__":
    pages = [WarcReader(source, glob_pattern="*.warc.gz"), Trafilatura(favour_precision=True)]
    texts = [ParquetReader(source, glob_pattern="*.parquet")]
    stage(
        tasks, *(pages if kind == "pages" else texts), LanguageFilter(languages="en"), GopherRepetitionFilter(),
        GopherQualityFilter(), C4QualityFilter(filter_no_terminal_punct=False), FineWebQualityFilter(),
        ParquetWriter(f"{work}/filtered"),
    )
    stage(tasks, filtered(), MinhashDedupSignature(output_folder=f"{work}/signatures", config=config))
    stage(14, MinhashDedupBuckets(f"{work}/signatures", f"{work}/buckets", config=config))
    stage(1, MinhashDedupCluster(f"{work}/buckets", f"{work}/remove", config=config))
    stage(tasks, filtered(), MinhashDedupFilter(f"{work}/remove"), PIIFormatter(), ParquetWriter(f"{work}/out"))
"""


def crawl(copies: int) -> Path:
    """A folder that holds the WARC file of the corpus so many times."""
    folder = WORK / f"crawl-{copies}"
    folder.mkdir(parents=True, exist_ok=True)
    for i in range(copies):
        if not (folder / f"{i:03d}.warc.gz").exists():
            shutil.copy(DATA / "web" / "real-pages.warc.gz", folder / f"{i:03d}.warc.gz")
    return folder


def recipe(folder: Path, source: Path, pages: bool) -> Path:
    """The recipe of configs/web/fineweb.yaml over these files."""
    held = yaml.safe_load((ROOT / "configs" / "web" / "fineweb.yaml").read_text())
    held["store"] = str(folder / "store")
    if pages:
        held["sources"] = [{"name": "crawl", "path": str(source / "*.warc.gz"), "format": "warc"}]
    else:
        held["sources"] = [{"name": "crawl", "path": str(source / "*.parquet")}]
        del held["extract"]
        held["write"] = {"columns": ["id", "text", "lang", "lang_score"]}
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump(held, sort_keys=False))
    return path


def measure(source: Path, pages: bool) -> dict[str, Any]:
    """One cold run (empty store) of ours."""
    folder = WORK / "crawl-run"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    path = recipe(folder, source, pages)
    result, wall, _, memory = gristmill("run", str(path), "--json", "--quiet", "--workers", "2", "--engine", "local")
    counts = {key: result["funnel"][key] for key in ("documents", "kept", "text_bytes")}
    return {"wall": wall, "memory": memory, "steps": result["processor_seconds"], **counts}


def peer(python: str, source: Path, kind: str, words: str) -> tuple[float, int]:
    """Seconds of datatrove's five stages, and how many documents it wrote."""
    import pyarrow.parquet as pq

    work, script = WORK / "crawl-peer", WORK / "crawl_peer.py"
    shutil.rmtree(work, ignore_errors=True)
    script.write_text(PEER)  # a file: its workers import it
    tasks = sum(1 for _ in source.glob("*.*.gz" if kind == "pages" else "*.parquet"))
    model = Language().resources()["model"]
    start = time.perf_counter()
    done = subprocess.run(
        [python, str(script), str(source), str(work), str(tasks), kind, words, model],
        capture_output=True, text=True, check=False, env={**os.environ, "HF_HUB_OFFLINE": "1"}, timeout=3600,
    )  # fmt: skip
    seconds = time.perf_counter() - start
    written = list(Path(work, "out").glob("*.parquet"))
    if done.returncode != 0 or not written:
        sys.exit(f"datatrove failed:\n{done.stderr[-3000:]}")
    return seconds, sum(pq.read_metadata(file).num_rows for file in written)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--copies", type=int, default=6)
    parser.add_argument("--megabytes", type=int, default=100)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--peer-python", help="interpreter of an environment with datatrove")
    options = parser.parse_args()
    for kind, source in (("pages", crawl(options.copies)), ("texts", tiled(options.megabytes))):
        measure(source, kind == "pages")  # compiles kernels
        runs = sorted((measure(source, kind == "pages") for _ in range(options.runs)), key=lambda run: run["wall"])
        middle = runs[len(runs) // 2]
        size = f"{middle['text_bytes'] / 1e6:.1f} MB of text"
        print(f"\nfrom {kind}: {middle['documents']:,} documents, {size}, median of {options.runs}")
        used = f"processor {sum(middle['steps'].values()):.1f} s in steps, {middle['memory'] / 1e6:.0f} MB"
        print(f"gristmill  {middle['wall']:7.1f} s  {middle['kept']:,} kept  {used}", flush=True)
        for words in ("shipped", "simple") if options.peer_python else ():
            seconds, kept = peer(options.peer_python, source, kind, words)
            times = f"{seconds / middle['wall']:.1f} times as long"
            print(f"datatrove  {seconds:7.1f} s  {kept:,} kept  words {words}: {times}", flush=True)
        print_steps(middle["steps"], middle["text_bytes"] / 1e6)


if __name__ == "__main__":
    main()
