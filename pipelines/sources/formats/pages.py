"""Pages: HTML in the files of crawlers (WARC, ARC) and in files of its own. Their text is HTML until it is extracted.

Each `response` or `resource` record that holds HTML with the status 200 is a page. All other records are counted by
what they are.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

from gristmill.operators.errors import ShardError
from gristmill.operators.extract.decoding import decode_page
from gristmill.operators.extract.http_message import (
    BodyTooLarge,
    HttpMessage,
    decoded_body,
    mime_and_charset,
    parse_response,
)
from gristmill.pipelines.sources.formats.base import Format, Reading, by_file, fixed
from gristmill.pipelines.sources.records import Fault, Record, Utf8
from gristmill.pipelines.sources.storage import DamagedFile, FileRef, open_file, open_stream, read_up_to
from gristmill.pipelines.sources.streams import HEAD, Compression, NotAsNamed, compression_of
from gristmill.pipelines.sources.warc_members import DamagedRecord, members_of, plain_content
from gristmill.pipelines.sources.warc_records import Gap, WarcRecord, read_records

#: Metadata of a page by default, and their types.
METADATA = {
    "date": "string",
    "http_status": "int",
    "mime": "string",
    "charset": "string",
    "html_bytes": "int",
    "offset": "int",
    "encoding": "string",
    "replaced": "float",
}
WARC_FIELDS = ("id", "url", "text", "language", *METADATA)
HTML_FIELDS = ("id", "text", "charset", "html_bytes", "encoding", "replaced")
#: Pages are a few hundred kilobytes; what is larger is data, or a trap.
PAGE_BYTES = 10_000_000
_HTML = ("text/html", "application/xhtml+xml")
#: The beginning of a page, where a server does not say what it is.
_BEGINS_AS_HTML = re.compile(
    rb"\s*(?:<!--.{0,512}?-->\s*)*<(?:!doctype\s+html|html|head|body)\b", re.IGNORECASE | re.DOTALL
)


def records_of(
    file: FileRef, named: Compression, wanted: Callable[[dict[str, str], int], bool], skips: bool = False
) -> Iterator[WarcRecord | Gap]:
    """Yield the records of a WARC or ARC file; see `read_records`. Raises ShardError at the first damage.

    With `skips` a Gap stands for what is damaged, where the file's compression lets one go on behind it.
    """
    with open_file(file) as raw:
        if re.search(r"\.wat(\.|$)", file.name):
            raise NotAsNamed("is WAT: metadata of pages, without the pages; fetch the .warc.gz of the same crawl")
        head = raw.read(HEAD)
        raw.seek(0)
        members = members_of(raw, compression_of(head, named), head)
        try:
            if members is not None:
                yield from read_records(members, wanted, skips)
                return
        except DamagedRecord as damage:
            if damage.offset == 0:  # a file of another kind is named as such
                with open_stream(file, named):
                    pass
            raise damaged(file, damage) from None
    try:
        with open_stream(file, named) as stream:
            yield from read_records(plain_content(stream), wanted, skips)
    except DamagedRecord as damage:
        raise damaged(file, damage) from None


def damaged(file: FileRef, damage: DamagedRecord) -> ShardError:
    """Return the error of a file at whose place there is no whole record."""
    return ShardError(
        f"{file.name} is damaged or cut short: at byte {damage.offset:,} {damage.reason}; fetch it again, leave it out "
        "of the source's path, or read what is whole with `damaged: skip`"
    )


def gap(place: Gap) -> Record:
    """Return the record that stands for what is damaged in a file."""
    stop = "the end" if place.stop is None else f"{place.stop:,}"
    detail = f"bytes {place.start:,} to {stop} of the file hold no whole record: {place.reason}"
    return Record({}, detail, offset=place.start, fault=Fault("damaged_record", detail))


def warc_pages(reading: Reading) -> Iterator[Record]:
    """Yield the pages of a file, and a fault for each gap; records that are no pages are counted in `left_out`."""
    source, limit = reading.source, reading.limit

    def wanted(headers: dict[str, str], length: int) -> bool:
        return headers.get("warc-type") in ("response", "resource") and length <= _STORED * limit

    for record in records_of(reading.file, reading.compression, wanted, source.damaged == "skip"):
        if isinstance(record, Gap):
            yield gap(record)
            continue
        page = _page(record, limit)
        if isinstance(page, str):
            reading.leave_out(page)
        else:
            yield page


_STORED = 2  # times the limit that a record may have: heads, and codings that make a body larger


def _page(record: WarcRecord, limit: int) -> Record | str:
    """Return a page, or what the record is instead."""
    kind = record.headers.get("warc-type", "unknown")
    if kind not in ("response", "resource"):
        return kind
    value: dict[str, Any] = {
        "id": record.headers.get("warc-record-id", "").strip("<>") or None,
        "url": record.headers.get("warc-target-uri", "").strip("<>") or None,
        "date": record.headers.get("warc-date"),
        "language": record.headers.get("warc-identified-content-language"),
        "offset": record.offset,
    }
    described = record.headers.get("content-type", "")
    if (value["url"] or "").startswith("dns:") or described.startswith("text/dns"):
        return "dns"
    if record.content is None:
        fault = Fault("too_large", f"the record has {record.length:,} bytes, more than a page may have ({limit:,})")
        return Record(value, value["url"] or "", offset=record.offset, fault=fault)
    message = parse_response(record.content)
    if message is None and kind == "response":
        detail = "the response does not begin with an HTTP status line"
        return Record(value, record.content, offset=record.offset, fault=Fault("malformed", detail))
    if message is not None:
        described = message.headers.get("content-type", "")
        if message.status != 200:
            return f"status {message.status}"
    else:
        message = HttpMessage(0, {}, record.content)
    mime, charset = mime_and_charset(described)
    if mime not in _HTML and not (mime is None and _BEGINS_AS_HTML.match(message.body)):
        return f"type {mime or 'unknown'}"
    try:
        body = decoded_body(message, limit)
    except BodyTooLarge:
        fault = Fault("too_large", f"the page has more than {limit:,} bytes")
        return Record(value, message.body, offset=record.offset, fault=fault)
    if not body.strip():
        return "empty body"
    value |= {"http_status": message.status or None, "mime": mime, "charset": charset, "html_bytes": len(body)}
    return Record(value | decoded(body, charset), body, offset=record.offset)


def decoded(body: bytes, charset: str | None) -> dict[str, Any]:
    """Return the fields of a page that follow from its bytes."""
    page = decode_page(body, charset)
    return {"text": Utf8(page.content), "encoding": page.encoding, "replaced": page.replaced}


def html_file(reading: Reading) -> Iterator[Record]:
    """Yield the one page of a file. A damaged compressed file is a bad record: the shard's other files stay valid."""
    file, limit = reading.file, reading.limit
    value: dict[str, Any] = {"id": file.name}
    try:
        with open_stream(file, reading.compression) as stream:
            body = read_up_to(stream, limit)
    except DamagedFile as error:
        yield Record(value, file.name, fault=Fault("malformed", str(error)))
        return
    if body is None:
        yield Record(value, file.name, fault=Fault("too_large", f"{file.name} has more than {limit:,} bytes"))
        return
    yield Record(value | {"charset": None, "html_bytes": len(body)} | decoded(body, None), body)


WARC = Format(
    "warc",
    by_file(warc_pages),
    fixed(WARC_FIELDS),
    stated_suffixes=(".warc", ".arc"),
    fields=WARC_FIELDS,
    pages=True,
    defaults={"url": "url", "metadata": METADATA, "document_bytes": PAGE_BYTES},
)
HTML = Format(
    "html",
    by_file(html_file),
    fixed(HTML_FIELDS),
    stated_suffixes=(".html", ".htm", ".xhtml"),
    fields=HTML_FIELDS,
    is_document=lambda source: True,
    pages=True,
    defaults={"document_bytes": PAGE_BYTES},
)
