"""A causal language model by transformers: loaded, computed over batches of prompts, and what it completes them with.

The beginning that all prompts of a task share (instruction, options, examples) is computed once, and its keys and
values are shared by all rows of all batches. Codes are read off the model's distribution; free text is the most
probable token each time. All that can be wrong with a model is told in a plain message.
"""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, DynamicCache
from transformers.cache_utils import DynamicLayer
from transformers.utils import logging

from gristmill.operators.errors import RecipeError
from gristmill.operators.label.contract import Completion, Constraint
from gristmill.pipelines.label.annotators import TransformersAnnotator
from gristmill.pipelines.label.local.tokens import OutOfMemory, Prompted, Renderer, SlotTokens, slot_tokens


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
    devices = ["cpu"]
    if torch.backends.mps.is_available():
        devices.insert(0, "mps")
    devices[:0] = [f"cuda:{i}" for i in range(torch.cuda.device_count())]
    if annotator.device == "auto":
        return torch.device(devices[0])
    name = "cuda:0" if annotator.device == "cuda" else annotator.device
    if name not in devices:
        raise RecipeError(
            f"device {annotator.device} is not on this machine, which has {', '.join(devices)}; name "
            "one of these, or auto"
        )
    return torch.device(name)


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


@dataclass(frozen=True)
class Codes:
    """Answers with slots: of each the most probable code, given those before it."""

    forward: Forward
    slots: Sequence[SlotTokens]
    separator: str

    @property
    def most_tokens(self) -> int:
        """Return the number of tokens of a completion."""
        return sum(len(slot.before) + 1 for slot in self.slots)

    @property
    def fewest_tokens(self) -> int:
        """Return the number of tokens that a completion takes at least."""
        return self.most_tokens

    def complete(self, prompts: Sequence[Prompted]) -> list[Completion]:
        """Return a completion for each prompt. Its log-probability is that of its codes, variants added up.

        Raises OutOfMemory.
        """
        rows = self.forward.start([prompt.ids for prompt in prompts], keep=len(self.slots) > 1)
        distributions = [_read(rows, self.slots[0])]
        for slot_before, slot in zip(self.slots, self.slots[1:], strict=False):
            ids = [[slot_before.written[_best(codes)], *slot.before] for codes in distributions[-1]]
            rows.extend(torch.tensor(ids, device=rows.logprobs.device))
            distributions.append(_read(rows, slot))
        return [
            self._completion(slots, len(prompt.ids))
            for slots, prompt in zip(zip(*distributions, strict=True), prompts, strict=True)
        ]

    def _completion(self, slots: tuple[dict[str, float], ...], input_tokens: int) -> Completion:
        best = [_best(codes) for codes in slots]
        logprob = sum(codes[code] for codes, code in zip(slots, best, strict=True))
        return Completion(self.separator.join(best), slots, logprob, input_tokens, self.most_tokens)


@dataclass(frozen=True)
class Text:
    """Free answers. Nothing enforces their form."""

    forward: Forward
    ends: frozenset[int]  #: ids of the tokens that end an answer
    decode: Callable[[Sequence[int]], str]
    most_tokens: int
    fewest_tokens: int = 1  #: that a completion takes

    def complete(self, prompts: Sequence[Prompted]) -> list[Completion]:
        """Return a completion for each prompt, up to its end or to the limit of tokens. Raises OutOfMemory."""
        rows = self.forward.start([prompt.ids for prompt in prompts], keep=True)
        outputs: list[list[int]] = [[] for _ in prompts]
        logprobs = [0.0] * len(prompts)
        going = list(range(len(prompts)))
        while True:
            best, ids = rows.logprobs.max(dim=-1)
            for row, logprob, token in zip(going, best.tolist(), ids.tolist(), strict=True):
                outputs[row].append(token)
                logprobs[row] += logprob
            on = [i for i, row in enumerate(going) if not self._ended(outputs[row], prompts[row].most)]
            if not on:
                break
            if len(on) < len(going):
                kept_rows = torch.tensor(on, device=ids.device)
                rows.keep(kept_rows)
                ids, going = ids[kept_rows], [going[i] for i in on]
            rows.extend(ids[:, None])
        return [
            Completion(self._shown(tokens), None, logprob, len(prompt.ids), len(tokens))
            for tokens, logprob, prompt in zip(outputs, logprobs, prompts, strict=True)
        ]

    def _ended(self, tokens: Sequence[int], most: int) -> bool:
        return tokens[-1] in self.ends or len(tokens) >= most

    def _shown(self, tokens: Sequence[int]) -> str:
        return self.decode([token for token in tokens if token not in self.ends])


def completer(
    annotator: TransformersAnnotator, constraint: Constraint, loaded: Loaded, renderer: Renderer, shared: Sequence[int]
) -> Codes | Text:
    """Return what completes the prompts of a task, which nearly all begin with `shared`.

    Raises RecipeError for a code that is no single token.
    """
    slots = slot_tokens(constraint, renderer.encode, annotator.model)
    forward = Forward(loaded.model, shared)
    if slots:
        return Codes(forward, slots, constraint.separator)
    return Text(forward, loaded.ends, renderer.decode, annotator.max_output_tokens or constraint.max_tokens)


def _read(rows: Rows, slot: SlotTokens) -> list[dict[str, float]]:
    """Return for each row the log-probabilities of the slot's codes, those of a code's variants added up."""
    by_code = [_added_up(rows.logprobs, ids) for ids in slot.variants.values()]
    columns = torch.stack(by_code, dim=1).tolist()
    return [dict(zip(slot.variants, row, strict=True)) for row in columns]


def _added_up(logprobs: Any, ids: Iterable[int]) -> Any:
    return logprobs[:, list(ids)].logsumexp(dim=-1)


def _best(codes: dict[str, float]) -> str:
    return max(codes, key=codes.__getitem__)
