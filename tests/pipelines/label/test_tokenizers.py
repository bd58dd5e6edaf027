"""Tokenizers of models, from where they are kept."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import pytest
import tokenizers

from gristmill.operators.errors import RecipeError
from gristmill.pipelines.label.models import HubTokenizer, load_tokenizer

SPECIAL = ["<|im_start|>", "<|im_end|>"]
ADDED = ["<think>", "<tool call>", "covid", "two words", "😀", "    ", "x"]


@pytest.fixture(scope="module")
def made() -> Any:
    tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE())
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = tokenizers.pre_tokenizers.ByteLevel.alphabet()
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=300, initial_alphabet=alphabet, special_tokens=SPECIAL, show_progress=False
    )
    tokenizer.train_from_iterator(["the river and the stone " * 9], trainer)
    tokenizer.add_tokens(ADDED)
    tokenizer.enable_truncation(4)
    tokenizer.enable_padding(length=16)
    tokenizer.post_processor = tokenizers.processors.TemplateProcessing(
        single="<|im_start|> $0 <|im_end|>", special_tokens=[(token, tokenizer.token_to_id(token)) for token in SPECIAL]
    )
    return tokenizer


@pytest.fixture
def folder(made: Any, tmp_path: Path) -> Path:
    made.save(str(tmp_path / "tokenizer.json"))
    return tmp_path


def test_whole_texts_are_counted_whatever_the_file_says(folder: Path) -> None:
    tokenizer = load_tokenizer(str(folder))
    assert tokenizer.exact
    texts = ["", "the", "the river and the stone " * 50, "語", "qz" * 30, *map(str, range(100))]
    counts = tokenizer.count(texts)
    assert counts == [len(tokenizer.spans(text)) for text in texts]
    assert counts[0] == 0
    assert counts[4] == 60
    assert tokenizer.count([]) == []


def test_spans_are_in_characters(folder: Path) -> None:
    text = "é語😉 the"
    spans = load_tokenizer(str(folder / "tokenizer.json")).spans(text)
    assert spans[:2] == [(0, 1), (0, 1)]
    assert {text[start:end] for start, end in spans} >= {"é", "語", "😉"}
    assert spans[-1][1] == len(text)


def test_what_a_template_may_use_is_special_and_words_are_not(folder: Path) -> None:
    assert load_tokenizer(str(folder)).special == {*SPECIAL, "<think>", "<tool call>"}


def test_tokenizers_travel_between_processes(folder: Path) -> None:
    tokenizer = load_tokenizer(str(folder))
    again = pickle.loads(pickle.dumps(tokenizer))
    assert isinstance(again, HubTokenizer)
    assert again.special == tokenizer.special
    assert again.count(["the river", "語" * 9]) == tokenizer.count(["the river", "語" * 9])


def test_a_copy_leaves_the_tokenizer_as_it_is(folder: Path) -> None:
    shared = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
    assert HubTokenizer.copied(shared).count(["river " * 30])[0] > 16
    assert len(shared.encode("river " * 30).ids) == 16


def test_a_folder_without_a_tokenizer(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"the folder .* holds no tokenizer.json; save"):
        load_tokenizer(str(tmp_path))


def test_a_file_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text('{"version": "1.0"}')
    with pytest.raises(RecipeError, match=r"tokenizer.json is no tokenizer that can be read \(.+\); give a model's"):
        load_tokenizer(str(tmp_path / "tokenizer.json"))


@pytest.mark.parametrize(("revision", "asked"), [(None, "main"), ("abc123", "abc123")])
def test_a_model_that_the_hub_does_not_give(monkeypatch: pytest.MonkeyPatch, revision: str | None, asked: str) -> None:
    def refuse(name: str, revision: str) -> None:
        raise OSError(f"{name} at {revision} cannot be reached")

    monkeypatch.setattr(tokenizers, "Tokenizer", type("Tokenizer", (), {"from_pretrained": staticmethod(refuse)}))
    with pytest.raises(
        RecipeError, match=rf"some/model is no tokenizer .*some/model at {asked} cannot be reached.* the id"
    ):
        load_tokenizer("some/model", revision)


def test_without_the_library_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "tokenizers", None)
    with pytest.raises(RecipeError, match=r"pip install 'gristmill\[tokenizers\]'"):
        load_tokenizer("some/model")
