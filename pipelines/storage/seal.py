"""Seals: digests inside the files of a store, so that a damaged file is never taken for another value.

Parquet has checksums for the data of its pages only: in the headers of pages and in the footer a flipped bit can give
other values without an error. So each file of the store carries a digest of all its bytes:

- a Parquet file between its last page and its footer, where no reader looks: `data | MAGIC | digest | footer`, the
  digest being the XXH3-128 of `data | footer`, which is taken at the speed of memory. Seals say that a file was
  damaged, not who did it: nobody is kept from sealing other bytes, by any digest;
- a record (JSON) as its last entry, `"seal"`, the digest being the BLAKE2b-128 of all bytes before that entry.

Earlier versions of gristmill sealed Parquet files with BLAKE2b-128, under a marker of its own; files without a seal
were written by still earlier ones and are taken as they are.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable
from functools import partial
from typing import IO, Any

import xxhash

#: Marker before the digest in a Parquet file.
MAGIC = b"gristmill seal 2"
DIGEST_BYTES = 16
#: Markers of one length, and the digest that each stands for.
_DIGESTS: dict[bytes, Callable[[], Any]] = {
    MAGIC: xxhash.xxh3_128,
    b"gristmill seal 1": partial(hashlib.blake2b, digest_size=DIGEST_BYTES),
}
_BLOCK = len(MAGIC) + DIGEST_BYTES
_PARQUET = b"PAR1"
_TAIL = 4 + len(_PARQUET)  # of a Parquet file: the length of its footer, and its magic bytes
_ENTRY = (
    b',\n  "seal": "'  # no other place of a record looks like this: entries inside others stand further to the right
)
_LAST_ENTRY = re.compile(re.escape(_ENTRY) + rb'([0-9a-f]{32})"\n\}\n')


class Broken(Exception):
    """Bytes that are not those that were sealed; the message says what is wrong with them."""


def digest(content: bytes | memoryview) -> bytes:
    """Return the BLAKE2b-128 digest of some bytes (16 bytes)."""
    return hashlib.blake2b(content, digest_size=DIGEST_BYTES).digest()


def seal_record(value: dict[str, Any]) -> bytes:
    """Return a JSON document with its seal, keys in the order given. `value` must not be empty or have a key `seal`."""
    body = json.dumps(value, indent=2, ensure_ascii=False).removesuffix("\n}").encode()
    return body + f',\n  "seal": "{digest(body).hex()}"\n}}\n'.encode()


def open_record(content: bytes) -> dict[str, Any]:
    """Return the document that was sealed, or that an earlier version wrote. Raises Broken where it is damaged."""
    body, entry, rest = content.rpartition(_ENTRY)
    if entry:
        seal = _LAST_ENTRY.fullmatch(entry + rest)
        if seal is None or digest(body).hex() != seal[1].decode():
            raise Broken("its content is not what was written")
    try:
        value = json.loads(content)
    except ValueError as error:
        raise Broken(f"it is not a whole JSON document ({error})") from None
    if not isinstance(value, dict):
        raise Broken("it is not a JSON object")
    value.pop("seal", None)
    return value


class ParquetSealer:
    """A binary file for a Parquet writer: passes on what is written and puts the seal before the footer.

    Call `hold` when all rows are written and the writer is about to write the footer, and `finish` after that.
    """

    closed = False

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._digest = _DIGESTS[MAGIC]()
        self._held: list[bytes] | None = None
        self._written = 0

    def write(self, content: Any) -> int:
        """Pass bytes on, or keep them after `hold`; return their number."""
        size = memoryview(content).nbytes
        self._written += size
        if self._held is not None:
            self._held.append(bytes(content))
        else:
            self._digest.update(content)
            self._file.write(content)
        return size

    def hold(self) -> None:
        """Keep back the bytes written from now on: they end with the footer."""
        self._held = []

    def finish(self) -> None:
        """Write the seal and the bytes kept back."""
        tail = b"".join(self._held or ())
        footer = tail[_footer_start(tail) :]
        rest = tail[: len(tail) - len(footer)]
        self._digest.update(rest)
        self._digest.update(footer)
        self._file.write(rest + MAGIC + self._digest.digest() + footer)

    def tell(self) -> int:
        """Return the number of bytes written so far."""
        return self._written

    def flush(self) -> None:
        """Flush the file below."""
        self._file.flush()

    def close(self) -> None:
        """Do nothing: the owner of the file closes it."""


def check_parquet(content: memoryview) -> bool:
    """Check a whole Parquet file; return True where it is as it was sealed, False where it has no seal.

    Raises Broken where it is damaged or cut.
    """
    if len(content) < _TAIL + len(_PARQUET) or content[-4:] != _PARQUET:
        raise Broken("it is cut short")
    footer = _footer_start(content)
    if footer < len(_PARQUET):
        raise Broken("it is cut short")
    start = footer - _BLOCK
    marker = bytes(content[start : start + len(MAGIC)]) if start >= 0 else b""
    if marker in _DIGESTS:
        made = _DIGESTS[marker]()
        made.update(content[:start])
        made.update(content[footer:])
        if made.digest() != content[start + len(MAGIC) : footer]:
            raise Broken("its content is not what was written")
        return True
    whole = bytes(content)
    if any(marker in whole for marker in _DIGESTS):  # it was sealed, and the length of its footer has changed
        raise Broken("its content is not what was written")
    return False


def _footer_start(content: bytes | memoryview) -> int:
    """Return the offset of the footer of a Parquet file, by the length at its end; negative if that is wrong."""
    return len(content) - _TAIL - int.from_bytes(content[-_TAIL:-4], "little")
