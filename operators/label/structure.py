"""Texts that tokenizers and chat templates take for structure, and how a document is kept from passing for them."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable
from functools import lru_cache
from typing import Any

#: Tokens of the chat templates in use that are not written between bars, for where the tokenizer is not known.
_IN_ANGLES = "/s bos eos pad unk mask think /think tool_call /tool_call tool_response /tool_response sop"
_IN_SQUARES = (
    "INST /INST THINK /THINK BOS EOS SYSTEM_PROMPT /SYSTEM_PROMPT AVAILABLE_TOOLS /AVAILABLE_TOOLS TOOL_CALLS "
    "TOOL_RESULTS /TOOL_RESULTS TOOL_CONTENT /TOOL_CONTENT ARGS gMASK"
)
_TEMPLATE_TOKENS = frozenset(
    ["<s>", "<<SYS>>", "<</SYS>>", "<start_of_turn>", "<end_of_turn>"]
    + [f"<{name}>" for name in _IN_ANGLES.split()]
    + [f"[{name}]" for name in _IN_SQUARES.split()]
)
#: <|im_end|>, <|turn>, <turn|>: what follows the first character.
_BARRED = r"\|[^<>|]{1,64}+\|?>|[^<>|\s]{1,64}+\|>"
_REPLACEMENT = "\ufffd"
#: Some tokenizers make plain forms of wide characters, and drop invisible ones, before they look for their tokens.
_WIDE = {chr(plain): chr(plain + 0xFEE0) for plain in range(ord("!"), ord("~") + 1)}
_TO_PLAIN = str.maketrans({wide: plain for plain, wide in _WIDE.items()})
_INVISIBLE = re.compile("[\u00ad\u200b-\u200f\u2060-\u2064\ufeff]")


class Structure:
    """A finder of texts that a model could take for structure, whatever their case."""

    def __init__(self, tokens: frozenset[str]) -> None:
        """Compile the pattern of `tokens`: special tokens of the model's tokenizer, and local delimiters."""
        plain = (_INVISIBLE.sub("", token.translate(_TO_PLAIN)).strip() for token in tokens | _TEMPLATE_TOKENS)
        rests: defaultdict[str, list[str]] = defaultdict(list)
        for token in sorted(set(plain) - {"", _REPLACEMENT}):
            rests[token[0]].append(token[1:])
        self._firsts = "".join({form for first in rests for form in _forms(first)})
        # The first character stands before the choice, because a search for one of a few characters is quick.
        choices = "|".join(f"(?<={re.escape(first)})(?:{_rest(first, words)})" for first, words in rests.items())
        self._pattern = re.compile(f"[{re.escape(''.join(rests))}](?:{choices})", re.IGNORECASE)

    def broken(self, text: str) -> str:
        """Return the text with a blank after the first character of each such text; a second time changes nothing.

        Nothing is taken away but what cannot stay: lone surrogates, which no encoding can carry, become question marks,
        and special tokens of a single character U+FFFD.
        """
        if not text.isascii():
            text = text.encode("utf-8", "replace").decode()
        if not any(first in text for first in self._firsts):
            return text
        while found := self._found(text):  # a break may show another that overlapped
            text = _break(text, found)
        return text

    def _found(self, text: str) -> list[tuple[int, bool]]:
        """Return the positions at which structure begins, and whether one character is all of it."""
        if text.isascii():
            return [(match.start(), len(match[0]) == 1) for match in self._pattern.finditer(text)]
        plain = text.translate(_TO_PLAIN)
        if _INVISIBLE.search(plain) is None:
            return [(match.start(), len(match[0]) == 1) for match in self._pattern.finditer(plain)]
        places = [i for i, character in enumerate(plain) if not _INVISIBLE.match(character)]
        visible = "".join(plain[i] for i in places)
        return [(places[match.start()], len(match[0]) == 1) for match in self._pattern.finditer(visible)]


@lru_cache(maxsize=16)
def structure(tokens: frozenset[str]) -> Structure:
    """Return the Structure of some tokens; kept, because that of thousands of tokens takes a while to build."""
    return Structure(tokens)


def _break(text: str, found: list[tuple[int, bool]]) -> str:
    pieces, done = [], 0
    for start, single in found:
        pieces += [text[done:start], _REPLACEMENT if single else f"{text[start]} "]
        done = start + 1
    return "".join([*pieces, text[done:]])


def _rest(first: str, words: Iterable[str]) -> str:
    """Return a pattern for what follows the first character."""
    return "|".join([*([_BARRED] if first == "<" else []), _one_of(words)])


def _one_of(words: Iterable[str]) -> str:
    """Return a pattern for any of several words, as a trie: a tokenizer may have thousands of special tokens."""
    trie: dict[str, Any] = {}
    for word in words:
        node = trie
        for character in word:
            node = node.setdefault(character, {})
        node[""] = {}
    return _branches(trie)


def _branches(node: dict[str, Any]) -> str:
    if "" in node:  # the shortest is enough: a blank in it breaks all that begin with it
        return ""
    branches = [re.escape(character) + _branches(inner) for character, inner in node.items()]
    return branches[0] if len(branches) == 1 else f"(?:{'|'.join(branches)})"


def _forms(character: str) -> set[str]:
    """Return what the pattern may take for a character: in either case, and in the wide forms of both."""
    cases = {character, character.lower(), character.upper()}
    return {form for case in cases for form in (case, _WIDE.get(case, case))}
