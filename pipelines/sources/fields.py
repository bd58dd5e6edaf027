"""From the values of a record to the values of a document's columns."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import orjson

from operators.columns import ID, TEXT, URL
from pipelines.sources.records import Fault, lookup
from pipelines.sources.spec import MetadataType, Source
from pipelines.words import did_you_mean

Convert = Callable[[Any], Any]
_MISSING = object()


class DocumentFields:
    """Takes the columns of a source's documents out of records.

    `cells` says that the values are cells of a table, which are all text and are read as the types asked for: an empty
    cell is null in a column that is not text. Otherwise they are JSON values, and a value of another type is a fault.
    """

    def __init__(self, source: Source, *, cells: bool) -> None:
        convert = FROM_CELLS if cells else FROM_JSON
        self._text = source.text
        self._limit = int(source.document_bytes)
        self._id = source.id
        self._optional: list[tuple[str, str, Convert]] = []
        if source.url is not None:
            self._optional.append((URL, source.url, _url))
        self._optional += [(column, field, convert[type_]) for column, field, type_ in source.metadata_types()]
        self.names = [ID, *(column for column, _, _ in self._optional), TEXT]

    def values(self, record: Any) -> list[Any]:
        """The values of `names`, in that order; the text as UTF-8 bytes. Raises Fault where this is no document."""
        if not isinstance(record, dict):
            raise Fault("not_an_object", f"expected a JSON object, found {_kind(record)}")
        values: list[Any] = [self.id(record)]
        for column, field, convert in self._optional:
            value = lookup(record, field)
            try:
                values.append(None if value is None else convert(value))
            except ValueError as error:
                raise Fault("wrong_type", f"the field {field} for column {column} is {error}") from None
        values.append(self._text_of(record))
        return values

    def id(self, record: dict[str, Any]) -> str | None:
        """The record's own id as text; None where it has none. Raises Fault where it is no text and no whole number."""
        if self._id is None:
            return None
        value = lookup(record, self._id)
        if value is None or isinstance(value, str):
            return value or None
        if isinstance(value, int) and not isinstance(value, bool):
            return str(value)
        raise Fault("wrong_type", f"the field {self._id} is {_kind(value)}; an id is a text or a whole number")

    def _text_of(self, record: dict[str, Any]) -> bytes:
        value = lookup(record, self._text, _MISSING)
        if value is _MISSING:
            raise Fault("missing_text", f"there is no field {self._text}{did_you_mean(self._text, record)}")
        if value is None:
            raise Fault("null_text", f"the field {self._text} is null")
        if not isinstance(value, str):
            raise Fault("wrong_type", f"the field {self._text} is {_kind(value)}, not a text")
        return encode_text(value, self._limit)


def encode_text(value: str, limit: int) -> bytes:
    """A text as UTF-8. Raises Fault for lone surrogates, NUL characters and more than `limit` bytes."""
    try:
        text = value.encode()
    except UnicodeEncodeError as error:
        raise Fault(
            "lone_surrogate", f"character {error.start:,} of the text is half of a UTF-16 surrogate pair"
        ) from None
    check_text(text, limit)
    return text


def check_text(text: bytes, limit: int) -> None:
    """Raise Fault where UTF-8 bytes are no text to keep: a NUL character, more than `limit` bytes."""
    if len(text) > limit:
        raise Fault("too_large", f"the text has {len(text):,} bytes, more than document_bytes ({limit:,})")
    if b"\0" in text:
        raise Fault("nul_character", f"the text has a NUL character (U+0000) at byte {text.index(0):,}")


def _kind(value: Any) -> str:
    if isinstance(value, bool):
        return "true or false"
    kinds = {dict: "an object", list: "an array", str: "a text", int: "a number", float: "a number", type(None): "null"}
    return kinds.get(type(value), type(value).__name__)


def _refused(value: Any, wanted: str) -> ValueError:
    return ValueError(f"{_kind(value)} ({str(value)[:40]!r}); {wanted} was asked for")


def _url(value: Any) -> str:
    if not isinstance(value, str):
        raise _refused(value, "a text")
    return value


def json_text(value: Any) -> str:
    """A value as JSON text, keys in the order of the record."""
    return orjson.dumps(value, default=str).decode()


def _string(value: Any) -> str:
    return value if isinstance(value, str) else json_text(value)


def _int(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not -(2**63) <= value < 2**63:
        raise _refused(value, "a whole number of 64 bits")
    return value


def _float(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _refused(value, "a number")
    return float(value)


def _bool(value: Any) -> bool:
    if not isinstance(value, bool):
        raise _refused(value, "true or false")
    return value


FROM_JSON: dict[MetadataType, Convert] = {
    "string": _string,
    "int": _int,
    "float": _float,
    "bool": _bool,
    "json": json_text,
}


def _cell(parse: Callable[[str], Any], wanted: str) -> Convert:
    """A conversion of cells: empty cells become null, what `parse` refuses with ValueError is refused by name."""

    def convert(cell: str) -> Any:
        try:
            return parse(cell) if cell else None
        except ValueError:
            raise _refused(cell, wanted) from None

    return convert


def _int_of(cell: str) -> int:
    return _int(int(cell))


def _float_of(cell: str) -> float | None:
    number = float(cell)
    return None if math.isnan(number) else number


def _bool_of(cell: str) -> bool:
    if cell.lower() not in ("true", "false"):
        raise ValueError(cell)
    return cell.lower() == "true"


def _json_of(cell: str) -> str:
    return json_text(orjson.loads(cell))


FROM_CELLS: dict[MetadataType, Convert] = {
    "string": str,
    "int": _cell(_int_of, "a whole number of 64 bits"),
    "float": _cell(_float_of, "a number"),
    "bool": _cell(_bool_of, "true or false"),
    "json": _cell(_json_of, "JSON"),
}
