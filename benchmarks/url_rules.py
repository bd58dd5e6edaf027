"""Lists of URLs: how long five million domains take to open, in how much memory, and how fast URLs are looked up.

    python -m benchmarks.url_rules

Beside it the same by plain Python, as datatrove's URLFilter goes about it: sets of texts, a regular expression that
splits, `in` for each part of a word. Domains, words and URLs are made up, as many as in the lists that datatrove ships
(4.6 million domains, 19,586 URLs, 215 words, 88 soft words, 134 parts of words); one URL in eight
has a listed host, most others are asked of all lists.

On a busy machine with two cores: five million domains (126 MB) are open after 0.84 processor seconds and take 39 MB
(sets: 3.3 s, 533 MB); 176,000 to 202,000 URLs/s per core (sets: 17,500 to 18,900).
"""

from __future__ import annotations

import argparse
import re
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from benchmarks.common import median_seconds, print_table
from gristmill.operators.measures.url_lists import UrlLists

ENDS = (b".com", b".net", b".org", b".de", b".co.uk", b".info", b".xyz", b".ru")
_SPLIT = re.compile(r"[^a-zA-Z0-9]+")


def names(count: int, shortest: int, longest: int, seed: int) -> list[bytes]:
    """Names of random letters, of random lengths."""
    draw = np.random.default_rng(seed)
    letters = draw.integers(97, 123, count * longest, np.uint8).tobytes()
    lengths = draw.integers(shortest, longest + 1, count).tolist()
    return [letters[i * longest : i * longest + length] for i, length in enumerate(lengths)]


def hosts(count: int, seed: int) -> list[bytes]:
    """Domains of random names."""
    return [name + ENDS[i % len(ENDS)] for i, name in enumerate(names(count, 12, 28, seed))]


def write_lists(folder: Path, domains: list[bytes]) -> dict[str, Path]:
    """Write the lists; return their files."""
    lists = {
        "domains": domains,
        "urls": [b"http://" + host + b"/page.html" for host in hosts(19_586, 2)],
        "words": names(215, 4, 9, 3),
        "soft_words": names(88, 4, 9, 4),
        "subwords": names(134, 5, 10, 5),
    }
    for name, entries in lists.items():
        (folder / name).write_bytes(b"\n".join(entries) + b"\n")
    return {name: folder / name for name in lists}


def make_urls(count: int, domains: list[bytes]) -> pa.StringArray:
    """URLs with words in their paths; one in eight has a listed host."""
    words = names(20_000, 3, 9, 6)
    draw = np.random.default_rng(7)
    chosen = draw.integers(0, len(words), (count, 5)).tolist()
    own = hosts(count, 8)
    urls = [
        b"https://www.%s/%s/%s-%s-%s.html?id=%s"
        % (domains[i * 7919 % len(domains)] if i % 8 == 0 else own[i], *(words[k] for k in row))
        for i, row in enumerate(chosen)
    ]
    return pa.array([url.decode() for url in urls], pa.string())


def in_python(files: dict[str, Path]) -> Callable[[list[str]], list[str | None]]:
    """A function from URLs to lists, by sets of texts."""
    domains, urls, words, soft_words, subwords = (set(path.read_text().split()) for path in files.values())

    def listed(url: str) -> str | None:
        host = url.partition("://")[2].partition("/")[0].partition(":")[0].lower()
        labels = host.split(".")
        if any(".".join(labels[i:]) in domains for i in range(len(labels))):
            return "domain"
        if url in urls:
            return "url"
        parts = set(_SPLIT.split(url.lower()))
        if any(word in parts for word in words):
            return "word"
        if sum(word in parts for word in soft_words) >= 2:
            return "soft_words"
        squeezed = _SPLIT.sub("", url).lower()
        return "subword" if any(part in squeezed for part in subwords) else None

    return lambda addresses: [listed(url) for url in addresses]


def memory() -> float:
    """MB that this process has in memory, mapped files apart."""
    status = Path("/proc/self/status").read_text()
    return int(re.search(r"RssAnon:\s+(\d+)", status)[1]) / 1e3  # type: ignore[index]


def opened(function: Callable[[], Any]) -> tuple[Any, float, float]:
    """The result of a call, the processor seconds that it took, and the MB that stayed."""
    before, start = memory(), time.process_time()
    result = function()
    return result, time.process_time() - start, memory() - before


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--domains", type=int, default=5_000_000, help="how many domains are listed")
    parser.add_argument("--urls", type=int, default=1_000_000, help="how many URLs are looked up")
    parser.add_argument("--runs", type=int, default=5, help="the median of so many runs is shown")
    arguments = parser.parse_args()

    with tempfile.TemporaryDirectory() as folder:
        domains = hosts(arguments.domains, 1)
        files = write_lists(Path(folder), domains)
        urls = make_urls(arguments.urls, domains)
        del domains
        measure = UrlLists(**{name: str(path) for name, path in files.items()})
        few = {name: path for name, path in files.items() if name != "domains"}
        UrlLists(**{name: str(path) for name, path in few.items()}).open(few)  # compiles
        ours, seconds, held = opened(lambda: measure.open(files))
        documents = pa.record_batch({"text": pa.array([""] * len(urls), pa.large_string()), "url": urls})
        rate = len(urls) / median_seconds(lambda: ours(documents), arguments.runs)
        listed = ours(documents)["url_listed"].to_pylist()
        by_sets, their_seconds, their_held = opened(lambda: in_python(files))
        some = urls[: len(urls) // 10].to_pylist()
        their_rate = len(some) / median_seconds(lambda: by_sets(some), arguments.runs)
        if by_sets(some) != listed[: len(some)]:
            raise SystemExit("the two do not agree")
        size = files["domains"].stat().st_size / 1e6
    rows = [
        ["gristmill", seconds, held, rate, rate / their_rate],
        ["plain Python, sets", their_seconds, their_held, their_rate, 1.0],
    ]
    heading = f"{arguments.domains / 1e6:g} million domains ({size:,.0f} MB)"
    print_table([heading, "seconds to open", "MB held", "URLs/s per core", "times as fast"], rows)


if __name__ == "__main__":
    main()
