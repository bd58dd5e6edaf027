"""Texts that may hold mojibake, found by pairs of characters.

ftfy repairs a text only if its regular expression BADNESS_RE (ftfy 6.3, `ftfy/badness.py`) finds something in it, at
some 4 MB/s. Every alternative of that expression needs a certain pair of neighbours; a text without any of these pairs
is one that ftfy leaves alone. The pairs are listed here in the order of the expression, longer alternatives by their
most telling pair.
"""

from __future__ import annotations

import functools
import re
import unicodedata
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from gristmill.operators.kernels.buffers import text_buffers
from gristmill.operators.kernels.characters import CLASSIFIED, CODE_POINTS
from gristmill.operators.kernels.cleaning import UNCLEAN, inspect_texts

#: Bit of an inspection: a character that Normalization Form C may change, alone or with the one before.
UNCOMPOSED = np.uint64(2)
#: Bits of an inspection, any of which says that ftfy should look.
MOJIBAKE = ~(UNCLEAN | UNCOMPOSED)
_FIRST_PAIR_BIT = 2  # the bits above tell which of PAIRS occurs

_C1_CONTROLS = re.compile("[\x80-\x9f]+")
_ANY = "\x00-\U0010ffff"
_NO_ASCII_LETTER = "\x00-@[-`{{-\U0010ffff"

#: (first, second): characters and ranges of them; {names} are ftfy's categories.
PAIRS = (
    (_ANY, "{c1}"),
    ("{bad}{lower_accented}{upper_accented}{box}{start_punctuation}{end_punctuation}{currency}{numeric}{law}", "{bad}"),
    ("{lower_common}{upper_common}", "{bad}"),
    ("{bad}", "{lower_accented}{upper_accented}{box}{start_punctuation}{end_punctuation}{currency}{numeric}{law}"),
    ("{lower_accented}{lower_common}{box}{end_punctuation}{currency}{numeric}", "{upper_accented}"),
    ("{box}{end_punctuation}{currency}{numeric}", "{lower_accented}"),
    ("{lower_accented}{upper_accented}{box}{end_punctuation}", "{currency}"),
    ("{upper_accented}{box}", "{numeric}{law}"),
    ("{start_punctuation}", "{numeric}"),
    ("{end_punctuation}", "{start_punctuation}"),
    ("{currency}{numeric}{box}{upper_accented}", "{start_punctuation}"),
    ("{box}", "{kaomoji}{end_punctuation}"),
    ("{lower_accented}{upper_accented}{currency}{numeric}{start_punctuation}{end_punctuation}{law}", "{box}"),
    ("{lower_accented}{upper_accented}", "{start_punctuation}{end_punctuation}"),
    ("Œœ", _NO_ASCII_LETTER),
    ("{upper_accented}", "°"),
    ("ÂÃÎÐ", "€œŠš¢£Ÿž\xa0\xad®©°·»{start_punctuation}{end_punctuation}–—´"),
    ("×", "²³"),
    ("ØÙ", "{common}{currency}{bad}{numeric}{start_punctuation}ŸŠ®°µ»"),
    ("à", "²µ¹¼½¾"),
    ("√", "±∂†≠®™´≤≥¥µø"),
    ("≈", "°¢"),
    ("‚", "Äâó"),
    ("в", "Ђ"),
    ("ВГРС", "{c1}{bad}{start_punctuation}{end_punctuation}{currency}°µ"),
    ("Г", "ў"),
    ("Ã", "\xa0¡"),
    ("ÃÂ", " {start_punctuation}{end_punctuation}"),
    ("β", "€"),
    ("ΒΓΞΟ", "{c1}{bad}{start_punctuation}{end_punctuation}{currency}°"),
    ("ā", "€"),
)


class Clues(NamedTuple):
    """Tables for `inspect_texts`: the class of every code point, and the pairs that a class may begin and end."""

    class_of: NDArray[np.uint8]
    as_first: NDArray[np.uint64]
    as_second: NDArray[np.uint64]


@functools.cache
def clues() -> Clues:
    """Return tables of pairs that may be mojibake and of characters that may not be in NFC (bit UNCOMPOSED)."""
    as_first, as_second = (np.zeros(CODE_POINTS, np.uint64) for _ in range(2))
    as_first[:] = UNCOMPOSED
    as_second[_uncomposed()] = UNCOMPOSED
    for k, pair in enumerate(PAIRS):
        for characters, table in zip(pair, (as_first, as_second), strict=True):
            for start, stop in _spans(characters):
                table[start:stop] |= np.uint64(1 << k + _FIRST_PAIR_BIT)
    # Few combinations of bits occur: a class for each keeps the tables of the inner loop small.
    both = np.stack([as_first, as_second])
    changes = np.flatnonzero((both[:, 1:] != both[:, :-1]).any(axis=0)) + 1
    starts = np.concatenate([[0], changes])
    kinds, kind_of_run = np.unique(both[:, starts], axis=1, return_inverse=True)
    runs = np.diff(np.append(starts, CODE_POINTS))
    tables = Clues(np.repeat(kind_of_run.ravel().astype(np.uint8), runs), kinds[0].copy(), kinds[1].copy())
    for shared in tables:
        shared.flags.writeable = False
    return tables


def _spans(characters: str) -> list[tuple[int, int]]:
    """Return half-open ranges of the code points that one side of a pair names."""
    from ftfy.badness import MOJIBAKE_CATEGORIES

    ranges = re.findall(r"(.)(?:-(.))?", characters.format(**MOJIBAKE_CATEGORIES), re.DOTALL)
    return [(ord(a), ord(b or a) + 1) for a, b in ranges]


def _uncomposed() -> list[int]:
    """Return the code points that a text in Normalization Form C may lack or place otherwise.

    A text without any of them is in that form: the quick check of Unicode Standard Annex 15, section 9, answers yes to
    each of its characters, and none has a combining class.
    """
    code_points = {*range(0x1161, 0x1176), *range(0x11A8, 0x11C3)}  # vowels and final consonants join Hangul syllables
    for code in range(CLASSIFIED):
        character = chr(code)
        parts = unicodedata.decomposition(character)
        if unicodedata.combining(character):
            code_points.add(code)
        if parts and not parts.startswith("<"):
            code_points.update(int(part, 16) for part in parts.split()[1:])
            if unicodedata.normalize("NFC", character) != character:
                code_points.add(code)
    return sorted(code_points)


def repair(text: str) -> str:
    """Undo mojibake line by line, as `ftfy.fix_text` does: one line's fault does not decide for its neighbours.

    ftfy is slow and looks only at lines with a clue. Control characters of U+0080 to U+009F that remain stand for no
    character in any encoding and go.
    """
    import ftfy

    lines = text.split("\n")
    beyond_ascii = [i for i, line in enumerate(lines) if not line.isascii()]
    looked_at = pa.array([lines[i] for i in beyond_ascii], pa.large_string())
    flags = inspect_texts(*text_buffers(looked_at), *clues()) & MOJIBAKE
    for k in np.flatnonzero(flags):
        lines[beyond_ascii[k]] = ftfy.fix_encoding(lines[beyond_ascii[k]])
    return _C1_CONTROLS.sub("", "\n".join(lines))
