"""Tokens of texts, exactly those of the `tokenizers` library for the same tokenizer.json."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from gristmill.operators.errors import RecipeError
from gristmill.operators.kernels.buffers import text_buffers

#: Names by which models call the token at the end of a text, in the order in which they are looked for.
ENDS_OF_TEXT = (
    "<|endoftext|>",
    "<|end_of_text|>",
    "</s>",
    "<eos>",
    "<EOS>",
    "[EOS]",
    "<EOS_TOKEN>",
    "<|eos|>",
    "<｜end▁of▁sentence｜>",
)
_TEXTS_AT_ONCE = 64  # the library's results take some hundred bytes a token until they are read


class TextTokenizer:
    """A tokenizer.json, for whole texts: without the special tokens that a model adds around a text, never truncated.

    Thread-safe. Pickled it is its path: it is opened anew where it arrives.
    """

    vocabulary: int  #: all ids are below it
    eos: int | None  #: the id of the end of a text, found by its name (ENDS_OF_TEXT)

    def __init__(self, path: Path, name: str) -> None:
        self._path, self._name = path, name
        self._library = _load(path, name)
        self.vocabulary = 1 + max(self._library.get_vocab(with_added_tokens=True).values(), default=-1)
        ids = (self._library.token_to_id(content) for content in ENDS_OF_TEXT)
        self.eos = next((token for token in ids if token is not None), None)

    def __reduce__(self) -> tuple[Any, ...]:
        return open_tokenizer, (self._path, self._name)

    def encode(self, texts: pa.Array) -> tuple[NDArray[np.uint32], NDArray[np.int64]]:
        """Return the tokens of n texts, one text after the other, and where each text's begin and end (n + 1).

        A null has none. Bytes that are not UTF-8 read as U+FFFD.
        """
        found = [np.zeros(0, np.uint32), *self._by_library(texts)]
        offsets = np.zeros(len(found), np.int64)
        np.cumsum([len(tokens) for tokens in found[1:]], out=offsets[1:])
        return np.concatenate(found), offsets

    def count(self, texts: pa.Array) -> NDArray[np.uint32]:
        """Return the number of tokens of each of n texts."""
        return np.array([len(tokens) for tokens in self._by_library(texts)], np.uint32)

    def _by_library(self, texts: pa.Array) -> list[NDArray[np.uint32]]:
        data, offsets = text_buffers(texts)
        found = []
        for start in range(0, len(texts), _TEXTS_AT_ONCE):
            bounds = offsets[start : start + _TEXTS_AT_ONCE + 1].tolist()
            batch = [data[a:b].tobytes().decode(errors="replace") for a, b in itertools.pairwise(bounds)]
            encodings = self._library.encode_batch_fast(batch, add_special_tokens=False)
            found += [np.array(encoding.ids, np.uint32) for encoding in encodings]
        return found


def open_tokenizer(path: Path, name: str) -> TextTokenizer:
    """Open the tokenizer.json at `path`, which the recipe calls `name`.

    Raises RecipeError where the `tokenizers` library is not installed, or cannot read the file.
    """
    return TextTokenizer(path, name)


def _load(path: Path, name: str) -> Any:
    """Load it by the library, set to encode whole texts whatever the file says."""
    try:
        import tokenizers
    except ImportError as error:
        raise RecipeError(
            f"tokens with a tokenizer ({name}) needs the tokenizers library: pip install 'gristmill[tokenizers]'"
        ) from error
    try:
        tokenizer = tokenizers.Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises nothing more precise
        raise RecipeError(
            f"{name} is not a tokenizer that the tokenizers library can read ({error}); "
            "give the tokenizer.json of a model"
        ) from error
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer
