"""All benchmarks that need no peer, one after the other: what `make bench` runs. Each prints its own table.

Peers are timed in the same run where an interpreter that has them is named: see `--peer-python` of
benchmarks/gopher.py, benchmarks/page_rules.py and benchmarks/importance.py. benchmarks/label_transformers.py needs what
`make test-lm` installs.
"""

from __future__ import annotations

import subprocess
import sys

MODULES = (
    "gopher",
    "page_rules",
    "extract",
    "importance",
    "fasttext_scoring",
    "language",
    "minhash",
    "paragraphs",
    "personal_data",
    "tokenizing",
    "resolve",
    "dedup",
    "packing",
    "crawl",
    "end_to_end",
    "growth",
    "nights",
    "first_run",
    "verified_reading",
    "reading",
    "report",
    "small_files",
    "what_if",
    "object_store",
    "exchange",
    "aggregation",
    "audit",
    "distilling",
    "loop",
    "label_overhead",
    "label_http",
    "label_store",
)


def main() -> None:
    for module in MODULES:
        print(f"== benchmarks.{module}", flush=True)
        subprocess.run([sys.executable, "-m", f"benchmarks.{module}"], check=True)


if __name__ == "__main__":
    main()
