"""Records as readers give them, and the reasons for which some of them are not documents."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

#: Reasons for which a record is quarantined.
Reason = Literal[
    "malformed",  # not JSON, not a row of the table, not Python, a damaged text file
    "not_an_object",  # JSON, but not an object
    "invalid_utf8",
    "nul_character",  # U+0000, as a byte or as an escape: databases and tokenizers take it for an end
    "lone_surrogate",  # half of a UTF-16 pair: no UTF-8 can hold it
    "missing_text",
    "null_text",
    "wrong_type",
    "too_large",
    "damaged_record",  # of a WARC file, with `damaged: skip`
    "no_text",  # a page in which the extractor finds none
    "extraction_failed",
    "too_slow",  # a page that takes the extractor more processor time than the recipe allows
]

EXCERPT = 200  #: characters


class Fault(Exception):
    """A fault of a record, which is then no document; its neighbours may be."""

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(detail)
        self.reason: Reason = reason
        self.detail = detail


class Utf8(NamedTuple):
    """A text as bytes that its reader knows to be UTF-8."""

    content: bytes


class Record(NamedTuple):
    """One record of a file: its fields, or the fault for which it could not be read."""

    value: Any  #: a dict from field names to values, or else no document
    raw: bytes | str | None = None  #: the source of an excerpt; None: the value
    line: int | None = None  #: of the file or part, from 1; None where the format has no lines
    offset: int | None = None  #: of its first byte in the decompressed file; None where it is unknown
    fault: Fault | None = None
    exact: Callable[[], Any] | None = None  #: returns `value` with all digits of its numbers, where `raw` is no JSON


@dataclass(frozen=True)
class Reject:
    """A record that went to quarantine."""

    row: int  #: position in the shard, as documents count theirs
    line: int | None
    offset: int | None
    id: str | None
    reason: Reason
    detail: str  #: in words
    excerpt: str  #: the beginning of the record, printable, at most EXCERPT characters


def reject(row: int, record: Record, fault: Fault, id: str | None = None) -> Reject:
    """Return the quarantine entry of a record."""
    raw = record.raw if record.raw is not None else json.dumps(record.value, ensure_ascii=False, default=str)
    return Reject(row, record.line, record.offset, id, fault.reason, fault.detail, excerpt(raw))


def excerpt(raw: bytes | str) -> str:
    """Return the beginning of a record, unprintable characters escaped: safe for terminals, JSON and Parquet."""
    head = raw[: 4 * EXCERPT]
    text = head if isinstance(head, str) else head.decode("utf-8", "backslashreplace")
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)[:EXCERPT]


def lookup(record: dict[str, Any], path: str, default: Any = None) -> Any:
    """Return the value of a field: that of exactly this name or else the one that the dots lead to, or the default."""
    if path in record or "." not in path:
        return record.get(path, default)
    value: Any = record
    for name in path.split("."):
        if not isinstance(value, dict) or name not in value:
            return default
        value = value[name]
    return value
