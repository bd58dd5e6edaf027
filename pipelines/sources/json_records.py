"""JSON lines and JSON arrays."""

from __future__ import annotations

import json
from collections.abc import Container, Iterator
from typing import Any

import orjson

from operators.errors import ShardError
from pipelines.sources.lines import BOM, LineReader
from pipelines.sources.records import Fault, Reason, Record
from pipelines.sources.storage import Compression, FileRef, open_stream, read_up_to

#: An array is parsed as a whole; a larger one has to be turned into lines.
ARRAY_BYTES = 512_000_000


def json_lines(lines: LineReader, limit: int, only: Container[int] | None = None) -> Iterator[Record]:
    """One record for each line that is not blank. Lines of records that are not in `only` are not parsed."""
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
        return _lenient(json.loads(line.decode(), strict=False))
    except UnicodeDecodeError as error:
        raise Fault(
            "invalid_utf8", f"byte {error.start} of the line (0x{line[error.start]:02x}) is not UTF-8"
        ) from None
    except (ValueError, RecursionError):
        raise Fault("malformed", f"this is not JSON: {refusal}") from None


def _lenient(value: Any) -> Any:
    """A value that orjson refused and Python's json took, made what orjson would give.

    NaN and the infinities, which Python's json writes for missing numbers, become null; raw control characters in a
    text stay. Raises Fault for lone surrogates and integers beyond 64 bits.
    """
    try:
        return orjson.loads(orjson.dumps(value))
    except TypeError as error:  # orjson.JSONEncodeError is a TypeError
        if "surrogate" in str(error):
            raise Fault(
                "lone_surrogate", "a text holds half of a UTF-16 surrogate pair, which no UTF-8 can hold"
            ) from None
        raise Fault("malformed", f"this is not JSON that can be kept: {error}") from None


def is_array(file: FileRef, compression: Compression) -> bool:
    """Whether a file that is called .json holds one array rather than lines: it begins with a bracket."""
    with open_stream(file, compression) as stream:
        head: bytes = stream.read(1 << 16).removeprefix(BOM)
    return head.lstrip().startswith(b"[")


def json_array(file: FileRef, compression: Compression) -> Iterator[Record]:
    """One record for each element. Raises ShardError where the array is cut, broken or over ARRAY_BYTES."""
    with open_stream(file, compression) as stream:
        data = read_up_to(stream, ARRAY_BYTES)
    if data is None:
        raise ShardError(f"{file.name} is a JSON array of more than {ARRAY_BYTES:,} bytes; turn it into JSON lines")
    for value, fault in _elements(file, data.removeprefix(BOM)):
        yield Record(value, fault=fault)


def _elements(file: FileRef, data: bytes) -> Iterator[tuple[Any, Fault | None]]:
    try:
        elements = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        yield from _elements_one_by_one(file, data, error)
        return
    for element in elements:
        yield element, None


def _elements_one_by_one(file: FileRef, data: bytes, refusal: Exception) -> Iterator[tuple[Any, Fault | None]]:
    """An array of which orjson refuses some element: Python's json takes all, bytes that are no UTF-8 as surrogates."""
    try:
        elements = json.loads(data.decode("utf-8", "surrogateescape"), strict=False)
    except (ValueError, RecursionError):
        raise ShardError(
            f"{file.name} is not a whole JSON array ({refusal}); write or fetch it again, "
            "or leave it out of the source's path"
        ) from None
    surrogate: Reason = "lone_surrogate" if _is_utf8(data) else "invalid_utf8"
    for element in elements:
        try:
            yield _lenient(element), None
        except Fault as fault:
            if fault.reason == "lone_surrogate" and surrogate == "invalid_utf8":
                fault = Fault(surrogate, "a text of this element is not UTF-8")
            yield element, fault


def _is_utf8(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True
