"""Batched forward passes beside the plain ones of each prompt alone, over kinds of models with random weights."""

from __future__ import annotations

import random
from typing import Any

import pytest

pytestmark = pytest.mark.lm

VOCABULARY = 97
SMALL = {"vocab_size": VOCABULARY, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2}
HEADS = {"num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 256}
#: Family -> settings, and whether its layers let prompts share their beginning.
FAMILIES: dict[str, tuple[dict[str, Any], bool]] = {
    "Llama": ({**SMALL, **HEADS}, True),
    "Qwen2": ({**SMALL, **HEADS}, True),
    "Qwen3": ({**SMALL, **HEADS, "head_dim": 8}, True),
    "Phi3": ({**SMALL, **HEADS, "pad_token_id": 0}, True),
    "GPT2": ({"vocab_size": VOCABULARY, "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 256}, True),
    "GPTNeoX": ({**SMALL, **HEADS}, True),
    "Mistral": ({**SMALL, **HEADS, "sliding_window": 8}, False),
    "Gemma2": ({**SMALL, **HEADS, "sliding_window": 8, "head_dim": 8}, False),
}


def model_of(family: str) -> Any:
    """A model with random weights, large enough that tokens far back matter."""
    import torch
    import transformers

    torch.manual_seed(5)
    config = getattr(transformers, f"{family}Config")(**FAMILIES[family][0])
    model = transformers.AutoModelForCausalLM.from_config(config)
    for parameter in model.parameters():
        if parameter.dim() > 1:
            parameter.data *= 5
    return model.eval()


def plain(model: Any, prompt: list[int]) -> Any:
    """Log-probabilities after one prompt by itself."""
    import torch

    with torch.inference_mode():
        return model(torch.tensor([prompt])).logits[0, -1].double().log_softmax(-1)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("beginnings", ["alike", "one differs", "none"])
def test_every_row_is_as_if_it_were_alone(family: str, beginnings: str) -> None:
    import torch

    from gristmill.pipelines.label.local.model import Forward

    draw, model = random.Random(2), model_of(family)
    shared = [draw.randrange(1, VOCABULARY) for _ in range(20)]
    prompts = [shared + [draw.randrange(1, VOCABULARY) for _ in range(n)] for n in (3, 30, 17, 1, 30)]
    if beginnings == "one differs":
        prompts[1][4] = (prompts[1][4] + 1) % VOCABULARY
    forward = Forward(model, [] if beginnings == "none" else shared)
    rows = forward.start(prompts, keep=True)
    for steps in range(3):
        for prompt, ours in zip(prompts, rows.logprobs.double(), strict=True):
            assert torch.allclose(ours.exp(), plain(model, prompt).exp(), atol=1e-5, rtol=0)
        if steps == 1:
            kept = [0, 2, 3]
            rows.keep(torch.tensor(kept))
            prompts = [prompts[i] for i in kept]
        more = [[draw.randrange(1, VOCABULARY) for _ in range(1 + steps)] for _ in prompts]
        rows.extend(torch.tensor(more))
        prompts = [prompt + tokens for prompt, tokens in zip(prompts, more, strict=True)]


@pytest.mark.parametrize("family", FAMILIES)
def test_the_beginning_is_shared_where_padding_in_between_changes_nothing(family: str) -> None:
    from gristmill.pipelines.label.local.model import Forward

    model = model_of(family)
    lengths: list[int] = []
    forward = Forward(model, list(range(1, 21)))
    model.register_forward_pre_hook(lambda _, __, given: lengths.append(given["input_ids"].shape[1]), with_kwargs=True)
    forward.start([[*range(1, 21), 30, 31, 32]], keep=False)
    assert lengths == [3 if FAMILIES[family][1] else 23]


def test_batches_leave_the_shared_beginning_as_it_was() -> None:
    import torch

    from gristmill.pipelines.label.local.model import Forward

    model = model_of("Llama")
    forward = Forward(model, [1, 2, 3])
    first = forward.start([[1, 2, 3, 4]], keep=False).logprobs
    forward.start([[1, 2, 3, 9, 9], [1, 2, 3, 7]], keep=True).extend(torch.tensor([[5], [6]]))
    assert torch.equal(forward.start([[1, 2, 3, 4]], keep=False).logprobs, first)
