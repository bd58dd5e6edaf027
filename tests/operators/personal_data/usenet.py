"""A gold set of e-mail addresses: posts of Usenet, whose fields say what is an address and what is the id of a message.

Nothing of this is known to the operators: which fields there are, where the head of a post ends, or what the parser of
Python's `email` makes of them.
"""

from __future__ import annotations

import email.utils
import gzip
import json
import re
from collections.abc import Iterator
from pathlib import Path

#: Bytes start .. end of a text.
Span = tuple[int, int]

_FIELD = re.compile(rb"^(?:From|Reply-To): (.*)$", re.MULTILINE)
_PLAUSIBLE = re.compile(rb"@[^@\s]+\.[A-Za-z]{2,}\Z")
_HOST = re.compile(rb"^NNTP-Posting-Host: (\d+\.\d+\.\d+\.\d+)$", re.MULTILINE | re.IGNORECASE)
_ID = rb"<[^<>\s@]+@[^<>\s@]+>"
_IDS = re.compile(_ID)
#: After these words or fields there are ids of messages, never addresses.
_CITED = re.compile(
    rb"(?i)(?:\barticle\s*|(?:message-id|references|in-reply-to|supersedes):[ \t]*(?:<[^<>\s]*>\s*)*)(" + _ID + rb")"
)


def texts_of(shared: Path, source: str) -> list[bytes]:
    """The texts of a source of the real documents."""
    texts = []
    for path in sorted((shared / "docs").glob("*.jsonl.gz")):
        with gzip.open(path, "rb") as lines:
            documents = (json.loads(line) for line in lines if source.encode() in line)
            texts += [document["text"].encode() for document in documents if document["source"] == source]
    return texts


def posts(shared: Path) -> list[bytes]:
    """The texts of all posts."""
    return texts_of(shared, "usenet")


def addresses(post: bytes) -> Iterator[Span]:
    """The addresses in the fields From and Reply-To, as `email.utils` reads them, with a full stop in the domain."""
    for field in _FIELD.finditer(_head(post)):
        address = email.utils.parseaddr(field[1].decode())[1].encode()
        start = post.find(address, field.start(1), field.end(1))
        if _PLAUSIBLE.search(address) and start >= 0:
            yield start, start + len(address)


def hosts(post: bytes) -> Iterator[Span]:
    """The addresses of hosts that a field gives as four numbers."""
    yield from (field.span(1) for field in _HOST.finditer(_head(post)))


def message_ids(posts: list[bytes]) -> frozenset[bytes]:
    """All ids, in angle brackets, that some post cites as one: other id_spans are ids as well."""
    return frozenset(match[1] for post in posts for match in _CITED.finditer(post))


def id_spans(post: bytes, ids: frozenset[bytes]) -> Iterator[Span]:
    """Where ids occur, with or without a word that says so; the brackets left out."""
    yield from ((m.start() + 1, m.end() - 1) for m in _IDS.finditer(post) if m[0] in ids)


def _head(post: bytes) -> bytes:
    return post.partition(b"\n\n")[0]
