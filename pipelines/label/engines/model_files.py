"""State of a model: the commit on the Hugging Face hub, or a digest of a folder's files."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

from gristmill.operators.errors import RecipeError

THREE_WAYS = (
    "Three ways to a model: engine: transformers with a model's folder or its id on the Hugging Face hub, which runs "
    "in this process (pip install 'gristmill[lm]'); engine: http with the base_url of a server such as vLLM's own, "
    "llama.cpp's or a hosted API; engine: vllm on a Ray cluster with GPUs"
)
_OF_THE_MODEL = {".safetensors", ".bin", ".pt", ".gguf", ".json", ".jinja", ".model", ".txt", ".py"}
_PIECE = 1 << 20
_PIECES = 64  # of a file that is larger: to digest all of a large model would take minutes


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
