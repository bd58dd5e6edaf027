"""Requests to an object store (moto's S3 server, on loopback): a run over three files of 120 kB, and the run again.

python -m benchmarks.object_store

The recipe has Gopher's statistics, exact and near duplicates and a selection. Before requests were counted, a run made
991 (and a cached one 40). The last rows are runs while a tenth of the requests fail with 500 or 503.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import fsspec

from benchmarks.common import print_table
from tests.reliability.object_store import object_store
from tests.support import make_documents

RECIPE = """version: 1
name: counted
store: s3://{bucket}/store
sources:
  - {{name: docs, path: "s3://{bucket}/data/*.jsonl"}}
decide:
  - drop: "gopher_words < 20"
  - exact_dedup: longest
  - fuzzy_dedup: {{threshold: 0.8}}
  - select: {{by: gopher_words, documents: 100}}
write: {{columns: [id, text, source]}}
"""


def lines(seed: int, size: int) -> bytes:
    """JSON lines of about so many bytes."""
    content = b""
    for document in make_documents(1000, seed):
        content += json.dumps(document).encode() + b"\n"
        if len(content) >= size:
            return content
    raise AssertionError("too few documents")


def main() -> None:
    rows = []
    with object_store() as (server, environment), tempfile.TemporaryDirectory() as folder:
        os.environ.update(environment)
        fs = fsspec.filesystem("s3")
        for bucket, share in (("steady", 0.0), ("failing", 0.1)):
            fs.mkdir(bucket)
            for i in range(3):
                fs.pipe_file(f"{bucket}/data/docs-{i}.jsonl", lines(i, 120_000))
            recipe = Path(folder, f"{bucket}.yaml")
            recipe.write_text(RECIPE.format(bucket=bucket))
            for what in ("run", "cached run"):
                server.clear()
                server.share = share
                began = time.perf_counter()
                command = [sys.executable, "-m", "gristmill", "run", str(recipe), "--quiet"]
                subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
                seconds = time.perf_counter() - began
                server.share = 0.0
                methods = Counter(request.split()[0] for request in server.requests)
                kinds = ", ".join(f"{n} {method}" for method, n in methods.most_common())
                before = ("991" if what == "run" else "40") if not share else ""
                rows.append(
                    [bucket, what, str(len(server.requests)), str(server.failed), before, f"{seconds:.1f}", kinds]
                )
    print_table(["store", "what", "requests", "failed", "before", "wall s", "by method"], rows)


if __name__ == "__main__":
    main()
