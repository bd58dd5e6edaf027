"""Folders of real text as newcomers have them: of the packages of this environment, and of the shared text."""

from __future__ import annotations

import csv
import gzip
import itertools
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from gristmill.pipelines.sources.formats import FORMATS, Reading
from gristmill.pipelines.sources.formats.python_env import packages, site_packages
from gristmill.pipelines.sources.spec import Source
from tests.pipelines.sources.warc_files import packed, record, response
from tests.support import copy_package, write_jsonl

PACKAGES = ("typer", "rich", "pydantic")


def package_texts(folder: Path) -> list[str]:
    """Docstrings, READMEs and licences of some packages, copied into a folder."""
    for name in PACKAGES:
        copy_package(name, folder)
    source = Source(name="env", path=str(folder), format="python_env")
    texts = []
    for package in packages(str(folder)):
        with FORMATS["python_env"].open(Reading(package, "none", None, source, ())) as opened:
            texts += [r.value["text"] for r in opened.records if r.fault is None and len(r.value["text"]) > 200]
    return texts


def code_tree(folder: Path, texts: list[str]) -> Path:
    """The source of a package: Python files, some of them empty, and compiled ones beside them."""
    shutil.copytree(Path(site_packages()) / "pydantic", folder / "pydantic")
    (folder / "README.md").write_text(texts[0])
    return folder


def json_lines(folder: Path, texts: list[str]) -> Path:
    """Compressed JSON lines with the names that gristmill expects."""
    for i in range(2):
        documents = [{"id": f"{i}-{n}", "text": text} for n, text in enumerate(texts[i::2])]
        write_jsonl(folder / f"part-{i}.jsonl.gz", documents)
    return folder


def parquet_of_others(folder: Path, texts: list[str]) -> Path:
    """Parquet with other names, and a table without texts beside it."""
    folder.mkdir(parents=True)
    urls = [f"https://example.org/{n}" for n in range(len(texts))]
    table = pa.table({"url": urls, "body": texts, "status": [200] * len(texts), "lang": ["en"] * len(texts)})
    pq.write_table(table, folder / "pages-00000.parquet")
    pq.write_table(pa.table({"url": urls, "rank": range(len(texts))}), folder / "ranks.parquet")
    return folder


def text_tree(folder: Path, texts: list[str]) -> Path:
    """Text files in folders, with a README beside them."""
    for n, text in enumerate(texts[:300]):
        path = folder / f"topic-{n % 4}" / f"{n}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (folder / "README.md").write_text("Texts of some packages.\n")
    return folder


def comma_separated(folder: Path, texts: list[str]) -> Path:
    """One CSV file with a column of texts and one of labels."""
    folder.mkdir(parents=True)
    with (folder / "reviews.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["review", "rating"])
        rows.writerows([text, str(n % 5)] for n, text in enumerate(texts))
    return folder


def hub_folder(folder: Path, texts: list[str]) -> Path:
    """A data set as it lies in a clone from the Hugging Face hub."""
    (folder / "data").mkdir(parents=True)
    (folder / "README.md").write_text("---\nlicense: mit\n---\n# A data set\n")
    (folder / ".gitattributes").write_text("*.parquet filter=lfs\n")
    (folder / "dataset_infos.json").write_text("{}")
    for split, part in (("train", texts[::2]), ("test", texts[1::2])):
        table = pa.table({"text": part, "label": [n % 2 for n in range(len(part))]})
        pq.write_table(table, folder / "data" / f"{split}-00000-of-00001.parquet")
    return folder


def crawl(folder: Path, texts: list[str]) -> Path:
    """A WARC file of pages, and the listing of the crawl beside it."""
    folder.mkdir(parents=True)
    pages = []
    for n, text in enumerate(texts[:80]):
        paragraphs = "".join(f"<p>{' '.join(part.split())}</p>" for part in text.split("\n\n"))
        body = f"<html><head><title>{n}</title></head><body><article>{paragraphs}</article></body></html>"
        head = "Content-Type: text/html; charset=utf-8"
        about = {"WARC_Record_ID": f"<urn:{n}>", "WARC_Target_URI": f"https://example.org/{n}"}
        dated = {"WARC_Date": "2024-05-01T00:00:00Z", "Content_Type": "application/http; msgtype=response"}
        pages.append(record("response", response(body.encode(), head), **about, **dated))
    (folder / "crawl-0.warc.gz").write_bytes(packed(pages))
    (folder / "crawl-0.cdx").write_text("CDX N b a m s k r\n")
    return folder


#: Kinds that are made of the packages of this environment.
MADE: dict[str, Callable[[Path, list[str]], Path]] = {
    "jsonl.gz": json_lines,
    "parquet": parquet_of_others,
    "txt": text_tree,
    "code": code_tree,
    "csv": comma_separated,
    "hub": hub_folder,
    "warc": crawl,
}


def _documents(shared: Path, count: int) -> Iterator[dict[str, Any]]:
    for path in sorted((shared / "docs").glob("*.jsonl.gz")):
        with gzip.open(path, "rt") as lines:
            yield from map(json.loads, itertools.islice(lines, count // 8))


def shared_folder(kind: str, shared: Path, folder: Path) -> Path:
    """A folder of shared text."""
    if kind == "wet":
        folder.mkdir()
        shutil.copy(shared / "web" / "real-pages.warc.wet.gz", folder)
        return folder
    if kind == "warc":
        folder.mkdir()
        for path in (shared / "web").glob("*.warc.gz"):
            shutil.copy(path, folder)
        return folder
    texts = [document["text"] for document in _documents(shared, 6400)]
    return MADE[kind](folder, texts)
