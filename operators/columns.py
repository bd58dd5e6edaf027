"""Column names and types that more than one part uses, once."""

import pyarrow as pa

ROW = "row"  #: position of the record in its shard, counting records that were rejected
ADDRESS = "address"  #: shard ordinal << 32 | row: valid for ever in one store
ID = "id"
TEXT = "text"
URL = "url"
SOURCE = "source"
CONTENT_ID = "content_id"  #: 128-bit hash of the text as read, little-endian bytes
BYTES = "bytes"  #: length of the text in UTF-8 bytes, after the transforms

TYPES: dict[str, pa.DataType] = {
    ROW: pa.uint32(),
    ADDRESS: pa.uint64(),
    ID: pa.string(),
    TEXT: pa.large_string(),
    URL: pa.string(),
    SOURCE: pa.string(),
    CONTENT_ID: pa.binary(16),
    BYTES: pa.uint64(),
}

ROW_BITS = 32


def address(ordinal: int, row: int) -> int:
    """The address of a document: 32 bits of shard ordinal, 32 bits of row."""
    return ordinal << ROW_BITS | row
