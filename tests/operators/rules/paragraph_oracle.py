"""What paragraph_dedup should do, in plain Python over whole texts."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence

#: Letters of which texts are made that have every kind of blank line, of case and of width.
ALPHABET = "aB \n\n\n\t\r\x1c\u2028\u00a0É中😀"


def pieces(text: str, by: str) -> list[tuple[str, bool]]:
    """The text in parts, and which of them are paragraphs, or lines; the others are blank."""
    parts: list[tuple[str, bool]] = []
    after_blank = True
    for line in re.findall(r"[^\n]*\n|[^\n]+", text):
        blank = not line.strip()
        if by == "paragraph" and parts and parts[-1][1] and (blank or not after_blank):
            parts[-1] = (parts[-1][0] + line, True)
        else:
            parts.append((line, not blank))
        after_blank = blank
    return parts


def normalized(text: str) -> str:
    """White space runs made one space, lower case where that is one character below U+10000."""
    lowered = (c.lower() if len(c.lower()) == 1 and ord(c) < 0x10000 else c for c in text)
    return " ".join("".join(lowered).split())


def dedup(texts: Sequence[str], by: str, limit: int, min_characters: int, keep: str) -> list[tuple[str | None, int]]:
    """What is left of each text, None where no piece is, and how many pieces went."""
    having = defaultdict(list)
    for d, text in enumerate(texts):
        for key in {normalized(part) for part, is_piece in pieces(text, by) if is_piece}:
            if len(key) >= min_characters:
                having[key].append(d)
    spared = {key: set(found[: limit if keep == "first" else 0]) for key, found in having.items() if len(found) > limit}
    results: list[tuple[str | None, int]] = []
    for d, text in enumerate(texts):
        parts = pieces(text, by)
        stays = [not is_piece or d in spared.get(normalized(part), {d}) for part, is_piece in parts]
        left = [is_piece for (_, is_piece), stay in zip(parts, stays, strict=True) if stay]
        gone = stays.count(False)
        rest = "".join(part for (part, _), stay in zip(parts, stays, strict=True) if stay)
        results.append((None if gone and not any(left) else rest, gone))
    return results
