"""Names and types of the columns that more than one part uses."""

import pyarrow as pa

ROW = "row"  #: position of the record in its shard, counting records that were rejected
ADDRESS = "address"  #: shard ordinal << 32 | row: valid permanently in one store
ID = "id"
TEXT = "text"
URL = "url"
SOURCE = "source"
CONTENT_ID = "content_id"  #: 128-bit hash of the text as read, little-endian bytes
TEXT_ID = "text_id"  #: 128-bit hash of the text after the transforms, where something asks for it
BYTES = "bytes"  #: length of the text in UTF-8 bytes, after the transforms

TYPES: dict[str, pa.DataType] = {
    ROW: pa.uint32(),
    ADDRESS: pa.uint64(),
    ID: pa.string(),
    TEXT: pa.large_string(),
    URL: pa.string(),
    SOURCE: pa.string(),
    CONTENT_ID: pa.binary(16),
    TEXT_ID: pa.binary(16),
    BYTES: pa.uint64(),
}

ROW_BITS = 32


def address(ordinal: int, row: int) -> int:
    """Return the address of a document: 32 bits of shard ordinal, 32 bits of row."""
    return ordinal << ROW_BITS | row


def is_signature(type: pa.DataType) -> bool:
    """Return whether values of a type are not for people: bytes longer than a hash, lists of unsigned numbers.

    The first are signatures, the second hashes, lengths and positions of paragraphs. Such columns are in no view of a
    store, and in a dataset only where the recipe names them.
    """
    if pa.types.is_list(type):
        return bool(pa.types.is_unsigned_integer(type.value_type))
    return bool(pa.types.is_fixed_size_binary(type)) and type.byte_width > TYPES[CONTENT_ID].byte_width
