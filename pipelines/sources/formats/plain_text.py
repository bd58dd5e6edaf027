"""Plain text: a file is one document, with its name as the id, or one for each of its paragraphs or lines."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator
from contextlib import closing, contextmanager
from itertools import groupby

from gristmill.operators.errors import RetryableError, ShardError
from gristmill.pipelines.sources.formats.base import Format, Opened, Reading, byte_parts, fixed
from gristmill.pipelines.sources.lines import BOM, Line, open_lines
from gristmill.pipelines.sources.records import Fault, Record
from gristmill.pipelines.sources.storage import DamagedFile, FileRef, open_stream, read_up_to
from gristmill.pipelines.sources.streams import Compression

FIELDS = ("id", "text")
#: A file has many short lines if its first HEAD bytes have at least MANY lines, of at most SHORT bytes on average.
HEAD = 1 << 16
MANY, SHORT = 100, 400


def plain_text(file: FileRef, compression: Compression, limit: int) -> Generator[Record]:
    """Yield the one record of a file. A damaged compressed file is a bad record: the shard's other files stay valid."""
    try:
        if compression == "none" and file.size > limit:
            raise Fault("too_large", f"{file.name} has {file.size:,} bytes, more than document_bytes ({limit:,})")
        content = _content(file, compression, limit)
    except Fault as fault:
        yield Record({"id": file.name}, file.name, fault=fault)
        return
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        detail = f"{file.name}: byte {error.start:,} (0x{content[error.start]:02x}) is not UTF-8"
        yield Record({"id": file.name}, content, fault=Fault("invalid_utf8", detail))
    else:
        yield Record({"id": file.name, "text": text}, content)


def _content(file: FileRef, compression: Compression, limit: int) -> bytes:
    try:
        with open_stream(file, compression) as stream:
            content = read_up_to(stream, limit + len(BOM))
    except DamagedFile as error:
        raise Fault("malformed", str(error)) from None
    if content is None:
        raise Fault("too_large", f"{file.name} has more than {limit:,} bytes (document_bytes)")
    return content.removeprefix(BOM)


def text_units(name: str, lines: Iterable[Line], unit: str, limit: int) -> Iterator[Record]:
    """Yield one record for each line that is not blank, or for the lines between blank ones.

    Its id is the file's name and the byte where it begins. Carriage returns at the ends of lines are no part of it.
    """
    for blank, run in groupby(lines, lambda line: line.content.isspace() or not line.content):
        if blank:
            continue
        for piece in ([line] for line in run) if unit == "line" else (run,):
            yield _unit(name, piece, limit)


def _unit(name: str, lines: Iterable[Line], limit: int) -> Record:
    first: Line | None = None
    contents: list[bytes] = []
    size = -1
    for line in lines:
        first = first or line
        size += line.size + 1
        if size <= limit:
            contents.append(line.content.removesuffix(b"\r"))
    assert first is not None
    value = {"id": f"{name}@{first.offset}"}
    content = b"\n".join(contents) or first.content
    fault = None
    if size > limit:
        fault = Fault("too_large", f"it has {size:,} bytes, more than document_bytes ({limit:,})")
    else:
        try:
            value["text"] = content.decode()
        except UnicodeDecodeError as error:
            fault = Fault("invalid_utf8", f"byte {error.start:,} (0x{content[error.start]:02x}) is not UTF-8")
    return Record(value, content, first.number, first.offset, fault)


def has_many_lines(file: FileRef, compression: Compression) -> bool:
    """Return whether a file looks as if each of its lines were meant as a document; False if it cannot be read."""
    try:
        with open_stream(file, compression) as stream:
            head: bytes = stream.read(HEAD)
    except (ShardError, RetryableError):
        return False
    lines = head.count(b"\n")
    return lines >= MANY and len(head) <= lines * SHORT


@contextmanager
def _open(reading: Reading) -> Iterator[Opened]:
    if reading.source.unit == "file":
        with closing(plain_text(reading.file, reading.compression, reading.limit)) as records:
            yield Opened(records)
    else:
        with open_lines(reading.file, reading.compression, reading.part, reading.limit) as lines:
            yield Opened(text_units(reading.file.name, lines, reading.source.unit, reading.limit), lines)


TEXT = Format(
    "text",
    _open,
    fixed(FIELDS),
    suffixes=(".txt", ".text", ".md"),
    fields=FIELDS,
    parts=lambda file, source: byte_parts(file, source) if source.unit == "line" else [None],
    units=True,
    is_document=lambda source: source.unit == "file",
    has_many_lines=has_many_lines,
)
