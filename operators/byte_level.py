"""Byte-level BPE tokenizers as tables for the kernels: what they do of a tokenizer.json exactly as the library does."""

from __future__ import annotations

import functools
import re
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import orjson
from numpy.typing import NDArray

from gristmill.operators.kernels.added_tokens import Added, added_tokens
from gristmill.operators.kernels.byte_pairs import Cutting
from gristmill.operators.kernels.characters import CLASSIFIED, CODE_POINTS
from gristmill.operators.kernels.merging import (
    ID_BITS,
    NONE,
    RANK_BITS,
    Merges,
    byte_ranks,
    merge_table,
    word_table,
)
from gristmill.operators.kernels.pretokens import LETTER, NUMBER, SPACE, Pattern
from gristmill.operators.kernels.unicode_forms import composition_classes

_CL100K = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|"
    r"\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
#: Expressions that the kernels know: whether like GPT-2's, and how many digits are a piece at most.
PATTERNS = {
    _GPT2: (True, 0),
    _CL100K: (False, 3),
    _CL100K.replace(r"\p{N}{1,3}", r"\p{N}"): (False, 1),
}


class ByteLevel(NamedTuple):
    """A byte-level BPE tokenizer, without what only the library does."""

    cutting: Cutting
    merges: Merges
    classes: NDArray[np.uint8] | None  #: where it composes characters (NFC): `composition_classes()`
    in_raw_text: list[str]  #: the added tokens that are looked for before that


def read_byte_level(path: Path, library: Any) -> ByteLevel | None:
    """Return the tables of the tokenizer.json that `library` was read from; None where it asks for something else."""
    try:
        content = orjson.loads(path.read_bytes())
    except orjson.JSONDecodeError:
        return None
    cut, model, normalizer = _cut(content.get("pre_tokenizer")), content["model"], content.get("normalizer")
    if cut is None or normalizer not in (None, {"type": "NFC"}):
        return None
    merges, added = _merges(model), _added(library)
    if merges is None or added is None:
        return None
    (like_gpt2, digits), blank_before = cut
    cutting = Cutting(*added, Pattern(character_classes(), like_gpt2, digits), blank_before)
    raw = [token.content for token in library.get_added_tokens_decoder().values() if not token.normalized]
    return ByteLevel(cutting, merges, None if normalizer is None else composition_classes(), raw)


def _cut(pre_tokenizer: Any) -> tuple[tuple[bool, int], bool] | None:
    """Return how texts are cut, as PATTERNS has it, and whether they are read as if a blank came before."""
    if not isinstance(pre_tokenizer, dict):
        return None
    if pre_tokenizer["type"] == "ByteLevel":
        uses_expression = pre_tokenizer.get("use_regex", True)
        return (PATTERNS[_GPT2], pre_tokenizer["add_prefix_space"]) if uses_expression else None
    match pre_tokenizer:
        case {
            "type": "Sequence",
            "pretokenizers": [
                {"type": "Split", "pattern": {"Regex": expression}, "behavior": "Isolated", "invert": False},
                {"type": "ByteLevel", "add_prefix_space": False, "use_regex": False},
            ],
        } if expression in PATTERNS:
            return PATTERNS[expression], False
    return None


def _merges(model: dict[str, Any]) -> Merges | None:
    """Return the tables of a model of the type BPE, None where it does more than merge bytes by rank."""
    if model.get("type") != "BPE" or any(
        model.get(option) for option in ("dropout", "continuing_subword_prefix", "end_of_word_suffix")
    ):
        return None
    vocabulary = model["vocab"]
    pairs = [pair.split(" ") if isinstance(pair, str) else pair for pair in model["merges"]]
    spelled = byte_alphabet()
    of_bytes = np.array([vocabulary.get(character, NONE) for character in spelled], np.uint32)
    ids = np.array(list(vocabulary.values()), np.uint32)
    lefts, rights, merged = (
        np.array([vocabulary[spelling] for spelling in spellings], np.uint32)
        for spellings in ([a for a, _ in pairs], [b for _, b in pairs], [a + b for a, b in pairs])
    )
    replaced = (of_bytes == NONE).any() and (model.get("unk_token") is not None or model.get("byte_fallback"))
    # equal ids or pairs: the library's result depends on more than the ranks
    unclear = len(np.unique(ids)) < len(ids) or len({*map(tuple, pairs)}) < len(pairs)
    if replaced or unclear or ids.max(initial=0) >> ID_BITS or len(pairs) >> (RANK_BITS - 1):
        return None
    ranks = merge_table(lefts, rights)
    whole = _whole_words(vocabulary if model.get("ignore_merges") else {})
    return Merges(of_bytes, byte_ranks(of_bytes, ranks), ranks, merged, *whole)


def _whole_words(vocabulary: dict[str, int]) -> tuple[NDArray[Any], ...]:
    """Return the last tables of Merges: words that are tokens, though merges might not lead to them."""
    spelled = byte_alphabet()
    is_spelled = re.compile(f"[{re.escape(spelled)}]+").fullmatch
    words = [word for word in vocabulary if is_spelled(word)]
    spellings = "".join(words).translate({ord(c): byte for byte, c in enumerate(spelled)}).encode("latin-1")
    starts = np.cumsum([0, *map(len, words)], dtype=np.int64)
    content = np.frombuffer(spellings + b" ", np.uint8).copy()
    ids = np.array([vocabulary[word] for word in words], np.uint32)
    return word_table(content, starts) if words else np.zeros(0, np.uint32), starts, content, ids


def _added(library: Any) -> tuple[Added, Added] | None:
    """Return the added tokens: those that are looked for in the text as it is, and those in normalized text."""
    lists: tuple[list[tuple[bytes, int, bool]], ...] = [], []
    for token, added in library.get_added_tokens_decoder().items():
        spelling = added.content
        if added.normalized and library.normalizer is not None:
            spelling = library.normalizer.normalize_str(spelling)
        if spelling:
            conditions = added.single_word or added.lstrip or added.rstrip
            lists[added.normalized].append((spelling.encode(), token, conditions))
    if any(len({spelling for spelling, _, _ in found}) < len(found) for found in lists):
        return None
    first, second = map(added_tokens, lists)
    return first, second


@functools.cache
def byte_alphabet() -> str:
    """Return the characters that stand for the bytes 0 to 255 in the vocabularies of byte-level tokenizers."""
    plain = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = iter(range(0x100, 0x200))
    return "".join(chr(byte if byte in plain else next(others)) for byte in range(256))


@functools.cache
def character_classes() -> NDArray[np.uint8]:
    """Return LETTER, NUMBER, SPACE or 0 of each code point, as the library's regular expressions class them.

    The library is asked, once per process: its tables of characters are of another version of Unicode than Python's.
    """
    from tokenizers import Regex, normalizers

    classes = np.zeros(CODE_POINTS, np.uint8)
    every = "".join(map(chr, (*range(0xD800), *range(0xE000, CLASSIFIED))))
    for kind, others in ((LETTER, r"\P{L}+"), (NUMBER, r"\P{N}+"), (SPACE, r"\S+")):
        members = normalizers.Replace(Regex(others), "").normalize_str(every)
        classes[np.frombuffer(members.encode("utf-32-le"), np.uint32)] = kind
    classes.flags.writeable = False
    return classes
