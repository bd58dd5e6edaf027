"""A small run for reports: two sources, a language, rules of every kind, records that are no documents."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import lxml.html
import yaml

from tests.support import make_documents, write_jsonl

METADATA = {"lang": "string", "score": "int"}
DECIDE: list[Any] = [
    {"drop": {"when": "gopher_words < 40 or score < 1", "name": "short"}},
    "exact_dedup",
    {"fuzzy_dedup": {"threshold": 0.7}},
    {"drop": "gopher_mean_word_length < quantile(0.1)"},
    {"select": {"by": "random", "documents": 120, "seed": 3}},
]


def write_corpus(folder: Path, name: str = "web", decide: list[Any] | None = None, texts: list[str] = ()) -> Path:  # type: ignore[assignment]
    """A recipe over four files of 80 documents; `texts` are documents of a source of their own."""
    documents = make_documents(320)
    for i in range(15, 320, 20):  # near copies of the one before
        documents[i]["text"] = f"{documents[i - 1]['text']} and so on"
    for i in range(4):
        write_jsonl(folder / "data" / f"{'ab'[i % 2]}-{i}.jsonl", documents[i * 80 : i * 80 + 80])
    with open(folder / "data" / "a-0.jsonl", "a") as file:
        file.write('{"id": "odd", "text": 7}\nnot JSON\n')
    sources: list[dict[str, Any]] = [
        {"name": part, "path": f"data/{part}-*.jsonl", "metadata": METADATA} for part in "ab"
    ]
    if texts:
        write_jsonl(
            folder / "data" / "hostile.jsonl", [{"id": text, "text": text, "lang": text, "score": 3} for text in texts]
        )
        sources.append({"name": texts[0], "path": "data/hostile.jsonl", "metadata": METADATA})
    recipe = {
        "version": 1,
        "name": name,
        "store": "./store",
        "sources": sources,
        "measure": ["gopher", "tokens"],
        "decide": DECIDE if decide is None else decide,
        "write": {"columns": ["id", "text", "source"]},
    }
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump(recipe, sort_keys=False, allow_unicode=True))
    return path


def parsed(page: bytes) -> Any:
    """The page as a tree of elements."""
    return lxml.html.document_fromstring(page.decode())


def cells(table: Any) -> list[list[str]]:
    """The texts of a table's rows."""
    return [
        [" ".join(cell.text_content().split()) for cell in row.xpath("./th | ./td")] for row in table.xpath(".//tr")
    ]


def number(text: str) -> int:
    """A count as a page shows it."""
    return int(text.replace(",", ""))


def in_json(path: Path) -> Any:
    return json.loads(path.read_text())
