"""The backend `vllm`: a model served by vLLM inside Ray Data."""

from __future__ import annotations

import importlib.util
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any

from gristmill.operators.errors import RecipeError
from gristmill.operators.label.contract import Completion, Constraint, Question, Reply
from gristmill.operators.label.prompt import Prompt, slots_from_tokens
from gristmill.operators.label.task import TaskQuestion
from gristmill.pipelines.label.annotators import VllmAnnotator
from gristmill.pipelines.label.local.tokens import Renderer, SlotTokens, slot_tokens
from gristmill.pipelines.label.models import THREE_WAYS, load_tokenizer
from gristmill.pipelines.label.ray.backend import ERROR, KEY, RayAsker, answer_with_vllm, on_ray, preflight
from gristmill.pipelines.label.ray.resources import vllm_placement

#: Message of vLLM about a prompt that the model has no room for: a fact about the document.
_TOO_LONG = re.compile(r"maximum (context|model) length|longer than the maximum", re.IGNORECASE)
#: JSON without blanks between its parts: small models write line feeds until their tokens are used up.
_STRICT_JSON = {"structured_outputs_config": {"backend": "guidance", "disable_any_whitespace": True}}


def open_asker(annotator: VllmAnnotator, asked: TaskQuestion) -> RayAsker:
    """Open an asker on the Ray cluster of this process. vLLM's engines start with the first questions.

    Raises RecipeError if there is no vLLM, no cluster, no room on it for the engines, or no such model.
    """
    if importlib.util.find_spec("vllm") is None:
        raise RecipeError(
            f"{annotator.name} is answered by vLLM, which is not installed here: on a GPU cluster, "
            f"pip install 'gristmill[vllm]' on every node. {THREE_WAYS}"
        )
    if not on_ray():
        raise RecipeError(
            f"{annotator.name} is answered by vLLM, which runs on a Ray cluster, and this run is not on one: "
            "add --engine ray"
        )
    preflight(annotator.name, vllm_placement(annotator))
    tokenizer = load_tokenizer(annotator.model, annotator.revision)
    model, constraint = _Model(annotator.model, annotator.revision), asked.answer.constraint()
    sampling = sampling_parameters(constraint, model.codes(constraint), annotator.max_output_tokens)
    prompt, reader = partial(model.prompt, Prompt(asked, tokenizer.special)), partial(read_row, constraint)
    placed = annotator if constraint.slots else _with_strict_json(annotator)
    return RayAsker(annotator, tokenizer, partial(answer_with_vllm, placed, sampling, prompt, reader))


def sampling_parameters(
    constraint: Constraint, slots: Sequence[SlotTokens], max_tokens: int | None = None
) -> dict[str, Any]:
    """Return vLLM's sampling parameters for one kind of answer.

    slots: the tokens of the constraint's slots. If codes follow each other without a token between them, the model
    may write nothing but those tokens, and no grammar is needed. `logprob_token_ids` asks for the log-probabilities of
    just the codes, however unlikely they are: the model's own, before any constraint.
    """
    greedy = {"temperature": 0.0, "max_tokens": max_tokens or constraint.max_tokens}
    if not slots:
        return {**greedy, "logprobs": 0, "structured_outputs": {"json": json.dumps(constraint.schema)}}
    ids = list(dict.fromkeys(id for slot in slots for variants in slot.variants.values() for id in variants))
    if any(slot.before for slot in slots):
        return {**greedy, "logprob_token_ids": ids, "structured_outputs": {"regex": constraint.pattern}}
    return {**greedy, "max_tokens": len(slots), "logprob_token_ids": ids, "allowed_token_ids": ids}


def read_row(constraint: Constraint, row: Mapping[str, Any]) -> Reply:
    """Return the reply in a row of Ray's processor: vLLM's output, or the error that it met."""
    if row.get(ERROR):
        return Reply(row[KEY], None, row[ERROR], lasting=_TOO_LONG.search(row[ERROR]) is not None)
    tokens = [alternatives[token] for token, alternatives in zip(row["generated_tokens"], row["logprobs"], strict=True)]
    text, logprob = row["generated_text"], sum(token["logprob"] for token in tokens)
    texts = (token["decoded_token"] for token in tokens)
    slots = slots_from_tokens(constraint, list(zip(texts, map(_by_text, row["logprobs"]), strict=True)))
    if slots is not None:
        codes = [code for token in tokens if (code := token["decoded_token"].strip())]
        text = constraint.separator.join(codes)
        logprob = sum(slot[code] for slot, code in zip(slots, codes, strict=True))
    completion = Completion(text, slots, logprob, row["num_input_tokens"], row["num_generated_tokens"])
    return Reply(row[KEY], completion)


def _by_text(alternatives: Mapping[int, Mapping[str, Any]]) -> dict[str, float]:
    return {token["decoded_token"]: token["logprob"] for token in alternatives.values()}


def _with_strict_json(annotator: VllmAnnotator) -> VllmAnnotator:
    return annotator.model_copy(update={"engine_kwargs": {**_STRICT_JSON, **annotator.engine_kwargs}})


@dataclass(frozen=True)
class _Model:
    """A model's tokenizer and chat template, loaded once in each process that uses them."""

    name: str
    revision: str | None

    def prompt(self, prompt: Prompt, question: Question) -> list[int]:
        """Return the token ids of a question's prompt."""
        return _renderer(self.name, self.revision).tokens([prompt.messages(question.document, question.rejected)])[0]

    def codes(self, constraint: Constraint) -> list[SlotTokens]:
        """Return the tokens of the constraint's slots. Raises RecipeError for a code that is no single token."""
        return slot_tokens(constraint, _renderer(self.name, self.revision).encode, self.name)


@lru_cache(maxsize=4)
def _renderer(model: str, revision: str | None) -> Renderer:
    from transformers import AutoTokenizer

    return Renderer(AutoTokenizer.from_pretrained(model, revision=revision))
