"""Packed tokens: making them beside datatrove's tokens pipeline, reading them beside their bare file, what is cut.

    python -m benchmarks.packing [--megabytes 40] [--length 2048] [--runs 3] [--tokenizer FILE]
                                 [--peer-python peers/datatrove/bin/python]

Both make shuffled tokens with an end of text behind each document, of the same Parquet files and tokenizer. Times are
processor seconds of all threads, less those that reading the files alone takes. datatrove (see benchmarks/gopher.py for
its environment, and add tokenizers) runs DocumentTokenizer, which shuffles inside a file, and DocumentTokenizerMerger,
which makes one shuffled file; it packs nothing. Without --tokenizer a byte-level BPE of 32,000 entries is trained on a
third of the texts.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

import gristmill
from benchmarks.common import bench_texts, print_table, run_peer, size_of
from benchmarks.corpus import WORK
from gristmill.operators.measures.content_id import content_ids
from gristmill.operators.pack import Pack
from gristmill.pipelines.shard_tasks.pack import Packing, PackPartition, sending
from gristmill.pipelines.sinks.tokens import TokenShard
from gristmill.pipelines.stages.pack import listed, packed
from gristmill.pipelines.storage import files
from gristmill.pipelines.store.datasets import Version
from gristmill.pipelines.store.resources import ReadyOperator, resource

PEER = """
import shutil, tempfile
from datatrove.executor import LocalPipelineExecutor
from datatrove.pipeline.readers import ParquetReader
from datatrove.pipeline.tokens import DocumentTokenizer, DocumentTokenizerMerger

def seconds(function):
    start = time.process_time(); function(); return time.process_time() - start

def execute(*pipeline):
    with tempfile.TemporaryDirectory() as logs:
        LocalPipelineExecutor(pipeline=list(pipeline), tasks=1, workers=1, logging_dir=logs).run()

def once():
    work = tempfile.mkdtemp()
    reader = ParquetReader(given["texts"], glob_pattern="*.parquet")
    reading = seconds(lambda: execute(reader))
    tokens = DocumentTokenizer(f"{work}/tokens", given["tokenizer"], eos_token=given["eos"], seed=1)
    tokenizing = seconds(lambda: execute(ParquetReader(given["texts"], glob_pattern="*.parquet"), tokens)) - reading
    merging = seconds(lambda: execute(DocumentTokenizerMerger(f"{work}/tokens", f"{work}/merged", "x", seed=1)))
    shutil.rmtree(work)
    return tokenizing, merging

runs = [once() for _ in range(given["runs"])]
give_back([statistics.median(column) for column in zip(*runs)])
"""
EOS = "<|endoftext|>"
EPOCHS = 20  #: of reading, for one time


def trained(texts: pa.Array, path: Path) -> None:
    """Train a tokenizer."""
    import tokenizers

    tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE())
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = tokenizers.pre_tokenizers.ByteLevel.alphabet()
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=32_000, initial_alphabet=alphabet, special_tokens=[EOS], show_progress=False
    )
    tokenizer.train_from_iterator(texts[::3].to_pylist(), trainer)
    tokenizer.save(str(path))


class Job:
    """Our side: files of texts to shards of packed tokens, as the tasks of a run do it."""

    def __init__(self, texts: Path, tokenizer: Path, length: int) -> None:
        self.texts, self.length = texts, length
        self.resources = {"tokenizer": resource(str(tokenizer), "")}

    def ready(self, split: str) -> ReadyOperator:
        """The operator, with another way of packing."""
        return ReadyOperator("pack", Pack(tokenizer="t", length=self.length, split=split), self.resources)  # type: ignore[arg-type]

    def read(self) -> list[pa.Array]:
        """The texts of each file."""
        columns = (pq.read_table(path, use_threads=False)["text"] for path in sorted(self.texts.glob("*.parquet")))
        return [column.combine_chunks().cast(pa.large_string()) for column in columns]

    def tokenize(self) -> int:
        """Nothing but tokens; how many there are."""
        return sum(len(self.ready("concat").open().encode(texts)[0]) for texts in self.read())

    def pack(self, split: str, folder: Path) -> list[TokenShard]:
        """The whole job into a folder."""
        shutil.rmtree(folder, ignore_errors=True)
        ready, texts = self.ready(split), self.read()
        packing = Packing(ready, str(folder / "exchange"), len(texts))
        for sender, array in enumerate(texts):
            with sending(packing, sender) as opened:
                for start in range(0, len(array), 2000):
                    part = array.slice(start, 2000)
                    addresses = np.arange(start, start + len(part), dtype=np.uint64) | np.uint64(sender << 32)
                    opened.add(part, content_ids(part), addresses)
        senders, receipts = tuple(range(len(texts))), str(folder / "receipts")
        return [PackPartition(packing, senders, n, str(folder), receipts).run() for n in range(len(texts))]


def seconds(function: Callable[[], Any], runs: int) -> float:
    """Median processor seconds of this process, all threads, after a call that does not count."""
    function()
    return statistics.median(_seconds(function) for _ in range(runs))


def _seconds(function: Callable[[], Any]) -> float:
    start = time.process_time()
    function()
    return time.process_time() - start


def making(job: Job, megabytes: float, tokens: int, runs: int, peer: tuple[str, Any] | None) -> None:
    """How fast tokens are packed."""
    with tempfile.TemporaryDirectory(dir=WORK) as folder:
        reading = seconds(job.read, runs)
        tokenizing = seconds(job.tokenize, runs) - reading
        whole = seconds(lambda: job.pack("best_fit", Path(folder, "version")), runs) - reading
    rows = [
        ["gristmill, tokens alone", tokenizing],
        ["gristmill, shuffled, packed, .bin, .idx and Parquet", whole],
    ]
    if peer is not None:
        tokenized, merged = run_peer(peer[0], PEER, peer[1])
        rows += [["datatrove, DocumentTokenizer", tokenized], ["datatrove, and its merger", tokenized + merged]]
    print_table(
        ["per core", "processor s", "MB/s", "million tokens/s", "times as long as ours"],
        [[name, took, megabytes / took, tokens / took / 1e6, took / whole] for name, took in rows],
    )


def cutting(job: Job) -> None:
    """What each way of packing cuts and leaves empty."""
    rows = []
    for split in ("documents", "concat", "best_fit"):
        with tempfile.TemporaryDirectory(dir=WORK) as folder:
            counts = [shard.counts for shard in job.pack(split, Path(folder, "version"))]
        total = {name: sum(getattr(c, name) for c in counts) for name in counts[0].__dataclass_fields__}
        places = total["sequences"] * job.length
        rows.append(
            [
                split,
                total["sequences"],
                100 * total["padding"] / places,
                100 * total["truncated"] / total["documents"],
                100 * total["truncated_fitting"] / total["documents"],
                100 * total["cut_off"] / total["tokens"],
            ]
        )
    header = ["split", "sequences", "places empty %", "documents cut %", "that would fit %", "tokens cut off %"]
    print_table(header, rows)


def reading(job: Job, runs: int) -> None:
    """Reading in random order beside reading the file from its start; each sequence is copied once."""
    with tempfile.TemporaryDirectory(dir=WORK) as store:
        folder = Path(store, "datasets", "x", "000001-0123456789ab")
        shards, ready = job.pack("best_fit", folder), job.ready("best_fit")
        version = Version(str(folder), folder.name, True)
        entries = [listed(shard, version) for shard in shards]
        files.write_record(str(folder / "manifest.json"), {"files": [], "packed": packed(ready, entries)})
        (folder.parent / "CURRENT").write_text(f"{folder.name}\n")
        opened = gristmill.open_packed(folder.parent)
        dtype, length = opened.dtype, opened.length
        paths = sorted(folder.rglob("*.bin"))

        def by_memmap() -> None:
            for path in paths:
                mapped = np.memmap(path, dtype, "r")
                for i in range(0, len(mapped), length):
                    np.array(mapped[i : i + length])

        def by_fromfile() -> None:
            for path in paths:
                with open(path, "rb") as file:
                    while len(np.fromfile(file, dtype, length)):
                        pass

        def by_sequence(bounds: bool) -> None:
            for sequence in opened.feed(seed=1):
                np.array(sequence.tokens)
                if bounds:
                    _ = sequence.starts

        def by_batch() -> None:
            for _ in opened.feed(seed=1).batches(32):
                pass

        ways: list[tuple[str, Callable[[], None]]] = [
            ("np.memmap, from the start", by_memmap),
            ("np.fromfile, from the start", by_fromfile),
            ("feed, shuffled", lambda: by_sequence(bounds=False)),
            ("feed, shuffled, with boundaries", lambda: by_sequence(bounds=True)),
            ("feed, shuffled, batches of 32", by_batch),
        ]
        size = sum(path.stat().st_size for path in paths)
        rounds = [
            [_seconds(lambda way=way: [way() for _ in range(EPOCHS)]) for _, way in ways] for _ in range(2 * runs)
        ]
        taken = [statistics.median(column) for column in zip(*rounds[1:], strict=True)]
        rows = [
            [name, EPOCHS * size / took / 1e6, taken[0] / took] for (name, _), took in zip(ways, taken, strict=True)
        ]
        print_table([f"sequences of {length:,} tokens", "MB/s", "of np.memmap"], rows)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--megabytes", type=float, default=40)
    parser.add_argument("--length", type=int, default=2048)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--tokenizer", type=Path)
    parser.add_argument("--peer-python")
    arguments = parser.parse_args()
    WORK.mkdir(parents=True, exist_ok=True)
    texts = bench_texts(arguments.megabytes)
    with tempfile.TemporaryDirectory(dir=WORK) as folder:
        tokenizer = arguments.tokenizer or Path(folder, "tokenizer.json")
        if arguments.tokenizer is None:
            trained(texts, tokenizer)
        place = Path(folder, "texts")
        place.mkdir()
        half = len(texts) // 2
        for i, part in enumerate((texts.slice(0, half), texts.slice(half))):
            ids = pa.array([f"{i}-{n}" for n in range(len(part))])
            pq.write_table(pa.table({"id": ids, "text": part.cast(pa.string())}), place / f"part-{i}.parquet")
        job = Job(place, tokenizer, arguments.length)
        given = {"texts": str(place), "tokenizer": str(tokenizer), "eos": EOS, "runs": arguments.runs}
        peer = None if arguments.peer_python is None else (arguments.peer_python, given)
        megabytes = size_of(texts) / 1e6
        making(job, megabytes, job.tokenize() + len(texts), arguments.runs, peer)
        cutting(job)
        reading(job, arguments.runs)


if __name__ == "__main__":
    main()
