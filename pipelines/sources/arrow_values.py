"""Columns of a file that are Arrow arrays: converted whole where that gives the same result, else value by value.

`values` defines the meaning of a value; this module only has the quicker ways for arrays, and the conversion of Arrow's
own types to Python values without loss: dates and times as text (Python has only the years 1 to 9999 and microseconds).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

from gristmill.operators.columns import ID, TYPES, URL
from gristmill.pipelines.sources.records import Fault
from gristmill.pipelines.sources.spec import METADATA_TYPES, MetadataType, Source
from gristmill.pipelines.sources.values import FROM_VALUES, Convert, as_id, as_url

OfArray = Callable[[pa.Array], pa.Array]
#: Values that Python's types cannot hold: texts that are no UTF-8, dates far away, unknown time zones (KeyError).
_NOT_FOR_PYTHON = (ValueError, OverflowError, KeyError)
_YEAR_1, _YEAR_10000 = np.datetime64("0001-01-01"), np.datetime64("10000-01-01")


class Wanted(NamedTuple):
    """A column of the documents, and how it is made of a column of the file."""

    column: str
    field: str
    what: str  #: in words, for error messages
    type: pa.DataType
    convert: Convert  #: one value
    takes: Callable[[pa.DataType], bool]  #: says if a type can be read so
    quick: Callable[[pa.DataType], OfArray | None]  #: a whole array; if it raises ArrowInvalid, one by one

    def read(self, values: pa.Array) -> tuple[pa.Array, dict[int, Fault]]:
        """Return the column of the documents, null at the rows that have a fault, and the faults by row."""
        quick = self.quick(values.type)
        if quick is not None:
            try:
                return quick(values), {}
            except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
                pass
        converted: list[Any] = []
        faults = {}
        for i, value in enumerate(_python_values(values)):
            try:
                if isinstance(value, Exception):
                    raise value
                converted.append(None if value is None else self.convert(value))
            except UnicodeDecodeError:
                faults[i] = Fault("invalid_utf8", f"the value of column {self.column} is not UTF-8")
                converted.append(None)
            except _NOT_FOR_PYTHON as error:
                faults[i] = Fault("wrong_type", f"the field {self.field} for column {self.column} is {error}")
                converted.append(None)
        return pa.array(converted, self.type), faults


def wanted_columns(source: Source) -> Iterator[Wanted]:
    """Yield the columns of a source's documents except the text: id, URL, metadata."""
    if source.id is not None:
        what = "an id (a text or a whole number)"
        yield Wanted(ID, source.id, what, TYPES[ID], as_id, _may_be_id, _quick_id)
    if source.url is not None:
        yield Wanted(URL, source.url, "a text", TYPES[URL], as_url, is_string, lambda type_: _cast_to(TYPES[URL]))
    for column, field, type_ in source.metadata_types():
        what = f"metadata of type {type_}"
        yield Wanted(column, field, what, METADATA_TYPES[type_], FROM_VALUES[type_], _TAKES[type_], _QUICK[type_])


def is_string(type_: pa.DataType) -> bool:
    """Return whether a type is text, or null."""
    return type_ in (pa.string(), pa.large_string(), pa.string_view(), pa.null())


def is_binary(type_: pa.DataType) -> bool:
    """Return whether a type is bytes of any length."""
    return type_ in (pa.binary(), pa.large_binary(), pa.binary_view())


def _is_number(type_: pa.DataType) -> bool:
    return bool(pt.is_integer(type_) or pt.is_floating(type_) or pt.is_decimal(type_) or pt.is_null(type_))


def _is_time(type_: pa.DataType) -> bool:
    return bool(pt.is_temporal(type_) and not pt.is_interval(type_))


def _may_be_id(type_: pa.DataType) -> bool:
    is_uuid = isinstance(type_, pa.BaseExtensionType) and type_.extension_name == "arrow.uuid"
    return is_string(type_) or is_binary(type_) or pt.is_fixed_size_binary(type_) or _is_number(type_) or is_uuid


_TAKES: dict[MetadataType, Callable[[pa.DataType], bool]] = {
    "string": lambda type_: True,
    "int": _is_number,
    "float": _is_number,
    "bool": lambda type_: bool(pt.is_boolean(type_) or pt.is_null(type_)),
    "json": lambda type_: True,
}


def _cast_to(type_: pa.DataType) -> OfArray:
    return lambda values: values.cast(type_)


def _without_nan(values: pa.Array) -> pa.Array:
    return pc.if_else(pc.is_nan(values), pa.scalar(None, values.type), values)


def _quick_id(type_: pa.DataType) -> OfArray | None:
    if is_string(type_) or is_binary(type_):

        def texts(values: pa.Array) -> pa.Array:
            ids = values.cast(TYPES[ID])
            return pc.if_else(pc.equal(pc.binary_length(ids), 0), pa.scalar(None, TYPES[ID]), ids)

        return texts
    if pt.is_floating(type_):
        return lambda values: _without_nan(values).cast(pa.int64()).cast(TYPES[ID])
    return _cast_to(TYPES[ID]) if pt.is_integer(type_) else None


def _quick_string(type_: pa.DataType) -> OfArray | None:
    if _is_time(type_):
        return _texts_of_times
    by_cast = is_string(type_) or is_binary(type_) or pt.is_integer(type_) or pt.is_boolean(type_)
    return _cast_to(pa.string()) if by_cast else None


def _quick_number(to: pa.DataType) -> Callable[[pa.DataType], OfArray]:
    def quick(type_: pa.DataType) -> OfArray:
        if pt.is_floating(type_):
            return lambda values: _without_nan(values).cast(to)
        return _cast_to(to)

    return quick


_QUICK: dict[MetadataType, Callable[[pa.DataType], OfArray | None]] = {
    "string": _quick_string,
    "int": _quick_number(pa.int64()),
    "float": _quick_number(pa.float64()),
    "bool": lambda type_: _cast_to(pa.bool_()),
    "json": lambda type_: None,
}


def _texts_of_times(values: pa.Array) -> pa.Array:
    """Return dates and times as Arrow writes them; outside the years 1 to 9999, where Arrow errs, as NumPy does."""
    texts = values.cast(pa.string())
    of_any_year = pt.is_date(values.type) or (pt.is_timestamp(values.type) and values.type.unit != "ns")
    if not of_any_year:
        return texts
    instants = values.to_numpy(zero_copy_only=False)
    far = values.is_valid().to_numpy(zero_copy_only=False) & ~((instants >= _YEAR_1) & (instants < _YEAR_10000))
    if not far.any():
        return texts
    zone = "Z" if getattr(values.type, "tz", None) else ""
    far_texts = [None if np.isnat(instant) else str(instant).replace("T", " ") + zone for instant in instants[far]]
    return pc.replace_with_mask(texts, pa.array(far), pa.array(far_texts, pa.string()))


def _python_values(values: pa.Array) -> list[Any]:
    """Return the values as Python has them, dates and times as text; an error in place of one it cannot hold."""
    type_ = values.type
    if _is_time(type_):
        try:
            values = _texts_of_times(values)
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
            unknown = ValueError(f"{type_}, a time zone that is not known here")
            return [unknown if value.is_valid else None for value in values]
    elif pt.is_float16(type_):
        values = values.cast(pa.float32())
    elif _holds_time(type_):
        return _nested(values)
    try:
        result: list[Any] = values.to_pylist()
    except _NOT_FOR_PYTHON:
        result = [_python_value(value) for value in values]
    return result


def _python_value(value: pa.Scalar) -> Any:
    try:
        return value.as_py()
    except _NOT_FOR_PYTHON as error:
        return error


def _holds_time(type_: pa.DataType) -> bool:
    """Return whether a type has dates, times or 16-bit floats inside it, at any depth."""
    return any(
        _is_time(inner) or pt.is_float16(inner) or _holds_time(inner)
        for inner in (type_.field(i).type for i in range(type_.num_fields))
    )


def _nested(values: pa.Array) -> list[Any]:
    """Return objects, arrays or maps; each value inside them is as `_python_values` returns it."""
    if pt.is_struct(values.type):
        names = values.type.names
        if len({*names}) < len(names):
            return [_python_value(value) for value in values]
        rows = zip(*map(_python_values, values.flatten()), strict=True)
        objects = [_error_in(row) or dict(zip(names, row, strict=True)) for row in rows]
        return [item if value.is_valid else None for item, value in zip(objects, values, strict=True)]
    inner = [_python_values(value.values) if value.is_valid else None for value in values]
    if pt.is_map(values.type):
        inner = [pairs and [pair if _error_in([pair]) else tuple(pair.values()) for pair in pairs] for pairs in inner]
    return [items and (_error_in(items) or items) for items in inner]


def _error_in(items: Iterable[Any]) -> Exception | None:
    return next((item for item in items if isinstance(item, Exception)), None)
