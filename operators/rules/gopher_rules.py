"""The rule `gopher_rules`: the thresholds of Gopher's filters, as one condition."""

from __future__ import annotations

from typing import ClassVar

from gristmill.operators.measures.gopher import DESCRIPTIONS
from gristmill.operators.rules.threshold_rule import ThresholdRule, threshold

SPACED = "for languages that write blanks between words"
ENGLISH = "for English"


class GopherRules(ThresholdRule):
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

    prefix: ClassVar[str] = "gopher_"

    min_words: int | None = threshold(50, DESCRIPTIONS["words"], SPACED)
    max_words: int | None = threshold(100_000, DESCRIPTIONS["words"], SPACED)
    min_mean_word_length: float | None = threshold(3, DESCRIPTIONS["mean_word_length"], SPACED)
    max_mean_word_length: float | None = threshold(10, DESCRIPTIONS["mean_word_length"], SPACED)
    max_symbol_ratio: float | None = threshold(0.1, DESCRIPTIONS["symbol_ratio"], SPACED)
    max_bullet_lines: float | None = threshold(0.9, DESCRIPTIONS["bullet_lines"])
    max_ellipsis_lines: float | None = threshold(0.3, DESCRIPTIONS["ellipsis_lines"])
    min_alpha_words: float | None = threshold(0.8, DESCRIPTIONS["alpha_words"], SPACED)
    min_stop_words: int | None = threshold(2, DESCRIPTIONS["stop_words"], ENGLISH)
    max_dup_lines: float | None = threshold(0.3, DESCRIPTIONS["dup_lines"])
    max_dup_paragraphs: float | None = threshold(0.3, DESCRIPTIONS["dup_paragraphs"])
    max_dup_line_chars: float | None = threshold(0.2, DESCRIPTIONS["dup_line_chars"])
    max_dup_paragraph_chars: float | None = threshold(0.2, DESCRIPTIONS["dup_paragraph_chars"])
    max_top_2gram: float | None = threshold(0.2, DESCRIPTIONS["top_2gram"], SPACED)
    max_top_3gram: float | None = threshold(0.18, DESCRIPTIONS["top_3gram"], SPACED)
    max_top_4gram: float | None = threshold(0.16, DESCRIPTIONS["top_4gram"], SPACED)
    max_dup_5grams: float | None = threshold(0.15, DESCRIPTIONS["dup_5grams"], SPACED)
    max_dup_6grams: float | None = threshold(0.14, DESCRIPTIONS["dup_6grams"], SPACED)
    max_dup_7grams: float | None = threshold(0.13, DESCRIPTIONS["dup_7grams"], SPACED)
    max_dup_8grams: float | None = threshold(0.12, DESCRIPTIONS["dup_8grams"], SPACED)
    max_dup_9grams: float | None = threshold(0.11, DESCRIPTIONS["dup_9grams"], SPACED)
    max_dup_10grams: float | None = threshold(0.10, DESCRIPTIONS["dup_10grams"], SPACED)
