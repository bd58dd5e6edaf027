"""The meaning of values, the same for all formats: JSON, Parquet and cells of a table give the same columns.

- NaN is null, as every type, and empty as an id; an infinite number is one as `float` and "Infinity" as `string`.
- 2003.0 is 2003 where a whole number is asked for, and 1.0 is the id "1": tools write whole numbers in this way where
  some are missing.
- Whole numbers keep all their digits as `string`, as `json` and as ids, for any number of digits.
- Bytes are text where they are UTF-8, and base64 where they are not.

Every conversion takes a Python value that is not None, returns None for null, and raises ValueError for others.
"""

from __future__ import annotations

import base64
import math
import re
from collections.abc import Callable
from decimal import Decimal, InvalidOperation
from typing import Any
from uuid import UUID

import orjson

from gristmill.pipelines.sources.json_values import exact_json
from gristmill.pipelines.sources.spec import MetadataType

Convert = Callable[[Any], Any]


def kind_of(value: Any) -> str:
    """Return the kind of a value in words, for messages."""
    if isinstance(value, bool):
        return "true or false"
    if isinstance(value, int | float | Decimal):
        return "a number"
    kinds = {dict: "an object", list: "an array", str: "a text", bytes: "bytes", type(None): "null"}
    return kinds.get(type(value), type(value).__name__)


def _refused(value: Any, wanted: str) -> ValueError:
    return ValueError(f"{kind_of(value)} ({str(value)[:40]!r}); {wanted} was asked for")


def is_nan(value: Any) -> bool:
    """Return whether a value is NaN, which stands for a missing number."""
    return isinstance(value, float | Decimal) and math.isnan(value)


def _whole(value: Any) -> int | None:
    """Return a number without a fraction as an int; None for everything else."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if isinstance(value, float):
        return int(value) if value.is_integer() else None
    finite = isinstance(value, Decimal) and value.is_finite()
    return int(value) if finite and value == value.to_integral_value() else None


def _text_of_bytes(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return base64.b64encode(value).decode()


def as_id(value: Any) -> str | None:
    """Return an id as text; None where it is empty."""
    if isinstance(value, str):
        return value or None
    if is_nan(value):
        return None
    if isinstance(value, bytes):
        return _text_of_bytes(value) or None
    if isinstance(value, UUID):
        return str(value)
    if (number := _whole(value)) is None:
        raise ValueError(f"{kind_of(value)}; an id is a text or a whole number")
    return str(number)


def as_url(value: Any) -> str | None:
    """Return a URL unchanged; None for NaN."""
    if is_nan(value):
        return None
    if not isinstance(value, str):
        raise _refused(value, "a text")
    return value


def as_string(value: Any) -> str | None:
    """Return any value as text: texts unchanged, numbers by their digits, nested values as JSON."""
    if isinstance(value, str):
        return value
    if isinstance(value, float | Decimal) and not math.isfinite(value):
        return None if is_nan(value) else "Infinity" if value > 0 else "-Infinity"
    if isinstance(value, Decimal):
        return format(value, "f")
    if isinstance(value, bytes):
        return _text_of_bytes(value)
    return str(value) if isinstance(value, UUID) else _dumped(value)


def as_json(value: Any) -> str | None:
    """Return any value as JSON text, keys in the order of the record; numbers that are not finite are null."""
    if isinstance(value, float | Decimal) and not math.isfinite(value):
        return None
    return _dumped(value)


def as_int(value: Any) -> int | None:
    """Return a whole number of 64 bits; None for NaN."""
    if type(value) is int and -(2**63) <= value < 2**63:
        return value
    if is_nan(value):
        return None
    beyond = isinstance(value, Decimal) and value.is_finite() and value.adjusted() > 19  # int() would write all zeros
    number = None if beyond else _whole(value)
    if number is None or not -(2**63) <= number < 2**63:
        raise _refused(value, "a whole number of 64 bits")
    return number


def as_float(value: Any) -> float | None:
    """Return a number as a float; None for NaN."""
    if type(value) is float:
        return None if math.isnan(value) else value
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal):
        raise _refused(value, "a number")
    try:
        number = float(value)
    except OverflowError:
        raise _refused(value, "a number of 64 bits") from None
    return None if math.isnan(number) else number


def as_bool(value: Any) -> bool:
    """Return a bool unchanged."""
    if not isinstance(value, bool):
        raise _refused(value, "true or false")
    return value


FROM_VALUES: dict[MetadataType, Convert] = {
    "string": as_string,
    "int": as_int,
    "float": as_float,
    "bool": as_bool,
    "json": as_json,
}


def _dumped(value: Any) -> str:
    try:
        return orjson.dumps(value, default=_unusual).decode()
    except TypeError:  # whole numbers of more than 64 bits, or too many levels
        pass
    try:
        return orjson.dumps(_with_digits(value), default=_unusual).decode()
    except (TypeError, RecursionError):
        raise ValueError(f"{kind_of(value)} with more levels than can be kept as JSON") from None


def _with_digits(value: Any) -> Any:
    """Return a value whose whole numbers of any length orjson writes with all their digits."""
    if isinstance(value, dict):
        return {key: _with_digits(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_with_digits(inner) for inner in value]
    large = isinstance(value, int) and not -(2**63) <= value < 2**64
    return orjson.Fragment(str(value)) if large else value


def _unusual(value: Any) -> Any:
    """Return a replacement for a value that orjson cannot write, such as bytes and decimals from Parquet."""
    if isinstance(value, bytes):
        return _text_of_bytes(value)
    if isinstance(value, Decimal):
        return orjson.Fragment(format(value, "f")) if value.is_finite() else None
    return float(value) if hasattr(value, "__float__") else str(value)


#: The form of a number beyond 2**63 in the output of orjson (a text may have it as well).
_EXPONENT = re.compile(r"\de\+?\d")


def may_lack_digits(value: Any, converted: Any) -> bool:
    """Return whether a value that orjson parsed may have lost digits of a whole number: beyond 64 bits it makes floats.

    `converted` is the value as it was converted for a column.
    """
    if type(value) is float:
        return abs(value) >= 2.0**63
    return type(value) in (dict, list) and isinstance(converted, str) and _EXPONENT.search(converted) is not None


def _cell(convert: Convert, parse: Callable[[str], Any], wanted: str) -> Convert:
    """Return a conversion of cells: empty cells become null, others that cannot be parsed raise ValueError."""

    def converted(cell: str) -> Any:
        try:
            return convert(parse(cell)) if cell else None
        except (ValueError, InvalidOperation):
            raise _refused(cell, wanted) from None

    return converted


def _whole_number(cell: str) -> int | Decimal:
    try:
        return int(cell)
    except ValueError:
        return Decimal(cell)  # 2003.0, NaN


def _truth(cell: str) -> bool:
    if cell.lower() not in ("true", "false"):
        raise ValueError(cell)
    return cell.lower() == "true"


def _cell_text(cell: str) -> str | None:
    return None if cell == "NaN" else cell


FROM_CELLS: dict[MetadataType, Convert] = {
    "string": _cell_text,
    "int": _cell(as_int, _whole_number, "a whole number of 64 bits"),
    "float": _cell(as_float, float, "a number"),
    "bool": _cell(as_bool, _truth, "true or false"),
    "json": _cell(as_json, exact_json, "JSON"),
}

_WHOLE_CELL = re.compile(r"-?(?:0|[1-9][0-9]*)\.0")


def id_of_cell(cell: str) -> str | None:
    """Return an id as text; None where the cell is empty or NaN."""
    if _WHOLE_CELL.fullmatch(cell):
        return cell[:-2]
    return None if cell in ("", "NaN") else cell
