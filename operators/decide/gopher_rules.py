"""The rule `gopher_rules`: the thresholds of Gopher's filters, as one condition."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pydantic import Field

from operators.base import Rule
from operators.measure.gopher import DESCRIPTIONS


def threshold(value: float, statistic: str) -> Any:
    """A threshold of a statistic, by default the paper's."""
    return Field(default=value, description=DESCRIPTIONS[statistic])


class GopherRules(Rule):
    """Drops what Gopher's quality and repetition filters drop.

    Rae et al. 2021 (arXiv:2112.11446), appendix A1.1 and table A1, over the columns of the measure `gopher`: a document
    is dropped where a statistic lies below its minimum or above its maximum. null switches a threshold off.

    The paper counts words in English web pages: `min_alpha_words` and `min_stop_words` mean little in some other
    languages. Words are parted by white space. On the words of a linguistic tokenizer, which parts punctuation from
    words (datatrove's default is spaCy), the same `min_alpha_words` of 0.8 drops half of an ordinary corpus.
    """

    min_words: int | None = threshold(50, "words")
    max_words: int | None = threshold(100_000, "words")
    min_mean_word_length: float | None = threshold(3, "mean_word_length")
    max_mean_word_length: float | None = threshold(10, "mean_word_length")
    max_symbol_ratio: float | None = threshold(0.1, "symbol_ratio")
    max_bullet_lines: float | None = threshold(0.9, "bullet_lines")
    max_ellipsis_lines: float | None = threshold(0.3, "ellipsis_lines")
    min_alpha_words: float | None = threshold(0.8, "alpha_words")
    min_stop_words: int | None = threshold(2, "stop_words")
    max_dup_lines: float | None = threshold(0.3, "dup_lines")
    max_dup_paragraphs: float | None = threshold(0.3, "dup_paragraphs")
    max_dup_line_chars: float | None = threshold(0.2, "dup_line_chars")
    max_dup_paragraph_chars: float | None = threshold(0.2, "dup_paragraph_chars")
    max_top_2gram: float | None = threshold(0.2, "top_2gram")
    max_top_3gram: float | None = threshold(0.18, "top_3gram")
    max_top_4gram: float | None = threshold(0.16, "top_4gram")
    max_dup_5grams: float | None = threshold(0.15, "dup_5grams")
    max_dup_6grams: float | None = threshold(0.14, "dup_6grams")
    max_dup_7grams: float | None = threshold(0.13, "dup_7grams")
    max_dup_8grams: float | None = threshold(0.12, "dup_8grams")
    max_dup_9grams: float | None = threshold(0.11, "dup_9grams")
    max_dup_10grams: float | None = threshold(0.10, "dup_10grams")

    def when(self) -> str:
        """The condition under which a document is dropped, a DuckDB expression; "false" with every threshold off."""
        return " or ".join(f"{column} {sign} {limit!r}" for column, sign, limit in self._thresholds()) or "false"

    def columns(self) -> set[str]:
        """The columns gopher_* that have a threshold."""
        return {column for column, _, _ in self._thresholds()}

    def _thresholds(self) -> Iterator[tuple[str, str, float]]:
        for name in type(self).model_fields:
            side, _, statistic = name.partition("_")
            limit = getattr(self, name)
            if side in ("min", "max") and limit is not None:
                yield f"gopher_{statistic}", "<" if side == "min" else ">", limit
