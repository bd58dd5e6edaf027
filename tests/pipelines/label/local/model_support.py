"""Questions to the tiny model, and a plain reckoning of what it should say."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

from gristmill.operators.label.contract import Asker, Question, Reply
from gristmill.operators.label.prompt import Cutter, Prompt
from gristmill.operators.label.task import TaskQuestion
from gristmill.pipelines.label.annotators import TransformersAnnotator


def annotator(model: Path, **options: Any) -> TransformersAnnotator:
    """The tiny model in this process."""
    return TransformersAnnotator.model_validate(
        {"name": "tiny", "engine": "transformers", "model": str(model), "device": "cpu", **options}
    )


def questions_of(asked: TaskQuestion, asker: Asker, texts: Sequence[str]) -> list[Question]:
    """Neutralised and cut, with numbers for keys."""
    prompt, cutter = Prompt(asked, asker.tokenizer.special), Cutter(asker.tokenizer, asked.text)
    cuts = [cutter.cut(prompt.neutralise(text)) for text in texts]
    return [Question(i.to_bytes(16, "big"), cut.text, cut.cut_tokens) for i, cut in enumerate(cuts)]


def replies_of(asker: Asker, questions: Sequence[Question], together: int = 256) -> list[Reply]:
    """Replies in the order of the questions, each question answered once."""
    batches = [questions[i : i + together] for i in range(0, len(questions), together)]
    replies = [reply for some in asker.answer(batches) for reply in some]
    assert len(replies) == len(questions)
    by_key = {reply.key: reply for reply in replies}
    return [by_key[question.key] for question in questions]


@cache
def plain_model(folder: Path) -> tuple[Any, Any]:
    """Tokenizer and model, as transformers loads them."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    return AutoTokenizer.from_pretrained(folder), AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)


def plain_logprobs(folder: Path, asked: TaskQuestion, question: Question, written: str = "") -> dict[str, float]:
    """Token -> log-probability of what comes after the prompt and some text, computed for this question alone."""
    import torch

    tokenizer, model = plain_model(folder)
    chat = Prompt(asked, frozenset(tokenizer.all_special_tokens)).messages(question.document, question.rejected)
    rendered = tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True) + written
    ids = tokenizer(rendered, add_special_tokens=False, return_tensors="pt")["input_ids"]
    with torch.inference_mode():
        logprobs = model(ids).logits[0, -1].double().log_softmax(dim=-1)
    return dict(zip(tokenizer.convert_ids_to_tokens(range(len(logprobs))), logprobs.tolist(), strict=True))
