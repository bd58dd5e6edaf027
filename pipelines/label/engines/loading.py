"""Loading of a model by transformers, with a plain message for all that can be wrong with it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers.utils import logging

from gristmill.operators.errors import RecipeError
from gristmill.pipelines.label.annotators import TransformersAnnotator


class Loaded(NamedTuple):
    """A model on its device, and its tokenizer."""

    model: Any
    tokenizer: Any
    context: int | None  #: tokens that it can look at; None if it has no limit of its own
    ends: frozenset[int]  #: ids of the tokens with which it ends a turn


def load(annotator: TransformersAnnotator) -> Loaded:
    """Load the annotator's model. Raises RecipeError if there is no such model or device, or no room for it."""
    device = _device(annotator)
    # A CPU computes float32 exactly and no slower; an accelerator takes weights as they were published.
    dtype: Any = getattr(torch, annotator.dtype) if annotator.dtype != "auto" else "auto"
    if annotator.dtype == "auto" and device.type == "cpu":
        dtype = torch.float32
    try:
        with _without_progress_bars():
            tokenizer = AutoTokenizer.from_pretrained(annotator.model, revision=annotator.revision)
            model = AutoModelForCausalLM.from_pretrained(annotator.model, revision=annotator.revision, dtype=dtype)
        model = model.to(device).eval()
    except torch.OutOfMemoryError as error:
        raise RecipeError(
            f"{device} has no room for {annotator.model} ({_first_line(error)}); "
            "take a device with more memory, or a smaller dtype"
        ) from None
    except (OSError, ValueError, KeyError, ImportError, RuntimeError) as error:  # errors of transformers
        raise RecipeError(f"transformers cannot load {annotator.model} ({_first_line(error)})") from None
    if not tokenizer.is_fast:
        raise RecipeError(f"{annotator.model} has no fast tokenizer (tokenizer.json); save one there")
    context = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    return Loaded(model, tokenizer, context, _ends(model, tokenizer))


def _device(annotator: TransformersAnnotator) -> Any:
    there = ["cpu"]
    if torch.backends.mps.is_available():
        there.insert(0, "mps")
    there[:0] = [f"cuda:{i}" for i in range(torch.cuda.device_count())]
    if annotator.device == "auto":
        return torch.device(there[0])
    wanted = "cuda:0" if annotator.device == "cuda" else annotator.device
    if wanted not in there:
        raise RecipeError(
            f"device {annotator.device} is not on this machine, which has {', '.join(there)}; name "
            "one of these, or auto"
        )
    return torch.device(wanted)


@contextlib.contextmanager
def _without_progress_bars() -> Iterator[None]:
    bars: Any = logging
    shown = bars.is_progress_bar_enabled()
    bars.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            bars.enable_progress_bar()


def _ends(model: Any, tokenizer: Any) -> frozenset[int]:
    stated = model.generation_config.eos_token_id
    ids = stated if isinstance(stated, list) else [stated]
    return frozenset(i for i in [*ids, tokenizer.eos_token_id] if i is not None)


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
