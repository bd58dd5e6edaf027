"""Models by name (a folder, an id on the Hugging Face hub): the state of their files, and their tokenizers.

No model is loaded here: a task is checked, and documents are cut, without the library that runs it.
"""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from gristmill.operators.errors import RecipeError

THREE_WAYS = (
    "Three ways to a model: engine: transformers with a model's folder or its id on the Hugging Face hub, which runs "
    "in this process (pip install 'gristmill[lm]'); engine: http with the base_url of a server such as vLLM's own, "
    "llama.cpp's or a hosted API; engine: vllm on a Ray cluster with GPUs"
)
_OF_THE_MODEL = {".safetensors", ".bin", ".pt", ".gguf", ".json", ".jinja", ".model", ".txt", ".py"}
_PIECE = 1 << 20
_PIECES = 64  # of a file that is larger: to digest all of a large model would take minutes
_TOKENIZER = "tokenizer.json"
_AT_ONCE = 64  # a tokenizer's results take some hundred bytes a token until they are counted


def found_revision(model: str, revision: str | None = None) -> str:
    """Return the commit of a model on the hub (40 hex digits), or a digest of the files of a folder (32).

    Large files are digested in pieces evenly spread over them. Raises RecipeError if there is no such model.
    """
    return _folder_digest(Path(model)) if Path(model).is_dir() else _commit(model, revision)


def is_path(model: str) -> bool:
    """Return whether a model's name can only be that of a folder: ids on the hub are `name` or `owner/name`."""
    return model.startswith((".", "/", "~")) or model.count("/") > 1


def _folder_digest(folder: Path) -> str:
    digest = hashlib.blake2b(digest_size=16)
    for file in sorted(file for file in folder.iterdir() if file.suffix in _OF_THE_MODEL):
        digest.update(f"{file.name}\0{file.stat().st_size}\0".encode())
        for piece in _pieces(file):
            digest.update(piece)
    return digest.hexdigest()


def _pieces(file: Path) -> Iterator[bytes]:
    last = max(0, file.stat().st_size - _PIECE)
    step = max(_PIECE, -(-last // (_PIECES - 1)))
    with open(file, "rb") as content:
        for start in (*range(0, last, step), last):
            content.seek(start)
            yield content.read(_PIECE)


def _commit(model: str, revision: str | None) -> str:
    from huggingface_hub import hf_hub_download

    try:
        return Path(hf_hub_download(model, "config.json", revision=revision)).parent.name
    except (OSError, ValueError) as error:  # base classes of the hub's errors: no such model, no network, no right
        said = str(error).strip().splitlines()[0].rstrip(".")
        raise RecipeError(
            f"there is no model {model}: no such folder here, and the Hugging Face hub says: {said}. "
            "Give a model's folder or its id on the hub; HF_TOKEN opens those that need an account"
        ) from None


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
            batch = list(texts[start : start + _AT_ONCE])
            counts += [len(result.ids) for result in self._tokenizer.encode_batch_fast(batch, add_special_tokens=False)]
        return counts

    def spans(self, text: str) -> list[tuple[int, int]]:
        """Return the start and end of each token, in characters."""
        offsets: list[tuple[int, int]] = self._tokenizer.encode(text, add_special_tokens=False).offsets
        return offsets


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
    file = Path(name, _TOKENIZER) if Path(name).is_dir() else Path(name)
    if Path(name).is_dir() and not file.exists():
        raise RecipeError(
            f"the folder {name} holds no {_TOKENIZER}; save the model's fast tokenizer there, or name another"
        )
    try:
        return HubTokenizer(
            Tokenizer.from_file(str(file)) if file.exists() else Tokenizer.from_pretrained(name, revision or "main")
        )
    except Exception as error:  # the library raises nothing more precise
        raise RecipeError(
            f"{name} is no tokenizer that can be read ({error}); give a model's folder, its {_TOKENIZER}, or the id "
            "of a model on the Hugging Face hub that this machine can reach"
        ) from None


def _is_markup(token: str) -> bool:
    """Return whether an added token means something to a chat template, rather than being a word, a sign or blanks."""
    return len(token) > 1 and not token.replace(" ", "").isalnum() and not token.isspace()
