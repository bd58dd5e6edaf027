"""Real text: addresses of senders are found, ids of messages are not taken for addresses."""

from __future__ import annotations

import ipaddress
from functools import cache
from pathlib import Path

import pytest

from gristmill.operators.arrays import array_of
from gristmill.operators.personal_data.finder import Finder
from gristmill.operators.personal_data.occurrences import KINDS, Kind
from tests.operators.personal_data.usenet import Span, addresses, hosts, id_spans, message_ids, posts, texts_of

_POSTS = cache(posts)


def spans(kind: Kind, texts: list[bytes]) -> list[set[Span]]:
    """The occurrences of a kind in each text."""
    found: list[set[Span]] = [set() for _ in texts]
    for position, _, occurrences in Finder([kind], ["US"]).occurrences(array_of(texts)):
        found[position] = {(occurrence.start, occurrence.end) for occurrence in occurrences}
    return found


def overlap(span: Span, found: set[Span]) -> bool:
    return any(start < span[1] and span[0] < end for start, end in found)


def test_addresses_of_senders_are_found(shared_data: Path) -> None:
    texts = _POSTS(shared_data)
    gold = [(span, found) for text, found in zip(texts, spans("email", texts), strict=True) for span in addresses(text)]
    assert len(gold) > 10_000
    assert sum(span in found for span, found in gold) >= 0.99 * len(gold)


def test_ids_of_messages_are_no_addresses(shared_data: Path) -> None:
    texts = _POSTS(shared_data)
    ids = message_ids(texts)
    pairs = zip(texts, spans("email", texts), strict=True)
    negatives = [(span, found) for text, found in pairs for span in id_spans(text, ids)]
    assert len(negatives) > 5_000
    assert sum(overlap(span, found) for span, found in negatives) <= 0.005 * len(negatives)


def test_most_ids_can_be_told_without_a_word_before_them(shared_data: Path) -> None:
    ids = sorted(message_ids(_POSTS(shared_data)))
    assert sum(found != set() for found in spans("email", ids)) <= 0.015 * len(ids)


def test_hosts_are_found(shared_data: Path) -> None:
    texts = _POSTS(shared_data)
    pairs = zip(texts, spans("ip", texts), strict=True)
    gold = [(text[span[0] : span[1]], span in found) for text, found in pairs for span in hosts(text)]
    public = [found for address, found in gold if ipaddress.ip_address(address.decode()).is_global]
    assert len(public) > 100
    assert all(public)


@pytest.mark.parametrize(("source", "most"), [("code_python", 10), ("news_bbc", 0), ("book_multilingual", 0)])
def test_little_is_found_where_little_is(shared_data: Path, source: str, most: int) -> None:
    """Decorators, versions and times of code, numbers of news: 529, 2,225 and 2,980 documents."""
    texts = texts_of(shared_data, source)
    assert len(texts) > 500
    for kind in KINDS:
        assert sum(map(len, spans(kind, texts))) <= most, kind
