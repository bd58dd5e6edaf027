"""Tokens by kernel and by library: the same, whatever the text."""

from __future__ import annotations

import itertools
import json
import pickle
import random
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import tokenizers
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken, Regex, models, normalizers, pre_tokenizers, trainers

from gristmill.operators.byte_level import PATTERNS, character_classes
from gristmill.operators.kernels.byte_pairs import encode_texts
from gristmill.operators.kernels.characters import CLASSIFIED
from gristmill.operators.kernels.examples import EXAMPLES
from gristmill.operators.kernels.merging import byte_ranks, merge_table, word_table
from gristmill.operators.kernels.unicode_forms import may_compose
from gristmill.operators.tokenizer import TextTokenizer, open_tokenizer
from tests.support import sentences

GPT2, LLAMA3, QWEN2 = PATTERNS
PHRASES = (
    "It's what they'd say, we've seen; I'M SURE you'll agree... 12345 of 3.14 (or 2,718)!",
    "Все счастливые семьи похожи друг на друга, каждая несчастливая семья несчастлива по-своему.",
    "人人生而自由，在尊严和权利上一律平等。他们赋有理性和良心。",
    "सभी मनुष्यों को गौरव और अधिकारों के मामले में जन्मजात स्वतन्त्रता",
    "يولد جميع الناس أحرارًا متساوين في الكرامة والحقوق",
    "def f(x):\n\treturn {'key': x[0] ** 2}  # a comment\n\n\nif __name__ == '__main__':\n    f([1])\r\n",
    "naïve café, Straße, ŒUVRE — “quotes” «x» ¿qué? 🙂👍🏽",
)
ODD = ["'", "'", " ", " ", "\n", "\r", "\t", "\v", "\x85", "\xa0", "\u3000", "\u2003", "\u0301", "\u09be", "\x00"]
ODD += ["s", "S", "ſ", "t", "re", "VE", "ll", "d", "1", "23", "٣", "½", ".", "(", "“", "。", "😀", "é", "e", "中", "ж"]
ODD += ["<", "|", "<|endoftext|>", "<|im_start|>", "    ", "\u1e9b\u0323", "\u037e", "\uac00", "\u1161"]


def train(path: Path, model: Any = None, expression: str | None = None, alphabet: bool = True, **options: Any) -> Path:
    """Train a byte-level BPE tokenizer of 2,000 tokens; without an expression as GPT-2 has it."""
    tokenizer = tokenizers.Tokenizer(model or models.BPE())
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=options.get("blank", False), use_regex=expression is None)
    split = [] if expression is None else [pre_tokenizers.Split(Regex(expression), "isolated")]
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([*split, byte_level]) if split else byte_level
    if "normalizer" in options:
        tokenizer.normalizer = options["normalizer"]
    draw = random.Random(1)
    texts = [" ".join([sentences(i, 60), *draw.sample(PHRASES, 4)]) for i in range(400)]
    trainer = trainers.BpeTrainer(
        vocab_size=2000,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet() if alphabet else [],
        special_tokens=["<|endoftext|>", "<|im_start|>"],
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.add_tokens([AddedToken(token, normalized=True) for token in options.get("added", ())])
    tokenizer.add_special_tokens([AddedToken(token, lstrip=True) for token in options.get("stripping", ())])
    tokenizer.save(str(path))
    return path


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("tokenizers")
    return {
        "gpt2": train(folder / "gpt2.json"),
        "llama3": train(folder / "llama3.json", models.BPE(ignore_merges=True), LLAMA3),
        "qwen2": train(folder / "qwen2.json", None, QWEN2, normalizer=normalizers.NFC()),
        "blanks": train(folder / "b.json", blank=True, added=["  ", "    ", "ll", "é"], stripping=["<mask>"]),
        "few bytes": train(folder / "few.json", alphabet=False),
    }


@pytest.fixture(scope="module")
def opened(files: dict[str, Path]) -> dict[str, TextTokenizer]:
    return {kind: open_tokenizer(path, path.name) for kind, path in files.items()}


def library(path: Path) -> Any:
    tokenizer = tokenizers.Tokenizer.from_file(str(path))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def expected(path: Path, texts: list[str]) -> list[list[int]]:
    return [encoding.ids for encoding in library(path).encode_batch_fast(texts, add_special_tokens=False)]


def tokens_of(tokenizer: TextTokenizer, texts: pa.Array | list[str | None]) -> list[list[int]]:
    array = texts if isinstance(texts, pa.Array) else pa.array(texts, pa.large_string())
    tokens, offsets = tokenizer.encode(array)
    assert (tokens.dtype, offsets.dtype, len(tokens)) == (np.uint32, np.int64, offsets[-1])
    assert tokenizer.count(array).tolist() == np.diff(offsets).tolist()
    return [tokens[a:b].tolist() for a, b in itertools.pairwise(offsets)]


KINDS = ["gpt2", "llama3", "qwen2", "blanks", "few bytes"]
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)
MIXED = st.lists(st.sampled_from(ODD), max_size=60).map("".join)


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=60, deadline=None)
@given(texts=st.lists(TEXT | MIXED | st.sampled_from(PHRASES), max_size=12))
@example(texts=["", " ", "\n \n  \n x", "a\n\n  \n b", "(\n\n x", "'s's'S''s ''s\n's 'S", "a  'll", "x<mask>y <mask>"])
@example(texts=["x" * 16, "x" * 31, "é" * 15 + "x", "é" * 16, "1" * 70, "ab" * 32, "ab" * 33, " " * 130, "中" * 200])
def test_tokens_are_those_of_the_library(
    kind: str, texts: list[str], files: dict[str, Path], opened: dict[str, TextTokenizer]
) -> None:
    assert opened[kind].by_kernel
    assert tokens_of(opened[kind], texts) == expected(files[kind], texts)


def test_long_seeded_texts(files: dict[str, Path], opened: dict[str, TextTokenizer]) -> None:
    draw = random.Random(3)
    few = [piece for piece in ODD if piece in "' \n\r\t\xa0\u3000.“😀tS1é"]
    texts = ["".join(draw.choices(ODD if i % 2 else few, k=draw.randrange(700))) for i in range(400)]
    for kind in KINDS:
        assert tokens_of(opened[kind], texts) == expected(files[kind], texts)


def test_every_code_point_is_classed_as_the_library_does(
    files: dict[str, Path], opened: dict[str, TextTokenizer]
) -> None:
    every = [chr(c) for c in (*range(0xD800), *range(0xE000, CLASSIFIED))]
    texts = ["".join(f"a{c}.{c}" for c in every[i : i + 2000]) for i in range(0, len(every), 2000)]
    assert tokens_of(opened["gpt2"], texts) == expected(files["gpt2"], texts)


def test_classes_of_characters() -> None:
    higher = "".join(map(chr, range(CLASSIFIED, 0x110000)))
    for others in (r"\P{L}+", r"\P{N}+", r"\S+"):
        assert normalizers.Replace(Regex(others), "").normalize_str(higher) == ""
    assert [character_classes()[ord(c)] for c in "aж中1٣½ \n\u3000.😀\u0301"] == [1, 1, 1, 2, 2, 2, 4, 4, 4, 0, 0, 0]


def test_contractions_in_any_case(files: dict[str, Path], opened: dict[str, TextTokenizer]) -> None:
    """The library folds case by Unicode: any character after an apostrophe, then pairs of those that fold to ASCII."""
    alphabet = [chr(c) for c in range(0x20000) if not 0xD800 <= c < 0xE000]
    folding = [c for c in alphabet if c.casefold().isascii() and c.isalpha()]
    texts = ["".join(f"1'{c}es" for c in alphabet[i : i + 2000]) for i in range(0, len(alphabet), 2000)]
    texts += ["".join(f"1'{a}{b}es" for b in folding) for a in folding]
    assert tokens_of(opened["llama3"], texts) == expected(files["llama3"], texts)


@pytest.mark.parametrize("text", ["a", "ab", "7", " \n", "'s", "中"])
def test_long_words(text: str, files: dict[str, Path], opened: dict[str, TextTokenizer]) -> None:
    texts = [text * 100_000, "and more"]
    for kind in ("gpt2", "llama3"):
        assert tokens_of(opened[kind], texts) == expected(files[kind], texts)


def test_texts_of_one_letter(files: dict[str, Path], opened: dict[str, TextTokenizer]) -> None:
    """A megabyte, which the kernel merges, and more than it does."""
    texts = ["before", "a" * 1_000_000, "a" * 1_050_000, "after"]
    assert tokens_of(opened["gpt2"], texts) == expected(files["gpt2"], texts)


def test_nulls_slices_and_what_is_not_utf8(files: dict[str, Path], opened: dict[str, TextTokenizer]) -> None:
    texts = pa.array(["skipped", None, "", "two words", "<|endoftext|>x"], pa.large_string()).slice(1)
    broken = pa.array([b"a \xff\xfe b", b"\xed\xa0\x80", b"fine", b"\xc3"], pa.large_binary())
    damaged = pa.LargeStringArray.from_buffers(4, *broken.buffers()[1:])
    readable = [text.decode(errors="replace") for text in broken.to_pylist()]
    for kind in KINDS:
        assert tokens_of(opened[kind], texts) == expected(files[kind], ["", "", "two words", "<|endoftext|>x"])
        assert tokens_of(opened[kind], pa.array(["e\u0301 short", None])) == expected(
            files[kind], ["e\u0301 short", ""]
        )
        assert tokens_of(opened[kind], damaged) == expected(files[kind], readable)
        assert tokens_of(opened[kind], []) == []


def test_batches_threads_and_copies_agree(files: dict[str, Path], opened: dict[str, TextTokenizer]) -> None:
    draw = random.Random(5)
    texts = [" ".join([sentences(i, 40), *draw.sample(PHRASES, 3)]) for i in range(200)]
    array = pa.array(texts, pa.large_string())
    for kind in ("llama3", "blanks"):
        right = expected(files[kind], texts)
        copied = pickle.loads(pickle.dumps(opened[kind]))
        with ThreadPoolExecutor(4) as pool:
            for found in pool.map(lambda step, c=copied: _in_batches(c, array, step), [1, 7, 64, 200] * 2):
                assert found == right


def _in_batches(tokenizer: TextTokenizer, texts: pa.Array, size: int) -> list[list[int]]:
    batches = [texts.slice(start, size) for start in range(0, len(texts), size)]
    return [tokens for batch in batches for tokens in tokens_of(tokenizer, batch)]


def test_what_the_file_says_of_ids(files: dict[str, Path], opened: dict[str, TextTokenizer]) -> None:
    for kind, path in files.items():
        assert opened[kind].vocabulary == library(path).get_vocab_size()
        assert opened[kind].eos == 0


def _changed(path: Path, to: Path, **fields: Any) -> Path:
    content = json.loads(path.read_text())
    for name, value in fields.items():
        *parents, last = name.split("__")
        place = content
        for parent in parents:
            place = place[parent]
        place[last] = value
    to.write_text(json.dumps(content))
    return to


LEFT_TO_THE_LIBRARY = {
    "lower case": {"normalizer": {"type": "Lowercase"}},
    "another expression": {
        "pre_tokenizer": {
            "type": "Sequence",
            "pretokenizers": [
                {"type": "Split", "pattern": {"Regex": "."}, "behavior": "Isolated", "invert": False},
                {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False},
            ],
        }
    },
    "no expression": {"pre_tokenizer__use_regex": False},
    "white space": {"pre_tokenizer": {"type": "Whitespace"}},
    "nothing cut": {"pre_tokenizer": None},
    "suffix": {"model__end_of_word_suffix": "</w>"},
    "dropout": {"model__dropout": 1.0},
}


@pytest.mark.parametrize("name", LEFT_TO_THE_LIBRARY)
def test_what_is_not_known_is_left_to_the_library(name: str, files: dict[str, Path], tmp_path: Path) -> None:
    path = _changed(files["gpt2"], tmp_path / "tokenizer.json", **LEFT_TO_THE_LIBRARY[name])
    tokenizer = open_tokenizer(path, "tokenizer.json")
    assert not tokenizer.by_kernel
    texts = [*PHRASES, "Some text<|endoftext|>", ""]
    assert tokens_of(tokenizer, texts) == expected(path, texts)


def test_options_without_effect(files: dict[str, Path], tmp_path: Path) -> None:
    """Merges as one string, as files were written before, prefixes that are empty, truncation."""
    merges = [" ".join(pair) for pair in json.loads(files["gpt2"].read_text())["model"]["merges"]]
    empty = {"model__continuing_subword_prefix": "", "model__end_of_word_suffix": "", "model__dropout": 0.0}
    cut = {"direction": "Right", "max_length": 3, "strategy": "LongestFirst", "stride": 0}
    path = _changed(files["gpt2"], tmp_path / "t.json", model__merges=merges, truncation=cut, **empty)
    tokenizer = open_tokenizer(path, "t.json")
    assert tokenizer.by_kernel
    assert tokens_of(tokenizer, [*PHRASES]) == expected(files["gpt2"], [*PHRASES])


def test_other_models(tmp_path: Path) -> None:
    words = tokenizers.Tokenizer(models.WordLevel({"[UNK]": 0, "two": 7, "</s>": 9}, unk_token="[UNK]"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    words.save(str(tmp_path / "words.json"))
    tokenizer = open_tokenizer(tmp_path / "words.json", "words.json")
    assert (tokenizer.by_kernel, tokenizer.vocabulary, tokenizer.eos) == (False, 10, 9)
    assert tokens_of(tokenizer, ["two more", None, "two"]) == [[7, 0], [], [7]]


def test_kernels_are_compiled_before_for_what_they_are_called_with(opened: dict[str, TextTokenizer]) -> None:
    for kind in KINDS:
        tokens_of(opened[kind], ["some text", "é\u0301"])
    for kernel, arguments in EXAMPLES["byte_pairs"]():
        kernel(*arguments)
    for kernel in (encode_texts, merge_table, byte_ranks, word_table, may_compose):
        assert len(kernel._entry.signatures) == 1, kernel
