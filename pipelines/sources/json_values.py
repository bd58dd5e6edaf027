"""JSON beyond orjson: numbers with all their digits, and repeated keys.

orjson makes floats of whole numbers beyond 64 bits and takes the last of several values of one key, both silently. To
keep its speed, only records that may have such values are searched, and only those are parsed again, with Python's
parser.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from typing import Any

import orjson

from gristmill.pipelines.sources.records import Fault


def exact_json(text: str | bytes, *, repeated_keys: bool = False) -> Any:
    """Return the value of a JSON text: whole numbers of any length, NaN and the infinities, raw control characters.

    With `repeated_keys`, objects that have a key twice are `RepeatedKey`. Raises ValueError where the text is not JSON
    and Fault where its value cannot be kept: lone surrogates, too many levels.
    """
    try:
        text = text if isinstance(text, str) else text.decode()
        value = json.loads(text, strict=False, object_pairs_hook=object_of if repeated_keys else None)
    except RecursionError:
        raise Fault("malformed", "this has more levels of JSON than can be read") from None
    check_surrogates(value)
    return value


def check_surrogates(value: Any) -> None:
    """Raise Fault where a text in a JSON value holds a lone surrogate."""
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise Fault("lone_surrogate", "a text holds half of a UTF-16 surrogate pair, which no UTF-8 can hold") from None
    except RecursionError:
        raise Fault("malformed", "this has more levels of JSON than can be read") from None


class RepeatedKey(dict[str, Any]):
    """An object with keys that occur more than once; the last value counts."""

    def __init__(self, pairs: list[tuple[str, Any]]) -> None:
        super().__init__(pairs)
        self.keys_repeated = {key for key, n in Counter(key for key, _ in pairs).items() if n > 1}


def object_of(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return an object of the pairs, as `object_pairs_hook` of Python's parser."""
    value = dict(pairs)
    return value if len(value) == len(pairs) else RepeatedKey(pairs)


class RepeatedKeys:
    """A check of records for fields that are used and occur twice; the first of `fields` is that of the text.

    The text is most of a line and holds no key, so only the bytes before and after it are searched.
    """

    def __init__(self, fields: Iterable[str]) -> None:
        self._fields = list(fields)
        self._text = self._fields[0] if self._fields else ""
        self._text_key = orjson.dumps(self._text) + b":"
        self._keys = [orjson.dumps(name) for name in dict.fromkeys(name for f in self._fields for name in f.split("."))]
        self._keys += [key for key in map(orjson.dumps, self._fields) if key not in self._keys]

    def check(self, line: bytes, value: Any) -> None:
        """Raise Fault where a field that is used occurs more than once in a line; `value` is orjson's result for it."""
        if type(value) is dict:
            text = value.get(self._text)
            size = len(text) if type(text) is str else 0  # in characters: in the line it takes at least as many bytes
            at = line.rfind(self._text_key, 0, len(line) - size)
            begin = at + len(self._text_key)
            only = at >= 0 and line.find(self._text_key) == at  # else it may belong to an object inside this one
            around = line[:begin] + line[begin + size :] if only else line
            # If there are as many quotes before colons as keys, of this object and those in it, no key occurs twice.
            keys = around.count(b'":')
            if keys != len(value) and keys != len(value) + sum(len(v) for v in value.values() if type(v) is dict):
                self._search(around, line, value)

    def _search(self, around: bytes, line: bytes, value: dict[str, Any]) -> None:
        keys = [key for key in self._keys if around.count(key) > 1]
        if keys and _more_often(keys, line, value):
            self.judge(exact_json(line, repeated_keys=True))

    def are_in(self, array: bytes, elements: list[Any]) -> bool:
        """Return whether a field that is used may occur twice in an element of an array that orjson parsed."""
        suspects = [key for key in self._keys if array.count(key) > len(elements)]
        return bool(suspects) and _more_often(suspects, array, elements)

    def judge(self, value: Any) -> None:
        """Raise Fault where a field that is used occurs more than once; `value` was parsed with `repeated_keys`."""
        for field in self._fields:
            inner = value
            for name in [field] if isinstance(value, dict) and field in value else field.split("."):
                if isinstance(inner, RepeatedKey) and name in inner.keys_repeated:
                    raise Fault("malformed", f"the field {field} is there more than once")
                inner = inner.get(name) if isinstance(inner, dict) else None


def _more_often(keys: list[bytes], text: bytes, value: Any) -> bool:
    """Return whether one of the keys occurs more often in a JSON text than in the value parsed from it."""
    try:
        value_text = orjson.dumps(value)
    except TypeError:  # more levels than orjson writes
        return True
    return any(text.count(key) > value_text.count(key) for key in keys)
