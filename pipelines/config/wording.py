"""Names and numbers in sentences: the nearest known word, shortened lists of names, plurals."""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Iterable

#: Largest family of names (`gopher_words`, `gopher_symbol_ratio`, ...) that is listed one by one.
FAMILY = 8
#: Length in characters up to which a value is shown in full.
LONGEST_VALUE = 200


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return `; did you mean symbol_ratio?` where a known word is near, otherwise the list of known words."""
    known = sorted(known)
    near = difflib.get_close_matches(word, known, n=1, cutoff=0.6)
    if near:
        return f"; did you mean {near[0]}?"
    return f"; there is {', '.join(in_short(known))}" if known else ""


def in_short(names: Iterable[str]) -> list[str]:
    """Return the names in their order, those of a large family as one: `id, gopher_* (22), tokens`."""
    names = list(names)
    sizes = Counter(map(_family, names))
    shown = (n if sizes[_family(n)] <= FAMILY else f"{_family(n)}_* ({sizes[_family(n)]})" for n in names)
    return list(dict.fromkeys(shown))


def _family(name: str) -> str:
    return name.split("_")[0]


def plural(n: int, noun: str) -> str:
    """Return a number with its noun: `1 document`, `2,000 documents`, `3 copies`."""
    if n == 1:
        return f"1 {noun}"
    return f"{n:,} {noun[:-1] + 'ies' if noun.endswith('y') else noun + 's'}"


def in_short_form(value: object) -> str:
    """Return the repr of a value, the middle of a long one left out."""
    text = repr(value)
    return text if len(text) <= LONGEST_VALUE else f"{text[:60]} ... {text[-20:]} ({len(text):,} characters)"


def in_units(n: int) -> str:
    """Return a number in short: `512`, `1.2 k`, `34.5 M`, `6.7 G`."""
    for size, unit in ((10**9, "G"), (10**6, "M"), (10**3, "k")):
        if n >= 0.99995 * size:  # what would be rounded up to it
            return f"{n / size:.1f} {unit}"
    return str(n)


def excerpt(text: str, characters: int) -> str:
    """Return the beginning of a text in one line."""
    return " ".join(text[: 2 * characters].split())[:characters]
