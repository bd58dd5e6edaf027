"""The rule `gopher_rules`: the thresholds of Gopher's filters, as one condition."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pydantic import Field

from gristmill.operators.base import Rule
from gristmill.operators.measures.gopher import DESCRIPTIONS

SPACED = "for languages that write blanks between words"
ENGLISH = "for English"


def threshold(value: float, statistic: str, meant_for: str = "") -> Any:
    """Return the field of a statistic's threshold: by default the paper's, with the languages it is meant for."""
    description = DESCRIPTIONS[statistic] + (f" ({meant_for})" if meant_for else "")
    return Field(default=value, description=description)


class GopherRules(Rule):
    """Drops what Gopher's quality and repetition filters drop.

    Rae et al. 2021 (arXiv:2112.11446), appendix A1.1 and table A1, over the columns of the measure `gopher`: a document
    is dropped where a statistic lies below its minimum or above its maximum. null switches a threshold off.

    The thresholds are those of English web pages. `min_stop_words` counts English words: it drops what is written in
    any other language. What counts words takes them from between blanks: it drops most of Chinese, Japanese or Thai,
    and in languages of long words (Hungarian, Finnish) the mean length is another. With `languages: [en]` the rule
    judges the documents whose `language_column` is one of these; the rest pass and are counted. A second rule with
    other thresholds may judge them.

    Words are parted by white space. On the words of a linguistic tokenizer, which parts punctuation from words
    (datatrove's default is spaCy), the same `min_alpha_words` of 0.8 drops half of an ordinary corpus.
    """

    languages: tuple[str, ...] | None = Field(
        default=None,
        min_length=1,
        description="judge documents in these languages alone, as the language column spells them; others pass",
    )
    language_column: str = Field(
        default="lang",
        min_length=1,
        description="the column that `languages` looks at: metadata of the sources, or of the measure `language`",
    )
    min_words: int | None = threshold(50, "words", SPACED)
    max_words: int | None = threshold(100_000, "words", SPACED)
    min_mean_word_length: float | None = threshold(3, "mean_word_length", SPACED)
    max_mean_word_length: float | None = threshold(10, "mean_word_length", SPACED)
    max_symbol_ratio: float | None = threshold(0.1, "symbol_ratio", SPACED)
    max_bullet_lines: float | None = threshold(0.9, "bullet_lines")
    max_ellipsis_lines: float | None = threshold(0.3, "ellipsis_lines")
    min_alpha_words: float | None = threshold(0.8, "alpha_words", SPACED)
    min_stop_words: int | None = threshold(2, "stop_words", ENGLISH)
    max_dup_lines: float | None = threshold(0.3, "dup_lines")
    max_dup_paragraphs: float | None = threshold(0.3, "dup_paragraphs")
    max_dup_line_chars: float | None = threshold(0.2, "dup_line_chars")
    max_dup_paragraph_chars: float | None = threshold(0.2, "dup_paragraph_chars")
    max_top_2gram: float | None = threshold(0.2, "top_2gram", SPACED)
    max_top_3gram: float | None = threshold(0.18, "top_3gram", SPACED)
    max_top_4gram: float | None = threshold(0.16, "top_4gram", SPACED)
    max_dup_5grams: float | None = threshold(0.15, "dup_5grams", SPACED)
    max_dup_6grams: float | None = threshold(0.14, "dup_6grams", SPACED)
    max_dup_7grams: float | None = threshold(0.13, "dup_7grams", SPACED)
    max_dup_8grams: float | None = threshold(0.12, "dup_8grams", SPACED)
    max_dup_9grams: float | None = threshold(0.11, "dup_9grams", SPACED)
    max_dup_10grams: float | None = threshold(0.10, "dup_10grams", SPACED)

    def when(self) -> str:
        """Return the DuckDB expression that drops a document where it is true; "false" with every threshold off."""
        return " or ".join(f"{column} {sign} {limit!r}" for column, sign, limit in self._thresholds()) or "false"

    def reads(self) -> set[str]:
        """Return the columns gopher_* that have a threshold, and that of the language where it is asked for."""
        return {column for column, _, _ in self._thresholds()} | ({self.language_column} if self.languages else set())

    def meant_for(self) -> tuple[str, tuple[str, ...]] | None:
        """Return the column of the language, and the languages that are judged."""
        return (self.language_column, self.languages) if self.languages else None

    def _thresholds(self) -> Iterator[tuple[str, str, float]]:
        for name in type(self).model_fields:
            side, _, statistic = name.partition("_")
            limit = getattr(self, name)
            if side in ("min", "max") and limit is not None:
                yield f"gopher_{statistic}", "<" if side == "min" else ">", limit
