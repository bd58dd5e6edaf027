"""Quoting of names and texts from outside: for SQL, for globs, for the terminal.

Ids, texts and names of sources, rules, files, folders and columns can hold anything. Code that passes them to a
language in which they could mean more uses one of these functions; consoles (`progress/console.py`) use `printable`.
"""

from __future__ import annotations

import json
import math
import re
from typing import Any

#: Characters that have a meaning in globs, of fsspec and of DuckDB; in brackets they stand for themselves.
_GLOB = re.compile(r"([*?\[])")
_IN_BRACKETS = re.compile(r"\[([*?\[])\]")
#: Characters that a terminal would act on or show as something else: control characters except the line feed, signs
#: that change the direction of writing, the separators of Unicode, and surrogates, which no encoding takes.
_UNPRINTABLE = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def sql_text(value: str) -> str:
    """Return a value as a string literal of SQL."""
    return "'" + value.replace("'", "''") + "'"


def sql_name(value: str) -> str:
    """Return a name as a quoted identifier of SQL."""
    return '"' + value.replace('"', '""') + '"'


def in_glob(path: str) -> str:
    """Return a path escaped as a glob that matches this path and nothing else."""
    return _GLOB.sub(r"[\1]", path)


def from_glob(part: str) -> str | None:
    """Return the one name that a part of a glob matches; None where it may match several."""
    return None if _GLOB.search(_IN_BRACKETS.sub("", part)) else _IN_BRACKETS.sub(r"\1", part)


def printable(text: str) -> str:
    """Return a text with everything escaped that a terminal would not simply print; line feeds stay."""
    return _UNPRINTABLE.sub(lambda match: match[0].encode("unicode_escape").decode(), text)


def printable_json(value: Any) -> str:
    """Return a value as JSON, indented, with everything escaped that a terminal would act on.

    Bytes are hexadecimal. NaN and infinite numbers, which JSON does not have, are null.
    """

    def plain(other: Any) -> str:
        return other.hex() if isinstance(other, bytes) else str(other)

    try:
        text = json.dumps(value, indent=2, ensure_ascii=False, default=plain, allow_nan=False)
    except ValueError:
        text = json.dumps(_finite(value), indent=2, ensure_ascii=False, default=plain)
    return _UNPRINTABLE.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


def _finite(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    return [_finite(item) for item in value] if isinstance(value, list | tuple) else value


def in_one_line(text: str) -> str:
    """Return a text with everything escaped that a terminal would not simply print, line feeds included."""
    return printable(text).replace("\n", "\\n")
