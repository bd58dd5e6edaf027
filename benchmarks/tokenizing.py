"""Tokens: speed per core beside the `tokenizers` library and tiktoken, with the same tokenizers, on the same texts.

    python -m benchmarks.tokenizing

Byte-level BPE tokenizers of 50,257 entries are trained on the benchmark corpus, once, with GPT-2's regular expression
and with that of cl100k (as Llama 3 has it). The library encodes a list of Python strings with its fastest call
(`encode_batch_fast`) in one thread, ours Arrow texts in batches as `tokens` gets them; both know the words of a run
before when they are timed. tiktoken, where it is installed, is given the same merges. All tokens are compared.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import tokenizers
from tokenizers import Regex, models, pre_tokenizers, trainers

from benchmarks.common import bench_texts, median_seconds, print_table, size_of
from benchmarks.corpus import WORK
from gristmill.operators.byte_level import PATTERNS, byte_alphabet
from gristmill.operators.tokenizer import open_tokenizer

NAMES = ("GPT-2", "cl100k")
ENTRIES = 50_257
BATCH = 256


def main() -> None:
    """Print the table."""
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--megabytes", type=float, default=40, help="how much text")
    parser.add_argument("--peer-megabytes", type=float, default=5, help="how much of it the peers get")
    parser.add_argument("--runs", type=int, default=5)
    options = parser.parse_args()
    rows = [
        (name, *speeds(name, expression, options.megabytes, options.peer_megabytes, options.runs))
        for name, expression in zip(NAMES, PATTERNS, strict=False)
    ]
    header = (
        "expression",
        "opened s",
        "encode MB/s",
        "count MB/s",
        "tokenizers MB/s",
        "ratio",
        "tiktoken MB/s",
        "ratio",
    )
    print_table(header, rows)


def trained(name: str, expression: str) -> Path:
    """A tokenizer trained on 30 MB of the benchmark corpus; made once."""
    path = WORK / f"tokenizer-{name}-{ENTRIES}.json"
    if not path.exists():
        WORK.mkdir(parents=True, exist_ok=True)
        tokenizer = tokenizers.Tokenizer(models.BPE(ignore_merges=name != "GPT-2"))
        split = pre_tokenizers.Split(Regex(expression), "isolated")
        bytes_only = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
        with_expression = pre_tokenizers.ByteLevel(add_prefix_space=False)
        tokenizer.pre_tokenizer = with_expression if name == "GPT-2" else pre_tokenizers.Sequence([split, bytes_only])
        trainer = trainers.BpeTrainer(
            vocab_size=ENTRIES,
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            special_tokens=["<|endoftext|>"],
            show_progress=False,
        )
        tokenizer.train_from_iterator(bench_texts(30).to_pylist(), trainer)
        tokenizer.save(str(path))
    return path


def speeds(name: str, expression: str, megabytes: float, peer_megabytes: float, runs: int) -> tuple[object, ...]:
    """Seconds to open ours, MB/s of ours and of the peers, and ratios."""
    path = trained(name, expression)
    start = time.thread_time()
    ours = open_tokenizer(path, path.name)
    opened = time.thread_time() - start
    texts = bench_texts(megabytes)
    batches = [texts.slice(start, BATCH) for start in range(0, len(texts), BATCH)]
    megabytes = size_of(texts) / 1e6
    encoded = megabytes / median_seconds(lambda: [ours.encode(batch) for batch in batches], runs)
    counted = megabytes / median_seconds(lambda: [ours.count(batch) for batch in batches], runs)

    few = bench_texts(peer_megabytes)
    strings, right = few.to_pylist(), ours.encode(few)[0]
    library = tokenizers.Tokenizer.from_file(str(path))
    peers: list[object] = []
    for encode in (partial(_by_library, library), _by_tiktoken(library, expression)):
        if encode is None:
            peers += ["not installed", ""]
            continue
        assert np.array_equal(np.concatenate(encode(strings)), right), "other tokens"
        theirs = size_of(few) / 1e6 / median_seconds(partial(encode, strings), runs)
        peers += [theirs, encoded / theirs]
    return opened, encoded, counted, *peers


def _by_library(library: tokenizers.Tokenizer, texts: list[str]) -> list[list[int]]:
    return [encoding.ids for encoding in library.encode_batch_fast(texts, add_special_tokens=False)]


def _by_tiktoken(library: tokenizers.Tokenizer, expression: str) -> Callable[[list[str]], list[list[int]]] | None:
    try:
        import tiktoken
    except ImportError:
        return None
    of_character = {character: byte for byte, character in enumerate(byte_alphabet())}
    special = "<|endoftext|>"
    ranks = {
        bytes(of_character[character] for character in token): rank
        for token, rank in library.get_vocab().items()
        if token != special
    }
    encoding = tiktoken.Encoding(
        "trained", pat_str=expression, mergeable_ranks=ranks, special_tokens={special: library.token_to_id(special)}
    )
    return lambda texts: [encoding.encode(text, allowed_special="all") for text in texts]


if __name__ == "__main__":
    main()
