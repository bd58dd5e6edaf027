"""One ready operator of each kind, and texts that break things."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pyarrow as pa

from gristmill.operators.base import Measure, MeasuringTransformFunction, Operator, Transform
from gristmill.operators.columns import CONTENT_ID, TEXT, URL
from gristmill.operators.measures.importance import Importance
from gristmill.operators.table import operators
from gristmill.pipelines.store.resources import ReadyOperator, resource
from tests.operators.measures.fasttext_models import model_file
from tests.operators.student.students import student_file
from tests.support import make_documents

_FOLDER = TemporaryDirectory(prefix="gristmill-properties-")


def _lists(**entries: str) -> dict[str, object]:
    """Paths of lists, by option."""
    for name, text in entries.items():
        (Path(_FOLDER.name) / name).write_text(text)
    return {name: str(Path(_FOLDER.name) / name) for name in entries}


URL_LISTS = _lists(
    domains="stone.example\n", urls="a\n", words="caf\nmorning\n", soft_words="of\nthe\n", subwords="wordw\n"
)
#: Options for the operators that need some.
OPTIONS: dict[str, dict[str, object]] = {
    "clean_lines": {"rules": "dclm"},
    "quality": {"model": str(model_file("bigrams")), "label": "__label__1"},
    "distilled": {"model": str(student_file("scale", ("0", "1", "2"))), "column": "edu"},
    "importance": {"target": {"a": "a.jsonl", "b": "b.jsonl"}, "buckets": 1000},
    "url_lists": URL_LISTS,
    "url_rules": URL_LISTS,
    "thresholds": {"minimum": {"tokens": {"en": 5}}},
    "cut": {"wish": "precision >= 0.9", "model": "edu.bin", "column": "edu", "at": 2.5},
    "drop": {"when": "tokens < 5"},
    "select": {"by": "random", "documents": 3},
}
TEXTS: list[bytes | None] = [
    None,
    b"",
    b" \t\n\r\n ",
    *(document["text"].encode() for document in make_documents(12)),
    "Ünïcödé, 中文 and かな; العربية! 👩‍👩‍👧 e\u0301 \u2028 ﬁ".encode(),
    "PtolemaÃ¯s â€œquotedâ€\x9d text".encode(),
    b"caf\xe9 \xff\xfe not UTF-8",
    b"lone \xed\xa0\x80 surrogate \xed\xbf\xbf",
    b"cut in the middle of \xf0\x9f\x91",
    b"a\0b\x01c\x7f",
    b"word " * 300 + b"...\n" * 20,
    None,
    "\ufeffmark at the start".encode(),
    b"no_space_" * 500,
]


def documents(texts: list[bytes | None]) -> pa.RecordBatch:
    """A batch of documents (n) whose texts need not be UTF-8, as sources would never give them, nor their URLs."""
    content = pa.array(texts, pa.large_binary())
    text = pa.LargeStringArray.from_buffers(len(content), *content.buffers()[1:], content.buffers()[0])
    ids = pa.array([bytes([i % 251]) * 16 for i in range(len(texts))], pa.binary(16))
    addresses = pa.array([text and text[:300] for text in texts], pa.binary())
    url = pa.StringArray.from_buffers(len(texts), *addresses.buffers()[1:], addresses.buffers()[0])
    return pa.record_batch({TEXT: text, CONTENT_ID: ids, URL: url})


def apply(ready: ReadyOperator, batch: pa.RecordBatch) -> pa.RecordBatch:
    """What a transform or a measure makes of a batch, as columns; a transform's texts are the first."""
    if isinstance(ready.operator, Transform):
        return transformed(ready.open_measuring(), batch)
    return ready.open()(batch)  # type: ignore[no-any-return]


def transformed(function: MeasuringTransformFunction, batch: pa.RecordBatch) -> pa.RecordBatch:
    """The texts and the columns that a transform's function gives."""
    texts, given = function(batch[TEXT])
    return pa.record_batch({TEXT: texts, **dict(zip(given.schema.names, given.columns, strict=True))})


def plain(batch: pa.RecordBatch) -> list[str]:
    """Rows in a form in which NaN equals NaN and texts that are not UTF-8 can be compared."""
    columns = [
        c.cast(pa.large_binary()) if pa.types.is_large_string(c.type) or pa.types.is_string(c.type) else c
        for c in batch.columns
    ]
    return [repr(row) for row in zip(*(column.to_pylist() for column in columns), strict=True)]


@cache
def ready(name: str) -> ReadyOperator:
    """An operator of the table with all that it opens."""
    operator = operators()[name].model_validate(OPTIONS.get(name))
    resources = {key: resource(path, "here") for key, path in operator.resources().items()}
    if isinstance(operator, Importance):
        path = Path(_FOLDER.name) / "fit.bin"
        halves = [pa.RecordBatch.from_pylist(make_documents(30, seed)) for seed in (1, 2)]
        path.write_bytes(operator.fit(map(_texts, halves), dict(zip("ab", ([_texts(h)] for h in halves), strict=True))))
        resources["fit"] = resource(str(path), "here")
    return ReadyOperator(name, operator, resources)


def _texts(batch: pa.RecordBatch) -> pa.RecordBatch:
    return pa.record_batch({TEXT: batch[TEXT].cast(pa.large_string())})


def names_of(*kinds: type[Operator]) -> list[str]:
    """Names of the operators of some kinds."""
    return [name for name, cls in operators().items() if issubclass(cls, kinds)]


#: Operators that read text.
READERS = names_of(Transform, Measure)
LARGE = bytes(np.frombuffer(b"ten megabytes of text. " * 450_000, np.uint8)[:10_000_000])
