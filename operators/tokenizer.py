"""A tokenizer opened from its file: texts to token ids."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from gristmill.operators.errors import RecipeError

_DOCUMENTS_AT_ONCE = 64  # results of the library take some hundred bytes a token until they are copied
#: Tokens that end a text, by the names that models give them.
_ENDS = ("<|endoftext|>", "</s>", "<|end_of_text|>", "<eos>", "<|eos|>", "[SEP]")


class Tokenizer:
    """An open tokenizer; thread-safe."""

    def __init__(self, library: Any) -> None:
        self._library = library
        names: dict[str, int] = library.get_vocab(with_added_tokens=True)
        self.vocabulary = max(names.values()) + 1  #: all ids are below it
        self.eos: int | None = next((names[end] for end in _ENDS if end in names), None)  #: the id that ends a text

    def encode(self, texts: pa.Array) -> tuple[NDArray[np.uint32], NDArray[np.int64]]:
        """Return the tokens of all texts (n), one after the other, and offsets (n + 1); nulls are empty."""
        parts, offsets = [np.zeros(0, np.uint32)], np.zeros(len(texts) + 1, np.int64)
        for start in range(0, len(texts), _DOCUMENTS_AT_ONCE):
            batch = texts.slice(start, _DOCUMENTS_AT_ONCE).fill_null("").to_pylist()
            for i, encoding in enumerate(self._library.encode_batch_fast(batch, add_special_tokens=False)):
                parts.append(np.array(encoding.ids, np.uint32))
                offsets[start + i + 1] = len(parts[-1])
        return np.concatenate(parts), np.cumsum(offsets)

    def count(self, texts: pa.Array) -> NDArray[np.uint32]:
        """Return the number of tokens of each text (n)."""
        return np.diff(self.encode(texts)[1]).astype(np.uint32)


def open_tokenizer(path: Path, name: str) -> Tokenizer:
    """Open the tokenizer.json that the recipe calls `name`. Raises RecipeError where it cannot be used."""
    try:
        import tokenizers
    except ImportError as error:
        raise RecipeError(
            f"the tokenizer {name} needs the tokenizers library: pip install 'gristmill[tokenizers]'"
        ) from error
    try:
        library = tokenizers.Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises nothing more precise
        raise RecipeError(
            f"{name} is not a tokenizer that the tokenizers library can read ({error}); "
            "give the tokenizer.json of a model"
        ) from error
    library.no_truncation()
    library.no_padding()
    return Tokenizer(library)
