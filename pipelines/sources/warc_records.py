"""Records of WARC and ARC files, one after the other, with what is damaged between them.

WARC is ISO 28500:2017, sections 4 to 6: a version line, named fields, an empty line, `Content-Length` bytes, two empty
lines; each record of a compressed file is a member of its own (annex D). ARC is what came before it (Burner and Kahle
1996): a line of URL, address, date, type and length, then so many bytes.

They are read here and not by a library so that a file that is cut short is told from one that ends, and so that what
lies behind damage can still be read.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import NamedTuple

from gristmill.pipelines.sources.streams import CHUNK
from gristmill.pipelines.sources.warc_members import BEGINNING, DamagedRecord, MemberContent, PlainContent

_LINE_ENDS, _LINE_FEED = 2, 10  # line ends behind a record
_ARC_FIELDS = 5  # URL, address, date, type, length; version 2 has more before the length


class WarcRecord(NamedTuple):
    """One record of a file."""

    offset: int  #: where its member begins in the file, or its first byte in the content of a file without members
    headers: dict[str, str]  #: names in lower case
    length: int  #: of its content
    content: bytes | None  #: None where it was not wanted


class Gap(NamedTuple):
    """A range of a file that is no whole record."""

    start: int  #: counted as `WarcRecord.offset`
    stop: int | None  #: None at the end of the file
    reason: str


def read_records(
    members: PlainContent | MemberContent, wanted: Callable[[dict[str, str], int], bool], skips: bool
) -> Iterator[WarcRecord | Gap]:
    """Yield the records of a file; those that are `wanted`, by their headers and length, with their content.

    Raises DamagedRecord at the first place that is no record, unless it `skips` what is damaged and yields a Gap.
    """
    reader = _Reader(members, wanted)
    while True:
        try:
            yield from reader.records()
            return
        except DamagedRecord as damage:
            if not skips:
                raise
            yield reader.gap(damage)


class _Reader:
    """Position in the content of a file."""

    def __init__(self, members: PlainContent | MemberContent, wanted: Callable[[dict[str, str], int], bool]) -> None:
        self._members, self._wanted = members, wanted
        self._pieces = iter(members)
        self._open(0)
        self._is_arc = False
        self._starts = 0  # members that began so far
        self._behind: DamagedRecord | None = None  # damage behind the record that was read last
        self._line_ends = 0  # between the last record and what follows

    def _open(self, at: int) -> None:
        self._buffer, self._at = b"", 0  # content that was read, and the position in it
        self._before = at  # content before the buffer
        self._marks: list[tuple[int, int]] = []  # position in the content and in the file of members of the buffer
        self._record = at  # offset of the record that is read
        self._record_member = self._member = -1  # where its member begins, and the last one that was begun

    def records(self) -> Iterator[WarcRecord]:
        while True:
            record = self._next_record()
            if record is None:
                return
            yield record

    def _next_record(self) -> WarcRecord | None:
        if self._behind is not None:
            damage, self._behind = self._behind, None
            raise damage
        if not self._skip_blank_lines():
            return None
        offset = self._record = self._offset()
        begins_member = any(start == self._before + self._at for start, _ in self._marks)
        self._record_member = offset if begins_member else -1
        headers = self._arc_headers() if self._is_arc else self._headers()
        try:
            length = int(headers["content-length"])
        except (KeyError, ValueError):
            raise DamagedRecord(offset, "the record has no Content-Length") from None
        if length < 0:
            raise DamagedRecord(offset, f"the record has a Content-Length of {length}")
        content = self._content(length, self._wanted(headers, length))
        if not self._ends_here():
            raise DamagedRecord(offset, "the record goes on behind its Content-Length")
        return WarcRecord(offset, headers, length, content)

    def _ends_here(self) -> bool:
        """Return whether a record may end here: two line ends follow, or a member, a record or the end of the file."""
        try:
            is_last = not self._skip_blank_lines()
        except DamagedRecord as damage:  # of the member behind the record
            self._behind = damage
            return True
        position = self._before + self._at
        begins_member = any(start == position for start, _ in self._marks)
        return is_last or begins_member or self._begins_here() or self._line_ends >= _LINE_ENDS

    def gap(self, damage: DamagedRecord) -> Gap:
        """Go on at the next record that can be found behind the damage; return what lies between."""
        # content of a record that claims to be longer than it is may hold whole members
        at_member = any(offset == damage.offset for offset in (self._record_member, self._member))
        stop = self._members.resume((damage.offset if at_member else max(self._member, damage.offset)) + 1)
        self._pieces = iter(self._members if stop is not None else ())
        self._open(0 if stop is None else stop)
        return Gap(damage.offset, stop, damage.reason)

    def _offset(self) -> int:
        """Return the offset of the current position: that of its member if one begins here."""
        position = self._before + self._at
        return next((offset for start, offset in self._marks if start == position), position)

    def _fill(self) -> bool:
        """Read the next piece; False at the end."""
        piece = next(self._pieces, None)
        if piece is None:
            return False
        self._buffer, self._before, self._at = self._buffer[self._at :], self._before + self._at, 0
        self._marks = [mark for mark in self._marks if mark[0] >= self._before]
        if piece.member is not None:
            self._starts += 1
            self._member = piece.member
            self._marks.append((self._before + len(self._buffer), piece.member))
        self._buffer += piece.content
        return True

    def _skip_blank_lines(self) -> bool:
        """Go to the next byte that is no line end; False at the end of the file."""
        self._line_ends = 0
        while True:
            while self._at < len(self._buffer) and self._buffer[self._at] in b"\r\n":
                self._line_ends += self._buffer[self._at] == _LINE_FEED
                self._at += 1
            if self._at < len(self._buffer):
                return True
            if not self._fill():
                return False

    def _begins_here(self) -> bool:
        return self._is_arc or self._peek(5) == b"WARC/"

    def _peek(self, size: int) -> bytes:
        while len(self._buffer) - self._at < size and self._fill():
            pass
        return self._buffer[self._at : self._at + size]

    def _line(self) -> bytes:
        searched = self._at
        while (end := self._buffer.find(b"\n", searched)) < 0:
            if len(self._buffer) - self._at > CHUNK:
                raise DamagedRecord(self._record, "the header of the record has no end")
            behind = len(self._buffer) - self._at
            if not self._fill():
                raise DamagedRecord(self._record, "the file ends inside the header of a record")
            searched = self._at + behind
        line, self._at = self._buffer[self._at : end], end + 1
        return line

    def _headers(self) -> dict[str, str]:
        if self._peek(11) == b"filedesc://":
            self._is_arc = True
            return self._arc_headers()
        if not self._begins_here():
            raise DamagedRecord(self._record, "no WARC record begins here")
        self._line()
        headers: dict[str, str] = {}
        name, size = "", 0
        while line := self._line().rstrip(b"\r"):
            size += len(line)
            if size > CHUNK:
                raise DamagedRecord(self._record, "the header of the record has no end")
            text = line.decode("utf-8", "replace")
            if line[:1] in b" \t" and name:  # a field that goes on
                headers[name] += f" {text.strip()}"
                continue
            name, _, value = text.partition(":")
            name = name.strip().lower()
            headers[name] = value.strip()
        return headers

    def _arc_headers(self) -> dict[str, str]:
        fields = self._line().decode("utf-8", "replace").split(" ")
        if len(fields) < _ARC_FIELDS or not fields[-1].strip().isdigit():
            raise DamagedRecord(self._record, "no ARC record begins here")
        url, address, date, kind, *_, length = fields
        is_page = re.match(r"https?://", url) is not None
        headers = {"warc-type": "response" if is_page else url.partition(":")[0], "warc-target-uri": url}
        with contextlib.suppress(ValueError):
            headers["warc-date"] = datetime.strptime(date[:14], "%Y%m%d%H%M%S").strftime("%Y-%m-%dT%H:%M:%SZ")
        return headers | {"content-type": kind, "content-length": length.strip(), "warc-ip-address": address}

    def _content(self, length: int, keep: bool) -> bytes | None:
        """Read the content of a record; None unless it is to be kept."""
        pieces: list[bytes] = []
        missing = length
        while True:
            part = self._buffer[self._at : self._at + missing]
            self._at += len(part)
            missing -= len(part)
            if keep and part:
                pieces.append(part)
            if not missing:
                return b"".join(pieces) if keep else None
            starts = self._starts
            if not self._fill():
                raise DamagedRecord(self._record, f"the file ends {missing:,} bytes before the record does")
            if self._starts > starts and BEGINNING.match(self._buffer, self._at):
                raise DamagedRecord(self._record, f"another record begins {missing:,} bytes before this one ends")
