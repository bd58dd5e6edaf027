"""From the values of a record to the values of a document's columns."""

from __future__ import annotations

from typing import Any

from gristmill.operators.columns import ID, TEXT, URL
from gristmill.pipelines.config.wording import did_you_mean
from gristmill.pipelines.sources.records import Fault, Utf8, lookup
from gristmill.pipelines.sources.spec import Source
from gristmill.pipelines.sources.values import (
    FROM_CELLS,
    FROM_VALUES,
    Convert,
    as_id,
    as_string,
    as_url,
    id_of_cell,
    is_nan,
    kind_of,
    may_lack_digits,
)

_MISSING = object()
#: Types of values in which orjson may have put floats for whole numbers.
_PARSED_INEXACTLY = frozenset({float, dict, list})


class DigitsLost(Exception):
    """A whole number of this record may have been parsed as a float: parse the record with all digits."""


class DocumentFields:
    """Conversion of records to the columns of a source's documents.

    With `cells` the values are cells of a table, which are all text and are parsed as the types asked for: an empty
    cell is null in a column that is not text. Otherwise they are JSON values, and a value of another type is a fault.
    """

    def __init__(self, source: Source, *, cells: bool) -> None:
        convert = FROM_CELLS if cells else FROM_VALUES
        self._text = source.content
        self._limit = int(source.document_bytes)
        self._id = source.id
        self._as_id: Convert = id_of_cell if cells else as_id
        optional: list[tuple[str, str, Convert]] = []
        if source.url is not None:
            optional.append((URL, source.url, as_url))
        optional += [(column, field, convert[type_]) for column, field, type_ in source.metadata_types()]
        self._optional = [(*column, column[2] in (as_string, as_url)) for column in optional]
        self.names = [ID, *(column for column, _, _ in optional), TEXT]

    def values(self, record: Any, *, exact: bool = False) -> list[Any]:
        """Return the values of `names`, in that order; the text as UTF-8 bytes.

        Raises Fault where this is no document and, unless `exact`, DigitsLost where a number that is wanted may have
        been parsed without all its digits.
        """
        if not isinstance(record, dict):
            remedy = "; `format: json` reads a file that is one array" if isinstance(record, list) else ""
            raise Fault("not_an_object", f"expected a JSON object, found {kind_of(record)}{remedy}")
        values: list[Any] = [self.id(record, exact=exact)]
        for column, field, convert, keeps_texts in self._optional:
            value = record.get(field)
            if value is None and "." in field:
                value = lookup(record, field)
            if value is not None and not (keeps_texts and type(value) is str):
                value = self._converted(value, column, field, convert, exact)
            values.append(value)
        values.append(self._text_of(record))
        return values

    @staticmethod
    def _converted(value: Any, column: str, field: str, convert: Convert, exact: bool) -> Any:
        try:
            converted = convert(value)
        except ValueError as error:
            if not exact and may_lack_digits(value, None):
                raise DigitsLost from None
            raise Fault("wrong_type", f"the field {field} for column {column} is {error}") from None
        if not exact and type(value) in _PARSED_INEXACTLY and may_lack_digits(value, converted):
            raise DigitsLost
        return converted

    def id(self, record: dict[str, Any], *, exact: bool = True) -> str | None:
        """Return the record's own id as text; None where it has none.

        Raises Fault where it is no text and no whole number, and DigitsLost as `values` does.
        """
        if self._id is None:
            return None
        value = record.get(self._id)
        if value is None:
            value = lookup(record, self._id) if "." in self._id else None
            if value is None:
                return None
        if not exact and type(value) is float and may_lack_digits(value, None):
            raise DigitsLost
        try:
            return self._as_id(value)  # type: ignore[no-any-return]
        except ValueError as error:
            raise Fault("wrong_type", f"the field {self._id} is {error}") from None

    def _text_of(self, record: dict[str, Any]) -> bytes:
        value = record.get(self._text)
        if type(value) is Utf8:
            check_text(value.content, self._limit)
            return value.content
        if type(value) is not str:
            value = lookup(record, self._text, _MISSING)
        if not isinstance(value, str):
            if value is _MISSING:
                raise Fault("missing_text", f"there is no field {self._text}{did_you_mean(self._text, record)}")
            if value is None or is_nan(value):
                raise Fault("null_text", f"the field {self._text} is null")
            raise Fault("wrong_type", f"the field {self._text} is {kind_of(value)}, not a text")
        return encode_text(value, self._limit)


def encode_text(value: str, limit: int) -> bytes:
    """Return a text as UTF-8. Raises Fault for lone surrogates, NUL characters and more than `limit` bytes."""
    try:
        text = value.encode()
    except UnicodeEncodeError as error:
        raise Fault(
            "lone_surrogate", f"character {error.start:,} of the text is half of a UTF-16 surrogate pair"
        ) from None
    if len(text) > limit or b"\0" in text:
        check_text(text, limit)
    return text


def check_text(text: bytes, limit: int) -> None:
    """Raise Fault where a text in UTF-8 has a NUL character or more than `limit` bytes."""
    if len(text) > limit:
        raise Fault("too_large", f"the text has {len(text):,} bytes, more than document_bytes ({limit:,})")
    if b"\0" in text:
        raise Fault("nul_character", f"the text has a NUL character (U+0000) at byte {text.index(0):,}")
