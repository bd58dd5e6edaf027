"""JSON lines and JSON arrays."""

from __future__ import annotations

import json
from collections.abc import Container, Generator, Iterator, Sequence
from contextlib import closing, contextmanager
from functools import cached_property, partial
from typing import Any

import orjson

from gristmill.operators.errors import ShardError
from gristmill.pipelines.sources.formats.base import Format, Opened, Reading, by_lines, byte_parts, of_head
from gristmill.pipelines.sources.json_values import RepeatedKeys, check_surrogates, exact_json, object_of
from gristmill.pipelines.sources.lines import BOM, LineReader
from gristmill.pipelines.sources.records import Fault, Record
from gristmill.pipelines.sources.storage import FileRef, open_stream, read_up_to
from gristmill.pipelines.sources.streams import Compression

#: Largest array that is read, since arrays are parsed as a whole; a larger one has to be turned into lines.
ARRAY_BYTES = 512_000_000


def json_lines(
    lines: LineReader, limit: int, fields: Sequence[str] = (), only: Container[int] | None = None
) -> Iterator[Record]:
    """Yield one record for each line that is not blank; lines of records that are not in `only` are not parsed.

    `fields` are those that are used, that of the text first; none of them may occur twice in a record.
    """
    check = RepeatedKeys(fields).check
    row = -1
    for number, offset, size, content in lines:
        if not content or content.isspace():
            continue
        row += 1
        if only is not None and row not in only:
            yield Record(None)
            continue
        try:
            if size > limit:
                raise Fault("too_large", f"the line has {size:,} bytes, more than document_bytes ({limit:,})")
            value = _parse_line(content)
            check(content, value)
        except Fault as fault:
            yield Record(None, content, number, offset, fault)
        else:
            yield Record(value, content, number, offset)


def _parse_line(line: bytes) -> Any:
    try:
        return orjson.loads(line)
    except orjson.JSONDecodeError as error:
        refusal = str(error)
    if b"\0" in line:
        raise Fault("nul_character", f"the line has a NUL byte at byte {line.index(0)}")
    try:
        return exact_json(line)
    except UnicodeDecodeError as error:
        raise Fault(
            "invalid_utf8", f"byte {error.start} of the line (0x{line[error.start]:02x}) is not UTF-8"
        ) from None
    except ValueError:
        raise Fault("malformed", f"this is not JSON: {refusal}") from None


def is_array(file: FileRef, compression: Compression) -> bool:
    """Return whether a file named .json holds one array rather than lines: it begins with a bracket."""
    with open_stream(file, compression) as stream:
        head: bytes = stream.read(1 << 16).removeprefix(BOM)
    return head.lstrip().startswith(b"[")


def json_array(file: FileRef, compression: Compression, fields: Sequence[str] = ()) -> Generator[Record]:
    """Yield one record for each element. Raises ShardError where the array is cut, broken or over ARRAY_BYTES.

    `fields` are those that are used, that of the text first; none of them may occur twice in a record.
    """
    with open_stream(file, compression) as stream:
        data = read_up_to(stream, ARRAY_BYTES)
    if data is None:
        raise ShardError(f"{file.name} is a JSON array of more than {ARRAY_BYTES:,} bytes; turn it into JSON lines")
    data = data.removeprefix(BOM)
    repeated = RepeatedKeys(fields)
    refusal = ""
    try:
        elements = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        refusal = str(error)
    exact = _ExactElements(file.name, data, refusal)
    if refusal or repeated.are_in(data, elements):
        for i in range(len(exact)):
            yield exact.record(i, repeated)
    else:
        for i, element in enumerate(elements):
            yield Record(element, exact=partial(exact.element, i))


class _ExactElements:
    """The elements of an array as Python's parser gives them, parsed when the first is needed."""

    def __init__(self, name: str, data: bytes, refusal: str) -> None:
        self._name, self._data, self._refusal = name, data, refusal

    @cached_property
    def _elements(self) -> list[Any]:
        try:
            text = self._data.decode("utf-8", "surrogateescape")
            elements: list[Any] = json.loads(text, strict=False, object_pairs_hook=object_of)
        except (ValueError, RecursionError):
            raise ShardError(
                f"{self._name} is not a whole JSON array ({self._refusal}); write or fetch it again, "
                "or leave it out of the source's path"
            ) from None
        return elements

    def __len__(self) -> int:
        return len(self._elements)

    def element(self, i: int) -> Any:
        """Return an element with all digits of its numbers."""
        return self._elements[i]

    def record(self, i: int, repeated: RepeatedKeys) -> Record:
        """Return the record of an element, with a fault for texts that are not UTF-8 and for repeated keys."""
        element = self._elements[i]
        try:
            check_surrogates(element)
            repeated.judge(element)
        except Fault as fault:
            if fault.reason == "lone_surrogate" and not self._is_utf8:
                fault = Fault("invalid_utf8", "a text of this element is not UTF-8")
            return Record(element, fault=fault)
        return Record(element, exact=partial(self.element, i))

    @cached_property
    def _is_utf8(self) -> bool:
        try:
            self._data.decode()
        except UnicodeDecodeError:
            return False
        return True


@contextmanager
def _open(reading: Reading) -> Iterator[Opened]:
    if is_array(reading.file, reading.compression):
        with closing(json_array(reading.file, reading.compression, reading.fields)) as records:
            yield Opened(records)
    else:
        with JSONL.open(reading) as opened:
            yield opened


def _lines_of_head(head: bytes, whole: bool) -> list[dict[str, Any]]:
    lines = head.removeprefix(b"\xef\xbb\xbf").split(b"\n")
    records = []
    for line in lines if whole else lines[:-1]:
        try:
            records.append(orjson.loads(line))
        except orjson.JSONDecodeError:
            continue
    return [record for record in records if isinstance(record, dict)]


def _head_of_array(head: bytes, whole: bool) -> list[dict[str, Any]]:
    text = head.decode("utf-8-sig", "ignore").lstrip()
    if not text.startswith("["):
        return _lines_of_head(head, whole)
    decoder, at = json.JSONDecoder(), 1
    records: list[Any] = []
    while True:
        while at < len(text) and text[at] in " \t\r\n,":
            at += 1
        try:
            record, at = decoder.raw_decode(text, at)
        except (ValueError, RecursionError):  # the end of the array, or of what was read
            return [record for record in records if isinstance(record, dict)]
        records.append(record)


JSONL = Format(
    "jsonl",
    by_lines(lambda reading, lines: json_lines(lines, reading.limit, reading.fields, reading.only)),
    of_head(_lines_of_head),
    suffixes=(".jsonl", ".ndjson"),
    declares=False,
    parts=byte_parts,
)
#: An array, or lines.
JSON = Format("json", _open, of_head(_head_of_array), suffixes=(".json",), declares=False)
