"""Forward passes over batches of prompts with the same beginning.

The beginning that all prompts of a task share (instruction, options, examples) is computed once, and its keys and
values are shared by all rows of all batches.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from itertools import takewhile
from typing import Any

import torch
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer

from gristmill.pipelines.label.engines.batching import OutOfMemory


class Forward:
    """A causal language model with the beginning that its prompts share. Prompts are token ids."""

    def __init__(self, model: Any, shared: Sequence[int]) -> None:
        """Compute the first tokens of nearly all prompts; those that begin in another way are computed in full."""
        self._model = model
        self._device = model.device
        self._shared, self._cache = _cached(model, list(shared))

    def start(self, prompts: Sequence[Sequence[int]], keep: bool) -> Rows:
        """Return the state (n rows) after n prompts. keep: for tokens to follow. Raises OutOfMemory."""
        with_shared = all(list(prompt[: len(self._shared)]) == self._shared for prompt in prompts)
        done = len(self._shared) if with_shared else 0
        rests = [prompt[done:] for prompt in prompts]
        longest = max(map(len, rests))
        # Padding comes first, so that the last tokens of all rows share one position, the only one that needs logits.
        ids = torch.tensor([[0] * (longest - len(rest)) + list(rest) for rest in rests], device=self._device)
        mask = torch.tensor(
            [[1] * done + [0] * (longest - len(rest)) + [1] * len(rest) for rest in rests], device=self._device
        )
        cache = _expanded(self._cache, len(prompts)) if done else DynamicCache(config=self._model.config)
        rows = Rows(self._model, mask, cache if done or keep else None)
        rows.feed(ids)
        return rows


class Rows:
    """Rows (n) of tokens, with the model's distribution of the next one."""

    #: float32 (n, vocabulary): natural log-probabilities of the next token
    logprobs: Any

    def __init__(self, model: Any, mask: Any, cache: Any) -> None:
        """Take mask: int64 (n, tokens with those that are fed first), 0 for padding; cache: None if nothing follows."""
        self._model, self._mask, self._cache = model, mask, cache

    def extend(self, ids: Any) -> None:
        """Add tokens, int64 (n, m), to all rows. Raises OutOfMemory."""
        self._mask = torch.cat([self._mask, torch.ones_like(ids)], dim=1)
        self.feed(ids)

    def keep(self, rows: Any) -> None:
        """Keep some rows only, int64 (k)."""
        self._mask = self._mask[rows]
        self._cache.batch_select_indices(rows)

    def feed(self, ids: Any) -> None:
        """Compute tokens, int64 (n, m), which the mask knows already. Raises OutOfMemory."""
        # Positions count tokens, not padding: the same prompt has the same positions in every batch.
        positions = (self._mask.cumsum(dim=1) - 1).clamp(min=0)[:, -ids.shape[1] :]
        try:
            with torch.inference_mode():
                said = self._model(
                    input_ids=ids,
                    attention_mask=self._mask,
                    position_ids=positions,
                    past_key_values=self._cache,
                    use_cache=self._cache is not None,
                    logits_to_keep=1,
                )
                self.logprobs = said.logits[:, -1].float().log_softmax(dim=-1)
        except torch.OutOfMemoryError as error:
            raise OutOfMemory(str(error)) from None


def common_beginning(first: Sequence[int], second: Sequence[int]) -> list[int]:
    """Return the tokens that two prompts both begin with."""
    return [token for token, _ in takewhile(lambda pair: pair[0] == pair[1], zip(first, second, strict=False))]


def _cached(model: Any, shared: list[int]) -> tuple[list[int], Any]:
    """Return the tokens, and their keys and values; neither if the model's layers see no more than a window.

    In a batch padding comes between the beginning and the rest of a prompt. Attention over all tokens is masked there;
    a window would reach less far back in a row with more padding, and a recurrent state would pass through it.
    """
    if not shared:
        return [], None
    cache = DynamicCache(config=model.config)
    with torch.inference_mode():
        model(input_ids=torch.tensor([shared], device=model.device), past_key_values=cache, use_cache=True)
    return (shared, cache) if all(type(layer) is DynamicLayer for layer in cache.layers) else ([], None)


def _expanded(cache: Any, rows: int) -> Any:
    """Return the cache for a number of rows, by views: the first tokens that are added make the copy."""
    several = copy.copy(cache)
    several.layers = [copy.copy(layer) for layer in cache.layers]
    for layer in several.layers:
        layer.keys = layer.keys.expand(rows, -1, -1, -1)
        layer.values = layer.values.expand(rows, -1, -1, -1)
    return several
