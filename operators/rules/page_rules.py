"""The rules `c4_rules`, `fineweb_rules` and `dclm_rules`: published thresholds for whole pages."""

from __future__ import annotations

from typing import ClassVar

from gristmill.operators.measures.page_statistics import DESCRIPTIONS
from gristmill.operators.rules.threshold_rule import ThresholdRule, threshold


class C4Rules(ThresholdRule):
    """Drops the pages that C4 drops: placeholder text, code, and too few sentences.

    Raffel et al. 2020 (arXiv:1910.10683), section 2.2, over the columns of the measure `page_statistics`. C4 looks at
    what its line rules leave: `transform: [{clean_lines: c4}]`. null switches a threshold off. The values are those of
    the release and of datatrove; DCLM's C4 asks for 3 sentences. mC4 (Xue et al. 2021, arXiv:2010.11934, section 3.1)
    asks for 3 long lines and no sentences: `{min_long_lines: 3, min_sentences: null}`.

    With `languages: [en]` the rule judges the documents whose `language_column` is one of these; the rest pass and are
    counted.
    """

    prefix: ClassVar[str] = "page_"

    max_lorem_ipsum: int | None = threshold(0, DESCRIPTIONS["lorem_ipsum"])
    max_curly_brackets: int | None = threshold(0, DESCRIPTIONS["curly_brackets"])
    min_sentences: int | None = threshold(5, DESCRIPTIONS["sentences"])
    min_long_lines: int | None = threshold(None, DESCRIPTIONS["long_lines"])


class FinewebRules(ThresholdRule):
    """Drops the pages that FineWeb's own filters drop: lists, short lines, and lines without an end or said again.

    Penedo et al. 2024 (arXiv:2406.17557), section 3.6, over the columns of the measure `page_statistics`. null switches
    a threshold off.

    With `languages: [en]` the rule judges the documents whose `language_column` is one of these; the rest pass and are
    counted.
    """

    prefix: ClassVar[str] = "page_"

    min_ended_lines: float | None = threshold(0.12, DESCRIPTIONS["ended_lines"])
    max_short_lines: float | None = threshold(0.67, DESCRIPTIONS["short_lines"])
    max_dup_line_chars: float | None = threshold(0.01, DESCRIPTIONS["dup_line_chars"])
    max_newlines_per_word: float | None = threshold(0.3, DESCRIPTIONS["newlines_per_word"])


class DclmRules(ThresholdRule):
    """Drops the pages of which the line rules of RefinedWeb and DCLM took too much.

    Penedo et al. 2023 (arXiv:2306.01116), appendix G.2, and Li et al. 2024 (arXiv:2406.11794): the column
    `removed_words` comes of `transform: [{clean_lines: dclm}]`. null switches the threshold off. What else these two do
    is `gopher_rules`, and a language: `drop: "lang <> 'en'"`.

    With `languages: [en]` the rule judges the documents whose `language_column` is one of these; the rest pass and are
    counted.
    """

    max_removed_words: float | None = threshold(0.05, "share of the text's words that clean_lines removed")
