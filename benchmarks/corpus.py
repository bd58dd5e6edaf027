"""Larger benchmark inputs: the bench text tiled to a size, words changed deterministically, ids rewritten.

Copies are told apart by a changed word in every twenty or so, so that a tile is neither a duplicate of the text it came
from nor foreign to it.
"""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

ROOT = Path(__file__).resolve().parents[1]
DATA = Path(os.environ.get("GRISTMILL_TEXT", ROOT.parent / "shared" / "data"))  # real text
WORK = ROOT / "benchmarks" / "work"
FILE_BYTES = 32_000_000


def tiled(megabytes: int) -> Path:
    """A folder of Parquet files with about so many MB (1e6 bytes of UTF-8) of text; made once."""
    folder = WORK / f"bench-{megabytes}MB"
    done = folder / "DONE"
    if done.exists():
        return folder
    folder.mkdir(parents=True, exist_ok=True)
    held: list[dict[str, str]] = []
    total = size = number = 0
    for document in _documents():
        held.append(document)
        size += len(document["text"].encode())
        if size >= FILE_BYTES or total + size >= megabytes * 1e6:
            pq.write_table(
                pa.Table.from_pylist(held),
                folder / f"part-{number:05d}.parquet",
                compression="zstd",
                row_group_size=4000,
            )
            total, size, number, held = total + size, 0, number + 1, []
        if total >= megabytes * 1e6:
            break
    done.write_text(f"{total}\n")
    return folder


def _documents() -> Iterator[dict[str, str]]:
    tile = 0
    while True:
        draw = random.Random(tile)
        for path in sorted((DATA / "bench").glob("part-*.parquet")):
            for row in pq.read_table(path).to_pylist():
                text = row["text"] if tile == 0 else _changed(row["text"], draw)
                yield {"id": f"{row['id']}-{tile}", "text": text, "source": row["source"]}
        tile += 1


def _changed(text: str, draw: random.Random) -> str:
    words = text.split(" ")
    for _ in range(max(1, len(words) // 20)):
        words[draw.randrange(len(words))] = f"{draw.choice('abcdefghij')}{draw.randrange(10**6)}"
    return " ".join(words)


def text_bytes(folder: Path) -> int:
    """UTF-8 bytes of text in a tiled folder."""
    return int((folder / "DONE").read_text())
