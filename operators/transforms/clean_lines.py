"""The transform `clean_lines`: lines go by the rules of C4, RefinedWeb or DCLM."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pydantic import AfterValidator, Field, model_validator

from gristmill.operators.arrays import column, text_array
from gristmill.operators.base import (
    Files,
    MeasuringTransformFunction,
    Transform,
    Transformed,
    TransformFunction,
    field,
)
from gristmill.operators.kernels.buffers import text_buffers
from gristmill.operators.kernels.line_characters import line_classes
from gristmill.operators.kernels.line_rules import TAKERS, LineRules, LineShape, clean_texts_by_line
from gristmill.operators.kernels.page import FILLER
from gristmill.operators.kernels.phrases import SHORTEST_PHRASE, phrases


def _check_phrase(value: str) -> str:
    if len(value.encode()) < SHORTEST_PHRASE or "\n" in value:
        raise ValueError(f"a phrase has {SHORTEST_PHRASE} bytes or more, and no line feed, unlike {value!r}")
    return value


Phrase = Annotated[str, AfterValidator(_check_phrase)]

_REFINEDWEB: Mapping[str, Any] = {
    "max_uppercase": 0.5,
    "max_digits": 0.999999,
    "counters": (
        *("likes", "shares", "comments", "retweets", "reposts", "quotes", "bookmarks", "upvotes", "downvotes"),
        *("downloads", "views", "followers"),
    ),
    "min_words": 2,
    "cut_anywhere": ("items in cart",),
    "cut_at_end": ("Read more...",),
    "cut_at_start": ("Sign-in",),
}
#: The published values, by corpus: what is not named is switched off.
PUBLISHED: Mapping[str, Mapping[str, Any]] = {
    "c4": {
        "strip": True,
        "max_empty_lines": 0,
        "max_word_length": 1000,
        "citations": True,
        "end_marks": ".?!\"'",
        "ellipses": True,
        "min_words": 3,
        "script_words": ("javascript",),
        "policy_phrases": (
            "terms of use",
            "privacy policy",
            "cookie policy",
            "uses cookies",
            "use of cookies",
            "use cookies",
        ),
    },
    "refinedweb": _REFINEDWEB,
    "dclm": {**_REFINEDWEB, "max_empty_lines": 1},
}
_EDITED = ("[edit]", "[citation needed]")
_OFF = 1 << 62  #: a length that no line has


def _option(name: str, description: str, off: Any = None, **constraints: Any) -> Any:
    """Return the field of a rule, switched off by default, with the published values in its description."""
    shown: dict[str, list[str]] = {}
    for corpus, values in PUBLISHED.items():
        if name in values:
            value = values[name]
            text = ", ".join(value) if isinstance(value, tuple) else str(value).lower()
            shown.setdefault(text, []).append(corpus)
    published = "; ".join(f"{' and '.join(corpora)}: {text}" for text, corpora in shown.items())
    return Field(default=off, description=f"{description} ({published})", **constraints)


class CleanLines(Transform):
    """Takes lines out of texts by the published rules of a web corpus: `clean_lines: c4`, `refinedweb` or `dclm`.

    Each rule is an option whose value is the published one; another value changes it, null or false switches it off.
    They look at a line in the order in which the options stand here.

    - c4: Raffel et al. 2020 (arXiv:1910.10683), section 2.2, and the code of its release: lines that do not end in
      punctuation, of few words, of a very long word, on JavaScript or with phrases of policies go, and so do
      citations. A line with "lorem ipsum", or with a phrase of a policy and `{`, is left for `c4_rules`, which drops
      the page for it, as that code does.
    - refinedweb: Penedo et al. 2023 (arXiv:2306.01116), appendix G.2: lines of capitals, of digits, of a single word
      and counters ("3 likes") go; call-to-action phrases are cut from short lines, which go where nothing is left. The
      values are those of DCLM's reproduction (Li et al. 2024, arXiv:2406.11794), for RefinedWeb's code is not public.
    - dclm: the same, and of empty lines in a row one stays.

    A line ends at a line feed. Lines that stay are joined by line feeds; but for `strip` and what is cut they stay byte
    for byte. Words are runs of characters without white space. An empty line is looked at by `max_empty_lines` alone; a
    line of white space is one of no words. Phrases, and what is counted, are found in either case of ASCII letters.

    `removed_words` is the share of a text's words that went: RefinedWeb and DCLM drop a page where it exceeds 0.05
    (`dclm_rules`).
    """

    shorthand: ClassVar[str | None] = "rules"
    removes_lines: ClassVar[bool] = True

    rules: Literal["c4", "refinedweb", "dclm"] = Field(description="the corpus whose values the other options have")
    strip: bool = _option("strip", "white space at both ends of each line goes, and at those of the text", False)
    max_word_length: int | None = _option("max_word_length", "characters that a word may have", ge=1)
    citations: bool = _option("citations", "[12], [], [edit] and [citation needed] are taken out of lines", False)
    end_marks: str | None = _option("end_marks", "characters of which the last of a line must be one", min_length=1)
    ellipses: bool = _option("ellipses", "lines that end in ... go", False)
    max_uppercase: float | None = _option("max_uppercase", "share of capitals that a line may have", ge=0, le=1)
    max_digits: float | None = _option("max_digits", "share of digits that a line may have", ge=0, le=1)
    counters: tuple[Phrase, ...] | None = _option("counters", "lines go that are a number of these and nothing else")
    min_words: int | None = _option("min_words", "words that a line must have, citations counted", ge=0)
    script_words: tuple[Phrase, ...] | None = _option("script_words", "lines with one of these go")
    policy_phrases: tuple[Phrase, ...] | None = _option("policy_phrases", "lines with one of these go")
    cut_anywhere: tuple[Phrase, ...] | None = _option("cut_anywhere", "phrases cut wherever they stand")
    cut_at_end: tuple[Phrase, ...] | None = _option("cut_at_end", "phrases cut at the end of a line")
    cut_at_start: tuple[Phrase, ...] | None = _option("cut_at_start", "phrases cut at the start of a line")
    cut_max_words: int = Field(default=10, ge=0, description="words of the longest line that phrases are cut from")
    max_empty_lines: int | None = _option("max_empty_lines", "empty lines in a row that stay", ge=0)
    column: str = Field(default="removed_words", min_length=1, description="name of the column of the share of words")

    @model_validator(mode="before")
    @classmethod
    def _take_published(cls, value: Any) -> Any:
        options = {"rules": value} if isinstance(value, str) else value
        if not isinstance(options, dict):
            return options
        corpus = options.get("rules")
        return {**PUBLISHED.get(corpus if isinstance(corpus, str) else "", {}), **options}

    def gives(self) -> pa.Schema:
        """Return the column of the share of words that went."""
        return pa.schema([field(self.column, pa.float64(), "share of the text's words that clean_lines removed")])

    def kernels(self) -> tuple[str, ...]:
        """Return the group of kernels that it calls."""
        return ("clean_lines",)

    def open(self, files: Files) -> TransformFunction:
        """Return a thread-safe function from texts (n) to the texts (n) without the lines."""
        clean = self.open_measuring(files)
        return lambda texts: clean(texts).texts

    def open_measuring(self, files: Files) -> MeasuringTransformFunction:
        """Return a thread-safe function from texts (n) to the texts (n) without the lines, and the column (n rows)."""
        rules, table, schema, nothing = self._line_rules(), line_classes(), self.gives(), np.zeros(0, np.uint8)

        def clean(texts: pa.LargeStringArray) -> Transformed:
            data, offsets = text_buffers(texts)
            rest, new_offsets, before, after = clean_texts_by_line(data, offsets, rules, table, nothing)
            share = (before - after) / np.maximum(before, 1)
            columns = pa.record_batch([column(share, texts, pa.float64())], schema=schema)
            unchanged = new_offsets[-1] == offsets[-1] - offsets[0]  # whatever is taken has at least one byte
            return Transformed(texts if unchanged else text_array(texts, rest, new_offsets), columns)

        return clean

    def removed_lines(self, text: str) -> list[tuple[str, str]]:
        """Return the lines that go from a text, each after the option that takes it, in the order of the text."""
        lines = text.split("\n") if text else []
        takers: NDArray[np.uint8] = np.zeros(len(lines), np.uint8)
        data, offsets = text_buffers(pa.array([text], pa.large_string()))
        clean_texts_by_line(data, offsets, self._line_rules(), line_classes(), takers)
        return [(TAKERS[taker], line) for taker, line in zip(takers, lines, strict=True) if taker]

    def _line_rules(self) -> LineRules:
        """Return the options as the kernel takes them."""
        shape = LineShape(
            strip=self.strip,
            max_empty_lines=-1 if self.max_empty_lines is None else self.max_empty_lines,
            max_word_length=_OFF if self.max_word_length is None else self.max_word_length,
            citations=self.citations,
            ellipses=self.ellipses,
            max_uppercase=1.0 if self.max_uppercase is None else self.max_uppercase,
            max_digits=1.0 if self.max_digits is None else self.max_digits,
            counters=bool(self.counters),
            min_words=self.min_words or 0,
            cut_max_words=self.cut_max_words,
        )
        searched = (self.script_words, self.policy_phrases, self.cut_anywhere, self.cut_at_end, self.cut_at_start)
        table = phrases([kind or () for kind in searched], [FILLER, self.counters or (), _EDITED])
        return LineRules(shape, _code_points(self.end_marks or ""), table)


def _code_points(characters: str) -> NDArray[np.int64]:
    values = np.array([ord(c) for c in characters], np.int64)
    values.flags.writeable = False
    return values
