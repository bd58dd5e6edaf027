"""The measure `gopher`: the statistics behind Gopher's quality and repetition filters.

Rae et al. 2021, "Scaling Language Models: Methods, Analysis & Insights from Training Gopher" (arXiv:2112.11446),
appendix A1.1. Where the paper leaves a definition open it is datatrove's, so that thresholds mean the same:

- A word is a run of characters without white space; white space, letters and punctuation are Unicode's.
- The number of words and their mean length leave out words of punctuation and symbols alone.
- A line ends at a line feed (`normalize_unicode` makes line feeds of all other line ends). Shares of bullets and
  ellipses count empty lines, shares of repetitions do not.
- Two or more line feeds separate paragraphs.
- The most frequent n-gram has its occurrences counted even where they overlap, so its share may exceed one.
- Repeated n-grams are found from left to right; a repeated one is counted without its spaces, and reading goes on
  after it, so that no character counts twice.
"""

from __future__ import annotations

import pyarrow as pa

from gristmill.operators.arrays import check_lengths, column
from gristmill.operators.base import Documents, Files, Measure, MeasureFunction, field
from gristmill.operators.columns import TEXT
from gristmill.operators.kernels.buffers import text_buffers
from gristmill.operators.kernels.characters import character_classes
from gristmill.operators.kernels.gopher import STATISTICS, gopher_statistics

#: Shares are float64: as float32, a share of exactly 0.1 would be greater than 0.1.
TYPES = {"words": pa.uint32(), "stop_words": pa.uint8()}

DESCRIPTIONS = {
    "words": "words that are more than punctuation and symbols",
    "mean_word_length": "mean length of those words, in characters",
    "hash_ratio": "number signs (#) per word",
    "ellipsis_ratio": "ellipses (... or …) per word",
    "symbol_ratio": "number signs or ellipses per word, whichever are more",
    "bullet_lines": "share of lines that start with a bullet (• or -)",
    "ellipsis_lines": "share of lines that end with an ellipsis",
    "alpha_words": "share of words with at least one letter",
    "stop_words": "how many of the, be, to, of, and, that, have, with occur, as they are spelt here",
    "dup_lines": "share of lines that repeat an earlier one",
    "dup_line_chars": "share of characters in lines that repeat an earlier one",
    "dup_paragraphs": "share of paragraphs that repeat an earlier one",
    "dup_paragraph_chars": "share of characters in paragraphs that repeat an earlier one",
    **{f"top_{n}gram": f"share of characters in the most frequent {n}-gram" for n in range(2, 5)},
    **{f"dup_{n}grams": f"share of characters in {n}-grams that occurred before" for n in range(5, 11)},
}


class Gopher(Measure):
    """All statistics of Gopher's quality and repetition filters (Rae et al. 2021, appendix A1.1), as columns gopher_*.

    The thresholds of the paper are the rule `gopher_rules`. An empty text has zero in every column.
    """

    def gives(self) -> pa.Schema:
        """Return the columns gopher_*, in the order of STATISTICS."""
        return pa.schema(
            [field(f"gopher_{name}", TYPES.get(name, pa.float64()), DESCRIPTIONS[name]) for name in STATISTICS]
        )

    def kernels(self) -> tuple[str, ...]:
        """Return the groups of kernels that it calls."""
        return ("gopher",)

    def open(self, files: Files) -> MeasureFunction:
        """Return a thread-safe function from documents (n rows) to the columns of `gives` (n rows)."""
        classes, schema = character_classes(), self.gives()

        def measure(documents: Documents) -> pa.RecordBatch:
            texts = documents.column(TEXT)
            data, offsets = text_buffers(texts)
            check_lengths("gopher", offsets)
            rows = gopher_statistics(data, offsets, classes)
            columns = [column(row, texts, f.type) for row, f in zip(rows, schema, strict=True)]
            return pa.record_batch(columns, schema=schema)

        return measure
