"""Labelling by the backend `transformers`: documents/s of this machine, beside a plain loop over transformers.

    python -m benchmarks.label_transformers --model FOLDER_OR_ID

Without a model it takes the tiny one of the tests, trained where it is not there yet. The question is the tests' choice
of four topics, documents are news texts cut to 64 tokens. The plain loop takes prompts as they come, 32 at a time,
padded, all of each computed; both render and tokenise the prompts. Seconds are those on the wall, because several
threads compute.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Sequence

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from benchmarks.common import print_table
from gristmill.operators.label.contract import Asker, Question
from gristmill.operators.label.prompt import Cutter, Prompt
from gristmill.pipelines.label.annotators import TransformersAnnotator
from gristmill.pipelines.label.local.backend import open_asker
from tests.label_model import TOPIC, cached_tiny_model, labelled_texts

TOGETHER = 256  # questions that a labelling run hands over at once
PLAIN_BATCH = 32

Answers = dict[bytes, str]  # code by key


def by_backend(asker: Asker, questions: Sequence[Question]) -> Answers:
    """Answers of the backend."""
    batches = (questions[i : i + TOGETHER] for i in range(0, len(questions), TOGETHER))
    replies = [reply for some in asker.answer(batches) for reply in some]
    return {reply.key: reply.completion.text for reply in replies if reply.completion is not None}


def plain_loop(model: str) -> Callable[[Sequence[Question]], Answers]:
    """Answers by transformers as its documentation shows it."""
    tokenizer = AutoTokenizer.from_pretrained(model, padding_side="left")
    language_model = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32).eval()
    codes = list("ABCD")
    ids = tokenizer.convert_tokens_to_ids(codes)
    prompt = Prompt(TOPIC, frozenset(tokenizer.all_special_tokens))

    def answer(questions: Sequence[Question]) -> Answers:
        answers: Answers = {}
        for i in range(0, len(questions), PLAIN_BATCH):
            some = questions[i : i + PLAIN_BATCH]
            chats = [prompt.messages(question.document) for question in some]
            batch = tokenizer.apply_chat_template(
                chats, add_generation_prompt=True, padding=True, return_tensors="pt", return_dict=True
            )
            with torch.inference_mode():
                best = language_model(**batch, logits_to_keep=1).logits[:, -1, ids].argmax(dim=-1).tolist()
            answers.update((question.key, codes[code]) for question, code in zip(some, best, strict=True))
        return answers

    return answer


def timed(function: Callable[[Sequence[Question]], Answers], questions: Sequence[Question]) -> tuple[float, Answers]:
    """Seconds on the wall, and the answers."""
    start = time.perf_counter()
    answers = function(questions)
    return time.perf_counter() - start, answers


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", help="folder or hub id; without it the tests' tiny model")
    parser.add_argument("--documents", type=int, default=2000)
    parser.add_argument("--runs", type=int, default=5, help="the median of so many runs is shown")
    arguments = parser.parse_args()

    model = arguments.model or str(cached_tiny_model())
    settings = {"name": "model", "engine": "transformers", "model": model, "dtype": "float32"}
    asker = open_asker(TransformersAnnotator.model_validate(settings), TOPIC)
    cutter, prompt = Cutter(asker.tokenizer, TOPIC.text), Prompt(TOPIC, asker.tokenizer.special)
    rows = labelled_texts("test", arguments.documents)
    documents = [cutter.cut(prompt.neutralise(row.text)).text for row in rows]
    questions = [Question(i.to_bytes(16, "big"), document) for i, document in enumerate(documents)]

    loop = plain_loop(model)
    ways: dict[str, Callable[[Sequence[Question]], Answers]] = {
        "engine transformers": lambda some: by_backend(asker, some),
        "plain loop": loop,
    }
    runs = {name: [timed(way, questions) for _ in range(arguments.runs)] for name, way in ways.items()}
    gold = {question.key: row.topic for question, row in zip(questions, rows, strict=True)}
    table = []
    for name, timings in runs.items():
        answers = timings[0][1]
        right = sum(TOPIC.answer.read(answers[key]) == topic for key, topic in gold.items()) / len(gold)
        table.append([name, len(questions) / statistics.median(seconds for seconds, _ in timings), f"{right:.1%}"])
    print_table([f"{torch.get_num_threads()} threads", "documents/s", "right"], table)


if __name__ == "__main__":
    main()
