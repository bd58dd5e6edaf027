"""Tokenizers of models, by the tokenizers library: a folder, a tokenizer.json, a hub's id."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gristmill.operators.errors import RecipeError

FILE = "tokenizer.json"
_AT_ONCE = 64  # a tokenizer's results take some hundred bytes a token until they are counted


class HubTokenizer:
    """Tokenizer of a model, by the model's own tokens. Picklable."""

    exact = True

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        added = tokenizer.get_added_tokens_decoder().values()
        self.special = frozenset(str(token.content) for token in added if token.special or _is_markup(token.content))

    @classmethod
    def copied(cls, tokenizer: Any) -> HubTokenizer:
        """Copy a tokenizer that is used elsewhere as well: there it keeps its truncation and padding."""
        return cls(copy.deepcopy(tokenizer))

    def count(self, texts: Sequence[str]) -> list[int]:
        """Return the number of tokens of each text, special ones not added."""
        counts: list[int] = []
        for start in range(0, len(texts), _AT_ONCE):
            some = list(texts[start : start + _AT_ONCE])
            counts += [len(found.ids) for found in self._tokenizer.encode_batch_fast(some, add_special_tokens=False)]
        return counts

    def spans(self, text: str) -> list[tuple[int, int]]:
        """Return the start and end of each token, in characters."""
        found: list[tuple[int, int]] = self._tokenizer.encode(text, add_special_tokens=False).offsets
        return found


def load_tokenizer(name: str, revision: str | None = None) -> HubTokenizer:
    """Load the tokenizer of a model: its folder, its tokenizer.json, or its id on the Hugging Face hub (at a revision).

    Raises RecipeError if there is none.
    """
    try:
        from tokenizers import Tokenizer
    except ImportError:
        raise RecipeError(
            f"the tokenizer {name} needs the tokenizers library: pip install 'gristmill[tokenizers]'"
        ) from None
    file = Path(name, FILE) if Path(name).is_dir() else Path(name)
    if Path(name).is_dir() and not file.exists():
        raise RecipeError(f"the folder {name} holds no {FILE}; save the model's fast tokenizer there, or name another")
    try:
        return HubTokenizer(
            Tokenizer.from_file(str(file)) if file.exists() else Tokenizer.from_pretrained(name, revision or "main")
        )
    except Exception as error:  # the library raises nothing more precise
        raise RecipeError(
            f"{name} is no tokenizer that can be read ({error}); give a model's folder, its {FILE}, or the id "
            "of a model on the Hugging Face hub that this machine can reach"
        ) from None


def _is_markup(token: str) -> bool:
    """Return whether an added token means something to a chat template, rather than being a word, a sign or blanks."""
    return len(token) > 1 and not token.replace(" ", "").isalnum() and not token.isspace()
