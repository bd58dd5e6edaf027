"""The rule `gopher_rules`: the thresholds of Gopher's filters, as one condition."""

from __future__ import annotations

from collections.abc import Iterator

from operators.base import Rule


class GopherRules(Rule):
    """Drops what Gopher's quality and repetition filters drop.

    Rae et al. 2021 (arXiv:2112.11446), appendix A1.1 and table A1, over the columns of the measure `gopher`: a document
    is dropped where a statistic lies below its minimum or above its maximum. null switches a threshold off.

    The paper counts words in English web pages: `min_alpha_words` and `min_stop_words` mean little in some other
    languages. Words are parted by white space. On the words of a linguistic tokenizer, which parts punctuation from
    words (datatrove's default is spaCy), the same `min_alpha_words` of 0.8 drops half of an ordinary corpus.
    """

    min_words: int | None = 50
    max_words: int | None = 100_000
    min_mean_word_length: float | None = 3
    max_mean_word_length: float | None = 10
    max_symbol_ratio: float | None = 0.1
    max_bullet_lines: float | None = 0.9
    max_ellipsis_lines: float | None = 0.3
    min_alpha_words: float | None = 0.8
    min_stop_words: int | None = 2
    max_dup_lines: float | None = 0.3
    max_dup_paragraphs: float | None = 0.3
    max_dup_line_chars: float | None = 0.2
    max_dup_paragraph_chars: float | None = 0.2
    max_top_2gram: float | None = 0.2
    max_top_3gram: float | None = 0.18
    max_top_4gram: float | None = 0.16
    max_dup_5grams: float | None = 0.15
    max_dup_6grams: float | None = 0.14
    max_dup_7grams: float | None = 0.13
    max_dup_8grams: float | None = 0.12
    max_dup_9grams: float | None = 0.11
    max_dup_10grams: float | None = 0.10

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
