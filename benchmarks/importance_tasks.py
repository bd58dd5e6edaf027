"""Selection tasks with a known answer: a raw corpus, a target, and which raw documents are like it.

Where target and answer come from the same documents, the target's are held out of the raw corpus. Sizes are given as
(documents in the target, documents to select).
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

DATA = Path(__file__).parents[1] / "../shared/data"
Document = dict[str, str]


@dataclass(frozen=True)
class Task:
    """Select `budget` of the raw documents; `wanted` are the right ones."""

    name: str
    raw: pa.LargeStringArray
    target: pa.LargeStringArray
    wanted: NDArray[np.bool_]
    budget: int


def tasks() -> Iterator[Task]:
    """All tasks, one at a time."""
    docs = [d for path in sorted((DATA / "docs").glob("*.jsonl.gz")) for d in _lines(path)]
    medicine = _texts(_lines(DATA / "target" / "usenet_sci_med.jsonl.gz"))
    yield _task("sci.med", docs, medicine, lambda d: "/sci.med/" in d["origin"], 500)
    for group in ("rec.sport.hockey", "sci.crypt", "comp.graphics"):
        yield _held_out(group, docs, lambda d, part=f"/{group}/": part in d["origin"], 200, 500)  # type: ignore[misc]
    yield _held_out("bbc tech", docs, lambda d: d["origin"].startswith("bbc/tech/"), 100, 200)
    yield _held_out("python manual", docs, lambda d: d["source"] == "manual_python", 100, 200)
    articles = _texts(_lines(DATA / "target" / "wikitext_valid.jsonl.gz"))
    yield _task("wikitext", docs, articles, lambda d: d["source"] == "encyclopedia_wikitext", 50)
    reviews = _texts(_labelled("imdb_train"))[:300]
    yield _task("imdb", docs, reviews, lambda d: d["source"] == "review_imdb", 2000)
    news = docs + _labelled("agnews_train")
    for label in ("Sports", "Sci/Tech"):
        headlines = _texts(d for d in _labelled("agnews_test") if d["label"] == label)[:300]
        yield _task(f"agnews {label}", news, headlines, lambda d, label=label: d.get("label") == label, 1000)  # type: ignore[misc]
    messages = docs + _labelled("sms_spam_train")
    spam = _texts(d for d in _labelled("sms_spam_test") if d["label"] == "spam")
    yield _task("sms spam", messages, spam, lambda d: d.get("label") == "spam", 300)


def two_groups() -> tuple[pa.LargeStringArray, dict[str, pa.LargeStringArray], dict[str, NDArray[np.bool_]]]:
    """A raw corpus, two targets held out of it (200 posts of a newsgroup each), and the raw documents like each."""
    docs = [d for path in sorted((DATA / "docs").glob("*.jsonl.gz")) for d in _lines(path)]
    groups = {"crypt": "/sci.crypt/", "space": "/sci.space/"}
    held: dict[str, list[int]] = {}
    for name, part in groups.items():
        places = [i for i, d in enumerate(docs) if part in d["origin"]]
        held[name] = sorted(np.random.default_rng(0).permutation(places)[:200].tolist())
    left = [d for i, d in enumerate(docs) if not any(i in places for places in held.values())]
    targets = {name: _array([docs[i]["text"] for i in places]) for name, places in held.items()}
    wanted = {name: np.array([part in d["origin"] for d in left]) for name, part in groups.items()}
    return _array(_texts(left)), targets, wanted


def _task(
    name: str, docs: Sequence[Document], target: Sequence[str], wanted: Callable[[Document], bool], budget: int
) -> Task:
    return Task(name, _array(_texts(docs)), _array(target), np.array([wanted(d) for d in docs]), budget)


def _held_out(
    name: str, docs: Sequence[Document], wanted: Callable[[Document], bool], target: int, budget: int
) -> Task:
    places = [i for i, d in enumerate(docs) if wanted(d)]
    held = set(np.random.default_rng(0).permutation(places)[:target].tolist())
    rest = [d for i, d in enumerate(docs) if i not in held]
    return _task(name, rest, _texts(docs[i] for i in sorted(held)), wanted, budget)


def _lines(path: Path) -> list[Document]:
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def _labelled(name: str) -> list[Document]:
    table = pq.read_table(DATA / "labelled" / f"{name}.parquet", columns=["text", "label_name"])
    return [
        {"text": text, "label": label, "source": name, "origin": name}
        for text, label in zip(table["text"].to_pylist(), table["label_name"].to_pylist(), strict=True)
    ]


def _texts(docs: Iterator[Document] | Sequence[Document]) -> list[str]:
    return [d["text"] for d in docs]


def _array(texts: Sequence[str]) -> pa.LargeStringArray:
    return pa.array(texts, pa.large_string())
