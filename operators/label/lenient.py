r"""JSON as its sender meant it, for text that a strict parser refuses.

Programs and models write line feeds within strings, commas before a closing bracket, single quotes, True and None,
NaN, keys without quotes, `\x41` and `\U0001F600`. Each of these has one meaning. JSON that is cut short, has
a key twice or lacks a comma is not read: that would be guessing.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

#: A value inside more values than this is refused, as the standard library does at its own limit.
DEEPEST = 200

_BLANK = re.compile(r"[\s\u00a0\u200b\ufeff]*")
_NUMBER = re.compile(r"-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][-+]?\d+)?(?![\w.])", re.ASCII)
_WORD = re.compile(r"-?[A-Za-z_$][\w$]*", re.ASCII)
#: The part of a string up to its end or the next escape, by the quote that ends it.
_PLAIN = {quote: re.compile(rf"[^{quote}\\]*") for quote in "\"'"}
_ESCAPE = re.compile(r"\\(?:u([0-9a-fA-F]{4})|U(00[0-9a-fA-F]{6})|x([0-9a-fA-F]{2})|(.))", re.DOTALL)
_ESCAPED = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "/": "/", "\\": "\\", '"': '"', "'": "'", "\n": ""}
_WORDS: dict[str, Any] = {"true": True, "false": False, "null": None, "True": True, "False": False, "None": None}
_NOT_NUMBERS = ("NaN", "Infinity", "-Infinity", "nan", "inf", "-inf")
_LAST = 0x10FFFF

#: From the name of NaN or of an infinity to its value; may raise ValueError.
Constant = Callable[[str], Any]


def read_value(text: str, at: int, constant: Constant) -> tuple[Any, int]:
    """Return the value at a place of the text, and where it ends. Raises ValueError where none can be read."""
    return _Reader(text, constant).value(_after_blanks(text, at), 0)


def _after_blanks(text: str, at: int) -> int:
    match = _BLANK.match(text, at)
    return at if match is None else match.end()


class _Reader:
    def __init__(self, text: str, constant: Constant) -> None:
        self._text, self._constant = text, constant

    def value(self, at: int, depth: int) -> tuple[Any, int]:
        if depth > DEEPEST:
            raise ValueError("too many values within one another")
        first = self._text[at : at + 1]
        if first == "{":
            return self._object(at + 1, depth + 1)
        if first == "[":
            return self._list(at + 1, depth + 1)
        if first in _PLAIN:
            return self._string(at)
        if number := _NUMBER.match(self._text, at):
            literal = number[0]
            return (int(literal) if literal.lstrip("-").isdigit() else self._float(literal)), number.end()
        if word := _WORD.match(self._text, at):
            if word[0] in _WORDS:
                return _WORDS[word[0]], word.end()
            if word[0] in _NOT_NUMBERS:
                return self._constant(word[0]), word.end()
        raise ValueError(f"no value at character {at}")

    def _float(self, told: str) -> Any:
        value = float(told)
        return self._constant(told) if value in (float("inf"), float("-inf")) else value

    def _list(self, at: int, depth: int) -> tuple[list[Any], int]:
        items: list[Any] = []
        at = _after_blanks(self._text, at)
        while self._text[at : at + 1] != "]":
            value, at = self.value(at, depth)
            items.append(value)
            at = self._after_comma(at, "]")
        return items, at + 1

    def _object(self, at: int, depth: int) -> tuple[dict[str, Any], int]:
        members: dict[str, Any] = {}
        at = _after_blanks(self._text, at)
        while self._text[at : at + 1] != "}":
            key, at = self._key(at)
            at = _after_blanks(self._text, at)
            if self._text[at : at + 1] != ":":
                raise ValueError(f"no colon at character {at}")
            value, at = self.value(_after_blanks(self._text, at + 1), depth)
            if key in members:
                raise ValueError("an object with the same key twice")
            members[key] = value
            at = self._after_comma(at, "}")
        return members, at + 1

    def _key(self, at: int) -> tuple[str, int]:
        if self._text[at : at + 1] in _PLAIN:
            return self._string(at)
        if word := _WORD.match(self._text, at):
            return word[0], word.end()
        raise ValueError(f"no key at character {at}")

    def _after_comma(self, at: int, end: str) -> int:
        """Return the place of the next value, or of the end; one comma may stand before either."""
        at = _after_blanks(self._text, at)
        if self._text[at : at + 1] == ",":
            return _after_blanks(self._text, at + 1)
        if self._text[at : at + 1] != end:
            raise ValueError(f"neither a comma nor {end} at character {at}")
        return at

    def _string(self, at: int) -> tuple[str, int]:
        quote = self._text[at]
        pieces, at = [], at + 1
        while True:
            plain = _PLAIN[quote].match(self._text, at)
            assert plain is not None  # the pattern matches nothing as well
            pieces.append(plain[0])
            at = plain.end()
            if self._text[at : at + 1] == quote:
                return _joined(pieces), at + 1
            escape = _ESCAPE.match(self._text, at)
            if escape is None:
                raise ValueError("a string without its end")
            pieces.append(_escaped(escape))
            at = escape.end()


def _escaped(escape: re.Match[str]) -> str:
    r"""Return what an escape stands for; one that means nothing, as in `\alpha`, stays as it is."""
    number = escape[1] or escape[2] or escape[3]
    if number is None:
        return _ESCAPED.get(escape[4], escape[0])
    return chr(int(number, 16)) if int(number, 16) <= _LAST else escape[0]


def _joined(pieces: list[str]) -> str:
    """Return one text, in which the halves of a surrogate pair are one character."""
    text = "".join(pieces)
    return text if text.isascii() else text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "surrogatepass")
