"""A corpus of pages that share some paragraphs."""

from __future__ import annotations

from pathlib import Path

from tests.support import make_documents, write_jsonl

SHARDS = 4


def pages_of_a_site(n: int) -> list[str]:
    """n texts of a paragraph of their own with repeated ones before and behind; some are nothing but repeated ones."""
    notice, menu = "All rights reserved by someone.", "HOME\nabout this very site\nCONTACT"
    texts = []
    for i, document in enumerate(make_documents(n)):
        own = [document["text"]] if i % 8 else []
        parts = [*[menu] * (i % 2), *own, *[notice] * (i % 3 == 0), *[f"page {i}"] * (i % 4 == 1)]
        texts.append(" \r\n\n".join(parts) + "\n" * (i % 3))
    return texts


def write_pages(folder: Path, texts: list[str]) -> Path:
    """The texts as data/docs-*.jsonl in a folder, in SHARDS shards; returns the folder."""
    records = [{"id": f"page-{i:03d}", "text": text, "lang": "en"} for i, text in enumerate(texts)]
    size = len(records) // SHARDS
    for i in range(SHARDS):
        write_jsonl(folder / "data" / f"docs-{i}.jsonl", records[i * size : (i + 1) * size])
    return folder
