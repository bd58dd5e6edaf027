"""Answers of `gristmill ui` over many documents: search, explain, clusters, runs, by one user and by ten at once.

A store is made as others make theirs (documents of some hundred bytes, near copies among them), served by the command's
own server in a process of its own, and asked over HTTP. Times are those of whole pages, as a browser gets them.
"""

from __future__ import annotations

import argparse
import http.client
import os
import random
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlencode

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import yaml

import gristmill
from gristmill.pipelines.progress.reporter import Reporter

SHARD, VOCABULARY, USERS = 100_000, 200_000, 10
#: One of so many documents is a near copy of the one before it.
COPIES = 20


def word(place: int) -> str:
    """The word of a place in the vocabulary: short for frequent ones."""
    letters = ""
    while True:
        place, letter = divmod(place, 20)
        letters += "bcdfghjklmnpqrstvwxz"[letter] + "aeiou"[(place + letter) % 5]
        if not place:
            return letters


def write_recipe(folder: Path, documents: int, words_of_each: int, near_copies: bool) -> Path:
    """A recipe over Parquet files of 100,000 documents, their words as frequent as in texts (Zipf's law)."""
    draw = np.random.default_rng(0)
    words = np.array([word(i) for i in range(VOCABULARY)])
    for shard, first in enumerate(range(0, documents, SHARD)):
        n = min(SHARD, documents - first)
        places = np.minimum(draw.zipf(1.2, (n, words_of_each)) - 1, VOCABULARY - 1)
        places[1::COPIES, :-2] = places[: n - 1 : COPIES, :-2][: len(places[1::COPIES])]
        ids = [f"https://example.org/{first + i:09d}/{draw.integers(1 << 30):x}" for i in range(n)]
        texts = [" ".join(row) for row in words[places]]
        table = {"id": ids, "text": texts, "score": draw.beta(2, 3, n), "lang": draw.choice(["en", "de", "fr"], n)}
        pq.write_table(pa.table(table), folder / f"{'abcd'[shard % 4]}-{shard:05d}.parquet")
    metadata = {"score": "float", "lang": "string"}
    recipe = {
        "version": 1,
        "name": "web",
        "store": "./store",
        "sources": [
            {"name": name, "path": f"{name}-*.parquet", "metadata": metadata}
            for name in "abcd"[: -(-documents // SHARD)]
        ],
        "decide": [
            {"drop": "score < 0.15"},
            "exact_dedup",
            *([{"fuzzy_dedup": {"threshold": 0.7}}] if near_copies else []),
        ],
        "write": {"columns": ["id", "text", "source"]},
    }
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump(recipe))
    return path


def get(port: int, path: str) -> tuple[float, int, str]:
    """Seconds until a page is there, its status and content."""
    begun = time.perf_counter()
    connection = http.client.HTTPConnection("127.0.0.1", port)
    connection.request("GET", path)
    answer = connection.getresponse()
    content = answer.read().decode()
    connection.close()
    return time.perf_counter() - begun, answer.status, content


def waited(port: int, path: str) -> float:
    """Seconds until a page's index is made."""
    begun = time.perf_counter()
    while 'class="working"><progress' in (page := get(port, path)[2]):
        time.sleep(1)
    assert "cannot be made" not in page, page
    return time.perf_counter() - begun


def figures(seconds: list[float]) -> str:
    """Median, 95th percentile and longest of some times."""
    p50, p95, p100 = np.percentile(seconds, [50, 95, 100])
    return f"p50 {1000 * p50:6.0f} ms   p95 {1000 * p95:6.0f} ms   longest {1000 * p100:6.0f} ms"


def pages(ids: list[str], clusters: list[str], run: str) -> dict[str, Callable[[random.Random], str]]:
    """Kinds of requests, each a function that draws one."""

    def words(chosen: random.Random, n: int, rarest: int) -> str:
        return " ".join(word(int(np.exp(chosen.uniform(0, np.log(rarest))))) for _ in range(n))

    return {
        "search, a frequent word": lambda chosen: "/search?" + urlencode({"q": word(chosen.randrange(20))}),
        "search, three words": lambda chosen: "/search?" + urlencode({"q": words(chosen, 3, 5000)}),
        "search, a phrase": lambda chosen: "/search?" + urlencode({"q": f'"{words(chosen, 2, 200)}"'}),
        "search, beginning of an id": lambda chosen: "/search?" + urlencode({"q": chosen.choice(ids)[:28]}),
        "explain": lambda chosen: "/explain?" + urlencode({"id": chosen.choice(ids)}),
        "clusters": lambda chosen: f"/clusters?page={chosen.randint(1, 20)}",
        **({"a cluster": lambda chosen: chosen.choice(clusters)} if clusters else {}),
        "quarantine": lambda chosen: "/quarantine",
        "list of runs": lambda chosen: "/",
        "a run": lambda chosen: f"/runs/{run}",
    }


def served(store: Path, cache: Path) -> Iterator[int]:
    """The port of a server of the store, until the generator is closed."""
    command = [
        sys.executable,
        "-m",
        "gristmill",
        "ui",
        "--store",
        str(store),
        "--port",
        "0",
        "--no-open",
        "--cache",
        str(cache),
    ]
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    begun = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
    try:
        assert process.stdout is not None
        port = re.search(r":(\d+)/", process.stdout.readline())
        assert port is not None
        print(f"ready after {time.perf_counter() - begun:.1f} s")
        yield int(port[1])
        for line in Path(f"/proc/{process.pid}/status").read_text().splitlines():
            if line.startswith("VmHWM"):
                print(f"most memory of the server: {int(line.split()[1]) / 1e6:.2f} GB")
    finally:
        process.terminate()
        process.wait()


def main() -> None:
    """Print seconds of each kind of page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--documents", type=int, default=1_000_000)
    parser.add_argument("--words", type=int, default=40, help="of each document")
    parser.add_argument("--clusters", action=argparse.BooleanOptionalAction, default=True, help="look for near copies")
    parser.add_argument("--requests", type=int, default=100, help="of each kind")
    parser.add_argument("--pause", type=float, default=1.0, help="seconds that each of the ten looks at a page")
    parser.add_argument("--folder", type=Path, help="where the store is made, and left")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = asked.folder or Path(temporary)
        folder.mkdir(exist_ok=True)
        if not (folder / "store").exists():
            begun = time.perf_counter()
            recipe = write_recipe(folder, asked.documents, asked.words, asked.clusters)
            gristmill.run(recipe, reporter=Reporter(quiet=True))
            print(f"{asked.documents:,} documents, run in {time.perf_counter() - begun:.0f} s (made before it)")
        for port in served(folder / "store", folder / "cache"):
            measure(port, folder, asked.requests, asked.pause)


def measure(port: int, folder: Path, requests: int, pause: float) -> None:
    """Print seconds until indexes are made, then of each kind of page, first by one user, then by ten at once."""
    page, run = 'class="working"><progress', get(port, "/")[2]
    name = re.search(r"/runs/([0-9a-f-]+)", run)
    assert name is not None
    print(
        f"texts and ids indexed after {waited(port, '/search?q=x'):.0f} s, clusters {waited(port, '/clusters'):.0f} s"
    )
    size = sum(path.stat().st_size for path in (folder / "cache").rglob("*") if path.is_file())
    print(f"size of the indexes: {size / 1e6:,.0f} MB; of the dataset {dataset_bytes(folder) / 1e6:,.0f} MB")
    print(f"the charts of the run, first time: {get(port, f'/runs/{name[1]}')[0]:.1f} s")
    rows = gristmill.query(str(folder / "store"), "SELECT id FROM documents USING SAMPLE 2000 ROWS")
    ids = rows["id"].to_pylist()
    found = re.findall(r'href="(/cluster\?[^"]+)"', get(port, "/clusters")[2])
    kinds = pages(ids, [link.replace("&amp;", "&") for link in found], name[1])
    chosen = random.Random(0)
    for kind, draw in kinds.items():
        taken = []
        for path in [draw(chosen) for _ in range(requests)]:
            seconds, status, content = get(port, path)
            assert status == 200, (path, status)
            assert page not in content, path
            taken.append(seconds)
        print(f"{kind:28} {figures(taken)}")
    print(f"{USERS} users at once, all kinds, each asks again {pause:g} s after a page is there:")
    todo = [(kind, draw(chosen)) for kind, draw in kinds.items() for _ in range(requests)]
    chosen.shuffle(todo)

    def looked_at(path: str) -> tuple[float, int, str]:
        answer = get(port, path)
        time.sleep(pause)
        return answer

    with ThreadPoolExecutor(USERS) as users:
        answers = [*users.map(lambda each: looked_at(each[1]), todo)]
    for kind in kinds:
        taken = [answer[0] for answer, (of, _) in zip(answers, todo, strict=True) if of == kind]
        print(f"{kind:28} {figures(taken)}")


def dataset_bytes(folder: Path) -> int:
    """Bytes of the files of the dataset."""
    return sum(path.stat().st_size for path in (folder / "store" / "datasets").rglob("*.parquet"))


if __name__ == "__main__":
    main()
