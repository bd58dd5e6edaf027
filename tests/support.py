"""Text and files that tests are made of."""

from __future__ import annotations

import gzip
import json
import os
import random
import shutil
from collections.abc import Sequence
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

DATA = Path(os.environ.get("GRISTMILL_TEXT", Path(__file__).resolve().parents[2] / "shared" / "data"))  # real text

# fmt: off
WORDS = [
    "the", "of", "and", "to", "in", "that", "is", "was", "for", "with", "field", "river", "stone", "light",
    "morning", "letter", "engine", "signal", "market", "window", "garden", "number", "history", "water",
    "paper", "music", "winter", "answer", "mountain", "silver", "village", "reason", "system", "measure",
    "question", "story", "teacher",
]
# fmt: on


def sentences(seed: int, words: int) -> str:
    """A text of so many words, the same for the same seed."""
    draw = random.Random(seed)
    text = [draw.choice(WORDS) for _ in range(words)]
    return "\n".join(" ".join(text[i : i + 14]).capitalize() + "." for i in range(0, words, 14))


def make_documents(n: int, seed: int = 0) -> list[dict[str, Any]]:
    """n documents; every tenth repeats the one before it, in other case and spacing."""
    documents: list[dict[str, Any]] = []
    for i in range(n):
        text = sentences(seed * 1_000_003 + i, 20 + i * 7 % 160)
        if i % 10 == 9:
            text = "  " + documents[-1]["text"].upper().replace(" ", "  ")
        documents.append({"id": f"doc-{seed}-{i:05d}", "text": text, "lang": "en" if i % 3 else "de", "score": i % 7})
    return documents


def write_jsonl(path: Path, documents: Sequence[dict[str, Any]]) -> Path:
    """Documents as JSON lines, compressed where the name ends in .gz."""
    path.parent.mkdir(parents=True, exist_ok=True)
    content = "".join(json.dumps(d, ensure_ascii=False) + "\n" for d in documents).encode()
    path.write_bytes(gzip.compress(content, mtime=0) if path.suffix == ".gz" else content)
    return path


def copy_package(name: str, to: Path) -> None:
    """An installed package and what is known of it, tests left out, in another site-packages folder."""
    installed = distribution(name)
    for file in installed.files or ():
        if file.suffix in (".py", "") or ".dist-info" in file.parts[0]:
            source, target = Path(str(installed.locate_file(file))), to / file
            if not {"..", "tests"} & {*file.parts} and source.is_file():
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(source, target)
