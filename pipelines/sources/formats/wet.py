"""WET: the plain text that Common Crawl extracts from pages, one `conversion` record of a WARC file for each page."""

from __future__ import annotations

from collections.abc import Iterator

from gristmill.pipelines.sources.formats.base import Format, Reading, by_file, fixed
from gristmill.pipelines.sources.formats.pages import gap, records_of
from gristmill.pipelines.sources.records import Fault, Record
from gristmill.pipelines.sources.warc_records import Gap, WarcRecord

FIELDS = ("id", "url", "date", "language", "text")
#: Field of a document to field of a WARC record.
_WARC_FIELDS = {
    "id": "warc-record-id",
    "url": "warc-target-uri",
    "date": "warc-date",
    "language": "warc-identified-content-language",
}


def wet(reading: Reading) -> Iterator[Record]:
    """Yield one record for each conversion record. Raises ShardError where the file is cut or is no WARC file."""
    limit = reading.limit

    def wanted(headers: dict[str, str], length: int) -> bool:
        return headers.get("warc-type") == "conversion" and length <= limit

    for record in records_of(reading.file, reading.compression, wanted, reading.source.damaged == "skip"):
        if isinstance(record, Gap):
            yield gap(record)
        elif record.headers.get("warc-type") == "conversion":
            yield _document(record, limit)


def _document(record: WarcRecord, limit: int) -> Record:
    value = {field: record.headers[name] for field, name in _WARC_FIELDS.items() if name in record.headers}
    content, fault = record.content or b"", None
    if record.length > limit:
        fault = Fault("too_large", f"the record has {record.length:,} bytes, more than document_bytes ({limit:,})")
    else:
        try:
            value["text"] = content.decode()
        except UnicodeDecodeError as error:
            byte = f"byte {error.start:,} of the text (0x{content[error.start]:02x})"
            fault = Fault("invalid_utf8", f"{byte} is not UTF-8")
    return Record(value, content, offset=record.offset, fault=fault)


WET = Format("wet", by_file(wet), fixed(FIELDS), suffixes=(".wet",), fields=FIELDS)
