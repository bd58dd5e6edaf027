"""Sliders of `gristmill ui` over millions of documents: from a moved limit to its answer, over HTTP.

python -m benchmarks.ui_what_if [--documents 10_000_000] [--moves 60] [--users 10] [--rules TEXT] [--keep FOLDER]

The store is that of `benchmarks.what_if`: measures of four sources, without texts. `gristmill ui` runs in a process of
its own; limits move by themselves, as a hand on a slider would: a limit is chosen, and goes to some numbers one after
the other. Seconds go from the request to the first answer, which is the whole one where only conditions follow; the
processor seconds are those that the server takes for it, which other work on the machine does not change.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path

from benchmarks.common import print_table
from benchmarks.what_if import SELECT, make_store, write_recipe

#: Rules after those of `benchmarks.what_if`: the many limits of `gopher_rules`, and rules that look at all documents.
RULES = {
    "three drops": "",
    "three drops and gopher_rules, 26 limits": "  - gopher_rules\n",
    "exact_dedup after them": "  - exact_dedup\n",
    "select after them": SELECT,
}
PROGRAM = "from gristmill.pipelines.cli.main import main; main()"
#: Name, lowest and highest number of a slider, and whether its numbers are whole.
Slider = tuple[str, float, float, bool]
STEPS = 5  # numbers that a limit goes to before another one is chosen


class Server:
    """`gristmill ui` over a store, in a process of its own."""

    def __init__(self, recipe: Path) -> None:
        line = [sys.executable, "-c", PROGRAM, "ui", "--store", str(recipe.parent / "store"), "--port", "0"]
        line += ["--no-open", "--recipe", str(recipe)]
        self.process = subprocess.Popen(line, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        match = re.match(r"(http://\S+?)/ ", self.process.stdout.readline())
        assert match is not None
        self.address = match[1]

    def get(self, path: str) -> bytes:
        """The body of a page."""
        with urllib.request.urlopen(self.address + path) as response:
            return bytes(response.read())

    def first_line(self, path: str) -> float:
        """Seconds until the first line of an answer, which is then left."""
        began = time.perf_counter()
        with urllib.request.urlopen(self.address + path) as response:
            told = json.loads(response.readline())
            assert "html" in told, told
            return time.perf_counter() - began

    def hold(self) -> float:
        """Seconds until the documents are held."""
        began = time.perf_counter()
        self.get("/what-if")
        while not (told := json.loads(self.get("/what-if/progress")))["ready"]:
            assert not told["error"], told["error"]
            time.sleep(0.1)
        return time.perf_counter() - began

    def processor(self) -> float:
        """Processor seconds of the server so far."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def peak(self) -> float:
        """The most memory that the server had, in MB."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        match = re.search(r"VmHWM:\s+(\d+)", status)
        assert match is not None
        return int(match[1]) / 1000

    def close(self) -> None:
        """End the server."""
        self.process.terminate()
        self.process.wait()


def sliders(page: str) -> list[Slider]:
    """Name, lowest and highest number of each slider, and whether they are whole."""
    shown = r'data-for="(limit\d+)" data-low="([^"]+)" data-high="([^"]+)" data-log="\d" data-whole="(\d)"'
    return [(name, float(low), float(high), whole == "1") for name, low, high, whole in re.findall(shown, page)]


def moves(found: list[Slider], n: int, seed: int) -> list[str]:
    """Questions: limits at numbers, each after the other."""
    draw, asked = random.Random(seed), []
    while len(asked) < n:
        name, low, high, whole = draw.choice(found)
        for _ in range(STEPS):
            number = draw.uniform(low, high)
            asked.append(f"/what-if/answer?{name}={round(number) if whole else f'{number:.4f}'}")
    return asked[:n]


def measure(server: Server, asked: list[str]) -> tuple[list[float], list[float]]:
    """Seconds of each question, one after the other, and processor seconds of the server."""
    seconds, processor = [], []
    for path in asked:
        time.sleep(0.5)  # the answer before is given up
        before = server.processor()
        seconds.append(server.first_line(path))
        processor.append(server.processor() - before)
    return seconds, processor


def at_once(users: int, work: Callable[[int], list[float]]) -> list[float]:
    """What several threads measure at the same time."""
    seconds: list[float] = []
    threads = [threading.Thread(target=lambda i=i: seconds.extend(work(i))) for i in range(users)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--documents", type=int, default=10_000_000)
    parser.add_argument("--moves", type=int, default=60)
    parser.add_argument("--users", type=int, default=10, help="who move limits at once, a second between two moves")
    parser.add_argument("--rules", default="", help="only rules with this in their name")
    parser.add_argument("--keep", type=Path, help="a folder for the store, which is used again where it is there")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as made:
        folder = (options.keep or Path(made, "store")).resolve()
        if not folder.exists():
            make_store(folder, options.documents)
        rows = []
        for what, more in RULES.items():
            if options.rules not in what:
                continue
            server = Server(write_recipe(folder, more))
            try:
                held = server.hold()
                found = sliders(server.get("/what-if").decode())
                alone, processor = measure(server, moves(found, options.moves, 0))

                def one_user(i: int, server: Server = server, found: list[Slider] = found) -> list[float]:
                    seconds = []
                    for path in moves(found, max(STEPS, options.moves // options.users), 1 + i):
                        seconds.append(server.first_line(path))
                        time.sleep(1)
                    return seconds

                together = at_once(options.users, one_user)
                figures = [f(s) for s in (alone, processor, together) for f in (statistics.median, percentile_95)]
                rows.append([what, held, *figures, server.peak()])
            finally:
                server.close()
        of_all = f"of {options.users} at once"
        heads = [
            "rules",
            "held after s",
            "p50 s",
            "p95 s",
            "processor p50",
            "p95",
            f"p50 s {of_all}",
            "p95 s",
            "peak MB",
        ]
        print_table(heads, rows)


def percentile_95(seconds: list[float]) -> float:
    """The value that 95 of 100 are not above."""
    return sorted(seconds)[min(len(seconds) - 1, int(0.95 * len(seconds)))]


if __name__ == "__main__":
    main()
