"""Texts on three topics, labelled by them."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tests.support import WORDS

TOPICS = {
    "sport": ["goal", "match", "league", "coach", "striker", "season"],
    "law": ["court", "judge", "appeal", "verdict", "statute", "plaintiff"],
    "food": ["recipe", "oven", "butter", "flour", "simmer", "garlic"],
}


def text_on(topic: str, draw: random.Random, words: int = 40, share: float = 0.15) -> str:
    return " ".join(draw.choice(TOPICS[topic]) if draw.random() < share else draw.choice(WORDS) for _ in range(words))


def examples(n: int = 600, seed: int = 0, **fields: Callable[[str, random.Random], Any]) -> list[dict[str, Any]]:
    draw = random.Random(seed)
    made = []
    for _ in range(n):
        topic = draw.choice([*TOPICS])
        row = {"text": text_on(topic, draw), "label": topic}
        made.append(row | {name: value(topic, draw) for name, value in fields.items()})
    return made


def table(path: Path, made: list[dict[str, Any]]) -> str:
    pq.write_table(pa.Table.from_pylist(made), path)
    return str(path)
