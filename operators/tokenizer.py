"""Tokens of texts, exactly those of the `tokenizers` library for the same tokenizer.json."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from gristmill.operators.arrays import check_lengths, replaced
from gristmill.operators.byte_level import ByteLevel, read_byte_level
from gristmill.operators.errors import RecipeError
from gristmill.operators.kernels.buffers import text_buffers
from gristmill.operators.kernels.byte_pairs import WordMemory, empty_memory, encode_texts
from gristmill.operators.kernels.unicode_forms import may_compose

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
_REMEMBERED = 1 << 17  # words, 5 MB
_TEXTS_AT_ONCE = 64  # the library's results take some hundred bytes a token until they are read


class TextTokenizer:
    """A tokenizer.json, for whole texts: without the special tokens that a model adds around a text, never truncated.

    Byte-level BPE is done by a kernel where all is known that the file asks for, the rest by the library; the tokens
    are the same. Thread-safe. Pickled it is its path: it is opened anew where it arrives.
    """

    vocabulary: int  #: all ids are below it
    eos: int | None  #: the id of the end of a text, found by its name (ENDS_OF_TEXT)
    by_kernel: bool  #: whether the kernel encodes texts, but for the few that it leaves to the library

    def __init__(self, path: Path, name: str) -> None:
        self._path, self._name = path, name
        self._library = _load(path, name)
        self._byte_level = read_byte_level(path, self._library)
        self.by_kernel = self._byte_level is not None
        self._memories: list[WordMemory] = []  # one for each call at a time
        self.vocabulary = 1 + max(self._library.get_vocab(with_added_tokens=True).values(), default=-1)
        ids = (self._library.token_to_id(content) for content in ENDS_OF_TEXT)
        self.eos = next((token for token in ids if token is not None), None)

    def __reduce__(self) -> tuple[Any, ...]:
        return open_tokenizer, (self._path, self._name)

    def encode(self, texts: pa.Array) -> tuple[NDArray[np.uint32], NDArray[np.int64]]:
        """Return the tokens of n texts, one text after the other, and where each text's begin and end (n + 1).

        A null has none. Bytes that are not UTF-8 read as U+FFFD. Raises ShardError where a text has 2 GiB or more.
        """
        tokens, counts, apart = self._encode(texts, keep=True)
        offsets, start = _offsets(counts), 0
        if apart:
            pieces = []
            for d, of_text in apart.items():
                pieces += [tokens[start : offsets[d]], of_text]
                start = offsets[d]
                counts[d] = len(of_text)
            tokens, offsets = np.concatenate([*pieces, tokens[start:]]), _offsets(counts)
        return tokens, offsets

    def count(self, texts: pa.Array) -> NDArray[np.uint32]:
        """Return the number of tokens of each of n texts. Raises ShardError where a text has 2 GiB or more."""
        _, counts, apart = self._encode(texts, keep=False)
        for d, of_text in apart.items():
            counts[d] = len(of_text)
        return counts.astype(np.uint32)

    def _encode(
        self, texts: pa.Array, keep: bool
    ) -> tuple[NDArray[np.uint32], NDArray[np.int64], dict[int, NDArray[np.uint32]]]:
        """Return the tokens of n texts, unless they are not to be kept, and how many each has (n).

        Texts that only the library can do have none of these; theirs are in the dictionary, by their positions.
        """
        texts = texts.cast(pa.large_string())
        data, offsets = text_buffers(texts)
        check_lengths("tokens", offsets)
        counts, fast, tokens = np.zeros(len(texts), np.int64), self._byte_level, np.zeros(0, np.uint32)
        if fast is None or not _is_utf8(texts):
            counts[:] = -1
        else:
            composed = (data, offsets) if fast.classes is None else self._composed(texts, fast, counts)
            tokens = _encode_by_kernel(*composed, fast, counts, self._memories, keep)
        left = np.flatnonzero(counts < 0)
        counts[left] = 0
        return tokens, counts, self._by_library(data, offsets, left)

    def _composed(
        self, texts: pa.Array, fast: ByteLevel, counts: NDArray[np.int64]
    ) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
        """Return bytes and offsets of n texts in form C; counts become -1 where that has to be done in pieces."""
        changing = np.flatnonzero(may_compose(*text_buffers(texts), fast.classes)).tolist()
        before = texts.take(pa.array(changing, pa.int64())).to_pylist()
        after = [self._library.normalizer.normalize_str(text) for text in before]
        for d, *forms in zip(changing, before, after, strict=True):
            if any(token in form for token in fast.in_raw_text for form in forms):
                counts[d] = -1
        return text_buffers(replaced(texts, changing, pa.array(after, pa.large_string())))

    def _by_library(
        self, data: NDArray[np.uint8], offsets: NDArray[np.int64], positions: NDArray[np.int64]
    ) -> dict[int, NDArray[np.uint32]]:
        """Return the tokens of the texts at some positions, by these."""
        found = {}
        for start in range(0, len(positions), _TEXTS_AT_ONCE):
            batch = positions[start : start + _TEXTS_AT_ONCE].tolist()
            texts = [data[offsets[d] : offsets[d + 1]].tobytes().decode(errors="replace") for d in batch]
            encodings = self._library.encode_batch_fast(texts, add_special_tokens=False)
            found.update({d: np.array(e.ids, np.uint32) for d, e in zip(batch, encodings, strict=True)})
        return found


def _encode_by_kernel(
    data: NDArray[np.uint8],
    offsets: NDArray[np.int64],
    fast: ByteLevel,
    counts: NDArray[np.int64],
    memories: list[WordMemory],
    keep: bool,
) -> NDArray[np.uint32]:
    """Return the tokens of n texts whose counts are 0 beforehand, unless they are not to be kept; fill in counts."""
    most = offsets[-1] - offsets[0] if keep else np.diff(offsets).max(initial=0)
    tokens = np.empty(most + len(counts) + 8, np.uint32)  # of which no more memory is taken than is written to
    try:
        memory = memories.pop()
    except IndexError:
        memory = empty_memory(_REMEMBERED)
    encode_texts(data, offsets, fast.cutting, fast.merges, memory, tokens, counts)
    memories.append(memory)
    tokens.resize(np.maximum(counts, 0).sum() if keep else 0, refcheck=False)
    return tokens


def _offsets(counts: NDArray[np.int64]) -> NDArray[np.int64]:
    offsets = np.zeros(len(counts) + 1, np.int64)
    np.cumsum(counts, out=offsets[1:])
    return offsets


def _is_utf8(texts: pa.Array) -> bool:
    try:
        texts.validate(full=True)
    except pa.ArrowInvalid:
        return False
    return True


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
