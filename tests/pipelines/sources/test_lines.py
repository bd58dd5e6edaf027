from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gristmill.pipelines.sources import storage
from gristmill.pipelines.sources.lines import Line, LineReader

CONTENT = st.lists(st.sampled_from([b"a", b"bc", b"\n", b"\r", b"\xff", b"long piece of a line"]), max_size=40).map(
    b"".join
)


@pytest.fixture(autouse=True)
def small_chunks() -> Iterator[None]:
    """Chunks of seven bytes, so that lines cross their borders."""
    patch = pytest.MonkeyPatch()
    patch.setattr(storage, "CHUNK", 7)
    yield
    patch.undo()


def lines_of(content: bytes, part: tuple[int, int] | None = None, limit: int = 1000) -> list[Line]:
    reader = LineReader(pa.BufferReader(content), part, limit)
    found = list(reader)
    assert reader.count == len(found)
    return found


@given(CONTENT)
def test_lines_are_what_lies_between_newlines(content: bytes) -> None:
    expected = content.split(b"\n")
    if not expected[-1]:
        expected.pop()
    found = lines_of(content)
    assert [line.content for line in found] == expected
    assert [line.number for line in found] == list(range(1, len(expected) + 1))
    for line in found:
        assert content[line.offset : line.offset + line.size] == line.content


@given(CONTENT, st.lists(st.integers(0, 200), max_size=6))
def test_parts_give_every_line_once(content: bytes, borders: list[int]) -> None:
    whole = lines_of(content)
    ends = sorted({0, len(content), *(b for b in borders if b < len(content))})
    parts = [lines_of(content, part) for part in pairwise(ends)]
    assert [(line.offset, line.content) for part in parts for line in part] == [(li.offset, li.content) for li in whole]
    before = 0
    for part in parts:
        assert [line.number for line in part] == list(range(1, len(part) + 1))
        assert [whole[before + i].offset for i in range(len(part))] == [line.offset for line in part]
        before += len(part)


def test_a_byte_order_mark_is_left_out_at_the_start_only() -> None:
    assert [line.content for line in lines_of(b"\xef\xbb\xbfa\n\xef\xbb\xbfb\n")] == [b"a", b"\xef\xbb\xbfb"]


def test_a_long_line_is_cut_but_measured() -> None:
    content = b"x" * 50 + b"\nshort\n" + b"y" * 60
    found = lines_of(content, limit=10)
    assert [(line.size, line.offset) for line in found] == [(50, 0), (5, 51), (60, 57)]
    assert all(len(line.content) <= 10 for line in found)
