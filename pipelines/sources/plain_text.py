"""Plain text: every file is one document; its id is the file's name."""

from __future__ import annotations

from collections.abc import Iterator

from pipelines.sources.lines import BOM
from pipelines.sources.records import Fault, Record
from pipelines.sources.storage import Compression, DamagedFile, FileRef, open_stream, read_up_to

FIELDS = ("id", "text")


def plain_text(file: FileRef, compression: Compression, limit: int) -> Iterator[Record]:
    """The one record of a file. A damaged compressed file is a bad record: the other files of the shard stand."""
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
