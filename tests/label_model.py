"""A real language model, small enough to be trained for a test: it names the topic of a news text.

A byte-level BPE tokenizer of 2,048 entries with a chat template of its own and a Llama of two layers, trained on the
prompts of a labelling task. It knows two tasks: TOPIC (a choice) and TOPICS (multi-label; one of them fits).
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
import os
import random
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow.parquet as pq

from gristmill.operators.label.answers import LETTERS
from gristmill.operators.label.prompt import Prompt
from gristmill.operators.label.task import TaskQuestion
from tests.support import DATA, WORDS

CACHE = Path(__file__).parents[1] / ".pytest_cache"
CONTEXT = 512  # tokens
SEED = 7
STEPS = 700
BATCH = 8
LEARNING_RATE = 1e-3
DOCUMENT_TOKENS = 64
MULTI_SHARE = 0.3  # of texts and batches; the rest asks for one topic

_TOPIC_WORDS = {
    "World": "government president minister election troops peace border treaty embassy parliament",
    "Sports": "match season goal coach league champion players score stadium tournament",
    "Business": "shares profit company investors bank market earnings prices trade economy",
    "Science": "software computer internet researchers space network phone scientists data device",
}
TOPICS_OF_DATA = {"World": "World", "Sports": "Sports", "Business": "Business", "Sci/Tech": "Science"}
_LABELS = {"World": "politics and conflicts", "Sports": "sport", "Business": "money", "Science": "science, computers"}
_TEXT = {"max_tokens": DOCUMENT_TOKENS, "take": "head"}
TOPIC = TaskQuestion.model_validate({"instruction": "Name the topic.", "answer": {"choice": _LABELS}, "text": _TEXT})
TOPICS = TaskQuestion.model_validate({"instruction": "Which topics fit?", "answer": {"multi": _LABELS}, "text": _TEXT})

START, END, PAD = "<|im_start|>", "<|im_end|>", "<|pad|>"
TEMPLATE = (
    "{% for message in messages %}" + START + "{{ message['role'] }}\n{{ message['content'] }}" + END + "\n{% endfor %}"
    "{% if add_generation_prompt %}" + START + "assistant\n{% endif %}"
)


class Labelled(NamedTuple):
    """A text and the topic that people gave it."""

    text: str
    topic: str


class Row(NamedTuple):
    """Tokens of what comes after the common beginning of all prompts, and of the answer with the end of the turn."""

    asking: list[int]
    answer: list[int]


def labelled_texts(part: str, most: int | None = None) -> list[Labelled]:
    """Texts of AG News where they are at hand, else made of topic words. part: "train", or "test" (held out)."""
    path = DATA / "labelled" / f"agnews_{part}.parquet"
    if not path.exists():
        return _made_texts(part, most or (8000 if part == "train" else 1000))
    rows = pq.read_table(path, columns=["text", "label_name"]).to_pylist()
    random.Random(SEED).shuffle(rows)
    return [Labelled(row["text"], TOPICS_OF_DATA[row["label_name"]]) for row in rows[:most]]


def _made_texts(part: str, n: int) -> list[Labelled]:
    draw = random.Random(f"{SEED} {part}")
    made = []
    for _ in range(n):
        topic = draw.choice(list(_TOPIC_WORDS))
        told = draw.choices(_TOPIC_WORDS[topic].split(), k=draw.randint(2, 6))
        words = draw.choices(WORDS, k=draw.randint(12, 50)) + told
        draw.shuffle(words)
        made.append(Labelled(" ".join(words).capitalize() + ".", topic))
    return made


def cached_tiny_model() -> Path:
    """The folder of the model, trained now or by an earlier run of the tests of this checkout."""
    folder = CACHE / f"gristmill-tiny-model-{_digest()}"
    if not folder.exists():
        CACHE.mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="gristmill-tiny-model.unfinished-", dir=CACHE) as unfinished:
            trained = tiny_model(Path(unfinished) / "model")
            with contextlib.suppress(OSError):  # another run was first
                os.rename(trained, folder)
    return folder


def _digest() -> str:
    prompts = [Prompt(asked).messages("") for asked in (TOPIC, TOPICS)]
    libraries = {name: version(name) for name in ("torch", "transformers", "tokenizers")}
    told = [Path(__file__).read_text(), prompts, libraries, (DATA / "labelled").exists()]
    return hashlib.blake2b(json.dumps(told).encode(), digest_size=8).hexdigest()


def tiny_model(folder: Path) -> Path:
    """Train tokenizer and model into a folder, the same each time; 0.8 of held-out AG News right."""
    import torch

    texts = labelled_texts("train")
    tokenizer = _train_tokenizer([row.text for row in texts])
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # the same sums on every machine, and no waiting for one another on a busy one
    with torch.random.fork_rng():
        torch.manual_seed(SEED)
        model = _train(tokenizer, texts)
    torch.set_num_threads(threads)
    tokenizer.save_pretrained(folder)
    model.save_pretrained(folder)
    return folder


def _train_tokenizer(texts: list[str]) -> Any:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=2048,
        special_tokens=[PAD, START, END],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    # Often enough that each blank with a code becomes one token, and each word of the prompts.
    codes = [" " + " ".join(LETTERS + "0123456789")] * 2000
    prompts = [turn["content"] for asked in (TOPIC, TOPICS) for turn in Prompt(asked).messages("")] * 500
    tokenizer.train_from_iterator(codes + prompts + texts, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token=PAD, eos_token=END, model_max_length=CONTEXT, chat_template=TEMPLATE
    )


def _new_model(tokenizer: Any) -> Any:
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=2048,
        hidden_size=128,
        intermediate_size=384,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=CONTEXT,
        tie_word_embeddings=True,
        initializer_range=0.08,  # at the usual 0.02 so small a model stays at chance for all its training
        bos_token_id=None,
        eos_token_id=tokenizer.convert_tokens_to_ids(END),
        pad_token_id=tokenizer.convert_tokens_to_ids(PAD),
    )
    return LlamaForCausalLM(config)


def _train(tokenizer: Any, texts: list[Labelled]) -> Any:
    """AdamW, loss on the tokens of the answer and on the end of the turn."""
    import torch

    model = _new_model(tokenizer).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=LEARNING_RATE, total_steps=STEPS, pct_start=0.1)
    multi = round(MULTI_SHARE * len(texts))
    one, many = _rows(tokenizer, TOPIC, texts[multi:]), _rows(tokenizer, TOPICS, texts[:multi])
    draw = random.Random(SEED)
    for _ in range(STEPS):
        rows, shared = many if draw.random() < MULTI_SHARE else one
        loss = _loss(model, draw.sample(rows, BATCH), shared)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
    return model.eval()


def _rows(tokenizer: Any, asked: TaskQuestion, texts: list[Labelled]) -> tuple[list[Row], list[int]]:
    """Prompts with their answers, and the tokens that all of them begin with."""
    prompt, answer = Prompt(asked), asked.answer
    cut = tokenizer([row.text for row in texts], truncation=True, max_length=DOCUMENT_TOKENS)["input_ids"]
    turns = [prompt.messages(prompt.neutralise(document)) for document in tokenizer.batch_decode(cut)]
    asking = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
    answers = [answer.completion(answer.canonical(row.topic if asked is TOPIC else [row.topic])) for row in texts]
    sides = (tokenizer(side, add_special_tokens=False)["input_ids"] for side in (asking, [a + END for a in answers]))
    pairs = list(zip(*sides, strict=True))
    shared = _common_beginning([a for a, _ in pairs[:1000]])
    return [Row(a[len(shared) :], b) for a, b in pairs if a[: len(shared)] == shared], shared


def _common_beginning(rows: list[list[int]]) -> list[int]:
    columns = itertools.takewhile(lambda column: len(set(column)) == 1, zip(*rows, strict=False))
    return [column[0] for column in columns]


def _loss(model: Any, batch: list[Row], shared: list[int]) -> Any:
    import torch
    from transformers import DynamicCache

    cache = DynamicCache(config=model.config)
    model.model(torch.tensor([shared]), past_key_values=cache)
    cache.batch_repeat_interleave(len(batch))
    # Padded at the right: no token sees what comes after it, so no mask is needed.
    longest = max(len(asking) + len(answer) for asking, answer in batch)
    ids = [[*asking, *answer] + [0] * (longest - len(asking) - len(answer)) for asking, answer in batch]
    hidden = model.model(torch.tensor(ids), past_key_values=cache).last_hidden_state
    places = [(i, len(a) - 1 + j, token) for i, (a, answer) in enumerate(batch) for j, token in enumerate(answer)]
    row, column, target = torch.tensor(places).T
    return torch.nn.functional.cross_entropy(model.lm_head(hidden[row, column]), target)
