"""One spelling for one text: line ends, control characters, mojibake, Normalization Form C."""

from __future__ import annotations

import unicodedata

import numpy as np
import pyarrow as pa

from gristmill.operators.arrays import replaced, text_array
from gristmill.operators.base import Files, Transform, TransformFunction
from gristmill.operators.kernels.buffers import text_buffers
from gristmill.operators.kernels.cleaning import UNCLEAN, clean_texts, inspect_texts
from gristmill.operators.transforms import mojibake


class NormalizeUnicode(Transform):
    """Bring texts into one form of Unicode.

    - CR LF, CR, vertical tab, form feed, U+2028 and U+2029 become a line feed;
    - other control characters (Cc) but tab and line feed go;
    - mojibake is undone, line by line, by `ftfy.fix_encoding`, and by nothing else of ftfy: "PtolemaÃ¯s" becomes
      "Ptolemaïs", U+0080 to U+009F become the characters of Windows-1252 that they were meant to be;
    - the result is in Normalization Form C.

    Applying it twice changes nothing more. A text that is not valid UTF-8 keeps its spelling, line ends and control
    characters apart. A batch in which no text changes is handed back as it is, without a copy.
    """

    def kernels(self) -> tuple[str, ...]:
        """Return the group of kernels that it calls."""
        return ("cleaning",)

    def open(self, files: Files) -> TransformFunction:
        """Build the tables of clues; return `normalize`."""
        mojibake.clues()
        return normalize


def normalize(texts: pa.LargeStringArray) -> pa.LargeStringArray:
    """Return the texts (n) in normal form (n); null stays null.

    Repaired texts are normalised again until nothing changes: a repair can bring control characters to light, or put a
    letter and its accent side by side.
    """
    data, offsets = text_buffers(texts)
    clues = inspect_texts(data, offsets, *mojibake.clues())
    if not clues.any():
        return texts
    unclean = (clues & UNCLEAN) != 0
    if unclean.any():
        return normalize(text_array(texts, *clean_texts(data, offsets, unclean)))
    suspects = np.flatnonzero(clues)
    before = texts.take(pa.array(suspects)).cast(pa.large_binary()).to_pylist()
    after = [_repair(text, suspected) for text, suspected in zip(before, clues[suspects], strict=True)]
    changed = [k for k in range(len(suspects)) if after[k] != before[k]]
    if not changed:
        return texts
    repaired = pa.array([after[k] for k in changed], pa.large_binary()).cast(pa.large_string())
    return replaced(texts, suspects[changed].tolist(), normalize(repaired))


def _repair(text: bytes, clues: np.uint64) -> bytes:
    try:
        characters = text.decode()
    except UnicodeDecodeError:
        return text
    if clues & mojibake.MOJIBAKE:
        characters = mojibake.repair(characters)
    if not unicodedata.is_normalized("NFC", characters):
        characters = unicodedata.normalize("NFC", characters)
    return characters.encode()
