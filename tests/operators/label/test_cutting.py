"""Cutting against the tokens of a real tokenizer, one by one."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import pytest
import tokenizers
from hypothesis import given
from hypothesis import strategies as st

from gristmill.operators.label.contract import Tokenizer
from gristmill.operators.label.prompt import LEFT_OUT, Cut, Cutter, Estimate
from gristmill.operators.label.task import TextPart
from gristmill.pipelines.label.models import HubTokenizer
from tests.support import sentences

TAKES = ["head", "tail", "head_and_tail"]
TEXTS = st.text(max_size=60) | st.lists(
    st.sampled_from(["the ", "river", " stone", "\n", "é", "語言", "😀", "  ", "x", "1"]), max_size=40
).map("".join)


@lru_cache
def byte_level() -> HubTokenizer:
    """A byte-level BPE that knows English: a character of other scripts is several tokens."""
    made = tokenizers.Tokenizer(tokenizers.models.BPE())
    made.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = tokenizers.pre_tokenizers.ByteLevel.alphabet()
    trainer = tokenizers.trainers.BpeTrainer(vocab_size=600, initial_alphabet=alphabet, show_progress=False)
    made.train_from_iterator([sentences(1, 2000)], trainer)
    return HubTokenizer(made)


def cutter(tokenizer: Tokenizer, max_tokens: int, take: Any) -> Cutter:
    return Cutter(tokenizer, TextPart(max_tokens=max_tokens, take=take))


def sizes(max_tokens: int, take: str) -> tuple[int, int]:
    return {"head": (max_tokens, 0), "tail": (0, max_tokens)}.get(take, ((max_tokens + 1) // 2, max_tokens // 2))


def brute_force(text: str, max_tokens: int, take: str) -> Cut:
    """The longest beginning and end whose characters lie in the first and last tokens, character by character."""
    spans = byte_level().spans(text)
    if len(spans) <= max_tokens:
        return Cut(text, 0)
    head, tail = sizes(max_tokens, take)
    owners = [[i for i, (start, end) in enumerate(spans) if start <= at < end] for at in range(len(text))]
    kept_head = next((at for at, own in enumerate(owners) if own[-1] >= head), len(text))
    kept_tail = next((at for at in range(len(text), 0, -1) if owners[at - 1][0] < len(spans) - tail), 0)
    kept = [own for at, own in enumerate(owners) if at < kept_head or at >= kept_tail]
    return Cut(text[:kept_head] + LEFT_OUT + text[kept_tail:], len(spans) - len({i for own in kept for i in own}))


@given(TEXTS, st.integers(1, 20), st.sampled_from(TAKES))
def test_cut_against_brute_force(text: str, max_tokens: int, take: str) -> None:
    if len(text) <= 2 * 16 * max_tokens:
        assert cutter(byte_level(), max_tokens, take).cut(text) == brute_force(text, max_tokens, take)


@pytest.mark.parametrize("tokenizer", ["byte_level", "estimate"])
@given(text=TEXTS, max_tokens=st.integers(1, 20), take=st.sampled_from(TAKES))
def test_what_is_kept_is_the_beginning_and_the_end(tokenizer: str, text: str, max_tokens: int, take: str) -> None:
    own = byte_level() if tokenizer == "byte_level" else Estimate()
    cut = cutter(own, max_tokens, take).cut(text)
    if cut.cut_tokens == 0:
        assert cut.text == text
        return
    head, tail = cut.text.split(LEFT_OUT)
    assert text.startswith(head)
    assert text.endswith(tail)
    assert (head == "") >= (take == "tail")
    assert (tail == "") >= (take == "head")
    assert len(head) + len(tail) <= len(text)


@pytest.mark.parametrize("take", TAKES)
@pytest.mark.parametrize("max_tokens", [1, 2, 7, 100])
def test_the_ends_of_a_very_long_text(take: str, max_tokens: int) -> None:
    text = sentences(5, 5000)
    spans = byte_level().spans(text)
    assert len(text) > 2 * 16 * max_tokens
    cut = cutter(byte_level(), max_tokens, take).cut(text)
    head, tail = sizes(max_tokens, take)
    kept_head, kept_tail = cut.text.split(LEFT_OUT)
    assert kept_head == (text[: spans[head - 1][1]] if head else "")
    assert kept_tail == (text[spans[-tail][0] :] if tail else "")
    assert cut.cut_tokens == pytest.approx(len(spans) - max_tokens, rel=0.15 if max_tokens == 100 else 0.6)


@given(st.sampled_from(["語", "😀", "é", "\U0010ffff"]), st.integers(1, 12), st.sampled_from(TAKES))
def test_characters_of_several_tokens_stay_whole(character: str, max_tokens: int, take: str) -> None:
    each = byte_level().count([character])[0]
    assert each >= 2
    head, tail = sizes(max_tokens, take)
    cut = cutter(byte_level(), max_tokens, take).cut(character * 20)
    assert cut.text == character * (head // each) + LEFT_OUT + character * (tail // each)
    assert cut.cut_tokens == each * (20 - head // each - tail // each)


def test_short_texts_are_not_looked_at() -> None:
    class Untouched:
        exact = True
        special: frozenset[str] = frozenset()

        def count(self, texts: Any) -> list[int]:
            raise AssertionError("counted")

        spans = count

    own = cutter(Untouched(), 12, "head")
    for text in ("", "x" * 12, "語" * 4, "é" * 6, "😀" * 3):
        assert own.cut(text) == Cut(text, 0)
    with pytest.raises(AssertionError, match="counted"):
        own.cut("語" * 4 + "x")


def test_long_texts_are_looked_at_near_their_ends_only() -> None:
    class Recorded(Estimate):
        seen = 0

        def spans(self, text: str) -> list[tuple[int, int]]:
            self.seen += len(text)
            return super().spans(text)

    tokenizer = Recorded()
    cut = cutter(tokenizer, 1000, "head_and_tail").cut("a river and a stone. " * 500_000)
    assert tokenizer.seen == 2 * 16 * 1000
    assert cut.cut_tokens == pytest.approx(Estimate().count(["a river and a stone. " * 500_000])[0] - 1000, rel=0.01)


def test_an_end_with_fewer_tokens_than_asked_for_is_kept_whole() -> None:
    class Wide(Estimate):
        """A token for each hundred characters."""

        def spans(self, text: str) -> list[tuple[int, int]]:
            return [(i, min(i + 100, len(text))) for i in range(0, len(text), 100)]

    cut = cutter(Wide(), 10, "head").cut("x" * 10_000)
    assert cut == Cut("x" * 160 + LEFT_OUT, 10_000 * 4 // 320 - 2)  # each end has two tokens, the last one in part


@given(TEXTS)
def test_the_pieces_of_an_estimate_cover_the_text(text: str) -> None:
    spans = Estimate().spans(text)
    assert len(spans) == Estimate().count([text])[0]
    assert [place for span in spans for place in span][1:-1:2] == [start for start, _ in spans[1:]]
    if spans:
        assert (spans[0][0], spans[-1][1]) == (0, len(text))
