"""Completions of prompts: codes read off the model's distribution, or free text, the most probable token each time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from gristmill.operators.label.contract import Completion, Constraint
from gristmill.pipelines.label.annotators import TransformersAnnotator
from gristmill.pipelines.label.local.model import Forward, Loaded, Rows
from gristmill.pipelines.label.local.tokens import Prompted, Renderer, SlotTokens, slot_tokens


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
        told = [_read(rows, self.slots[0])]
        for slot_before, slot in zip(self.slots, self.slots[1:], strict=False):
            written = [[slot_before.written[_best(codes)], *slot.before] for codes in told[-1]]
            rows.extend(torch.tensor(written, device=rows.logprobs.device))
            told.append(_read(rows, slot))
        return [
            self._completion(slots, len(prompt.ids))
            for slots, prompt in zip(zip(*told, strict=True), prompts, strict=True)
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
        written: list[list[int]] = [[] for _ in prompts]
        logprobs = [0.0] * len(prompts)
        going = list(range(len(prompts)))
        while True:
            best, ids = rows.logprobs.max(dim=-1)
            for row, logprob, token in zip(going, best.tolist(), ids.tolist(), strict=True):
                written[row].append(token)
                logprobs[row] += logprob
            on = [i for i, row in enumerate(going) if not self._ended(written[row], prompts[row].most)]
            if not on:
                break
            if len(on) < len(going):
                chosen = torch.tensor(on, device=ids.device)
                rows.keep(chosen)
                ids, going = ids[chosen], [going[i] for i in on]
            rows.extend(ids[:, None])
        return [
            Completion(self._shown(tokens), None, logprob, len(prompt.ids), len(tokens))
            for tokens, logprob, prompt in zip(written, logprobs, prompts, strict=True)
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
