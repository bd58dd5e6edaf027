"""Write the files that the recipes in configs/ name, of the texts that the demo harvested.

    configs/data/docs-0.jsonl.gz       docstrings of functions and methods, with a field lang
    configs/data/pages.parquet         all else: READMEs, licences, docstrings of modules and classes, with a URL
    configs/target/numeric.jsonl.gz    what quickstart.yaml selects towards
    configs/models/quality.bin         the demo's classifier
    configs/models/tokenizer.json      a tokenizer of 4,096 entries that learnt from these texts

Texts of fewer than 40 words are left out. A file that would hold the same is left as it is: nothing is measured again.
"""

from __future__ import annotations

import gzip
import io
import json
from collections.abc import Iterable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

CONFIGS = Path(__file__).parents[1]
DEMO = CONFIGS.parent / "demo"
FEWEST_WORDS = 40


def rows(dataset: str) -> list[dict[str, str]]:
    """The documents of a dataset of the demo."""
    folder = DEMO / "store" / "datasets" / dataset
    version = folder / (folder / "CURRENT").read_text().strip()
    return [row for file in sorted(version.glob("*.parquet")) for row in pq.read_table(file).to_pylist()]


def as_json_lines(documents: Iterable[dict[str, str]]) -> bytes:
    """Gzipped JSON lines."""
    return gzip.compress("".join(json.dumps(document) + "\n" for document in documents).encode(), 6, mtime=0)


def as_parquet(documents: list[dict[str, str]]) -> bytes:
    """A Parquet file."""
    written = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(documents), written)
    return written.getvalue()


def tokenizer_of(texts: Iterable[str]) -> bytes:
    """A byte-level BPE tokenizer with an end-of-text token."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=4096,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        special_tokens=["<|endoftext|>"],
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer.to_str().encode()


def write(path: str, content: bytes) -> None:
    """Write a file below configs/ unless it holds just this."""
    file = CONFIGS / path
    if file.is_file() and file.read_bytes() == content:
        return
    file.parent.mkdir(exist_ok=True)
    file.write_bytes(content)


documents = [row for row in rows("python_env") if len(row["text"].split()) >= FEWEST_WORDS]
docs = [{"id": d["id"], "text": d["text"], "lang": "en"} for d in documents if ":" in d["id"]]
pages = [
    {"id": d["id"], "text": d["text"], "url": f"https://pypi.org/project/{d['package']}#{d['id']}"}
    for d in documents
    if ":" not in d["id"]
]
write("data/docs-0.jsonl.gz", as_json_lines(docs))
write("data/pages.parquet", as_parquet(pages))
write("target/numeric.jsonl.gz", as_json_lines(rows("numeric")))
write("models/quality.bin", (DEMO / "quality.bin").read_bytes())
write("models/tokenizer.json", tokenizer_of(document["text"] for document in documents))
