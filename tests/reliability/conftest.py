"""A corpus that takes a run long enough to be killed in the middle of it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support import make_documents, write_jsonl


@pytest.fixture
def recipe(tmp_path: Path, make_recipe: Callable[..., Path]) -> Path:
    """Sixteen shards, every kind of rule, some dozen output files."""
    documents = make_documents(3200)
    for i in range(16):
        write_jsonl(tmp_path / "data" / f"docs-{i:02d}.jsonl.gz", documents[i * 200 : (i + 1) * 200])
    write_jsonl(tmp_path / "target" / "t.jsonl", make_documents(40, seed=7))
    return make_recipe(
        tmp_path,
        measure=["gopher", {"importance": {"target": "target/*", "buckets": 4096}}],
        decide=[
            {"drop": "gopher_words < 40"},
            {"exact_dedup": {"keep": "best: importance"}},
            {"fuzzy_dedup": {"keep": "best: importance"}},
            {"drop": {"when": "importance < quantile(0.1)", "name": "far"}},
            {"select": {"by": "importance", "documents": 2000, "seed": 3}},
            {"paragraph_dedup": {"by": "line", "limit": 3}},
        ],
        write={"shard_bytes": "20KB"},
    )
