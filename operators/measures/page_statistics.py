"""The measure `page_statistics`: what the rules of C4, FineWeb and RefinedWeb look at in a page as a whole.

Raffel et al. 2020, "Exploring the Limits of Transfer Learning with a Unified Text-to-Text Transformer"
(arXiv:1910.10683), section 2.2; Xue et al. 2021, "mT5" (arXiv:2010.11934), section 3.1, for long lines; Penedo et al.
2024, "The FineWeb Datasets" (arXiv:2406.17557), section 3.6. Where a paper leaves a definition open:

- A line ends at a line feed (`normalize_unicode` makes line feeds of all other line ends). A line of white space alone
  is blank; of a line's characters all count, white space too.
- Shares of lines, and repeated lines, leave out blank lines. A long line may be blank.
- A line ends with terminal punctuation where its last character has Unicode's property Sentence_Terminal (version
  15.0): white space after the full stop is the last character.
- The characters of repeated lines are those of lines that equal an earlier one, among all characters but line feeds.
- Line feeds are counted per word, and words as tokenizers part them: a run of characters without white space is one,
  and each mark at its beginning or end is another; of a run of marks alone each is one. A mark is a character of
  punctuation, a symbol or a control character. Of a text without words they are counted per text. (spaCy counts 3 %
  more in ordinary texts, and 25 % more than there are words between white space.)
- A sentence has a character that is no mark, and ends with its line or with a run of terminal punctuation,
  closing brackets and quotation marks that begins with terminal punctuation. Such a run must stand before white space,
  at the end of the line, or between a small letter and a capital, unless it has terminal punctuation beyond ASCII,
  which is written without spaces. An ellipsis (two full stops or more) ends none, nor does a full stop after a letter
  that stands alone: "e.g.", "U.S.", "J. Smith". Other abbreviations end one.
- Digits and capitals are those of `str.isdigit` and `str.isupper`, per character of the text.
- A URL is `http://` or `https://`, in either case, and all that follows up to white space; its characters are counted
  per character of the text.
- "lorem ipsum" is found in either case.
"""

from __future__ import annotations

import pyarrow as pa
from pydantic import Field

from gristmill.operators.arrays import check_lengths, column
from gristmill.operators.base import Documents, Files, Measure, MeasureFunction, field
from gristmill.operators.columns import TEXT
from gristmill.operators.kernels.buffers import text_buffers
from gristmill.operators.kernels.line_characters import line_classes
from gristmill.operators.kernels.page import FILLER, SCHEMES, STATISTICS, page_statistics
from gristmill.operators.kernels.phrases import phrases

#: Shares are float64: as float32, a share of exactly 0.1 would be greater than 0.1.
TYPES = dict.fromkeys(("long_lines", "sentences", "curly_brackets", "lorem_ipsum"), pa.uint32())

DESCRIPTIONS = {
    "ended_lines": "share of lines that end with terminal punctuation",
    "short_lines": "share of lines of `short_line` characters or fewer",
    "long_lines": "lines of `long_line` characters or more",
    "dup_line_chars": "share of characters in lines that repeat an earlier one",
    "newlines_per_word": "line feeds per word, and mark at the ends of words",
    "sentences": "sentences, those of each line for itself",
    "digits": "share of characters that are digits",
    "uppercase": "share of characters that are capitals",
    "url_chars": "share of characters in URLs",
    "curly_brackets": "opening curly brackets",
    "lorem_ipsum": 'how often "lorem ipsum" occurs',
}


class PageStatistics(Measure):
    """The statistics behind the page rules of C4, mC4 and FineWeb, and shares of digits, capitals and URLs: page_*.

    Their thresholds are the rules `c4_rules` and `fineweb_rules`. An empty text has zero in every column.

    A line ends at a line feed. Shares of lines leave out lines of white space alone. A sentence ends with its line, or
    where terminal punctuation (Unicode's Sentence_Terminal) stands before white space, or between a small letter and a
    capital, closing quotation marks and brackets aside; an ellipsis ends none, nor does a full stop after a letter that
    stands alone. Line feeds are counted per word or mark: punctuation and symbols at the ends of words count by
    themselves, as for tokenizers. A URL is http:// or https:// and all up to white space.
    """

    short_line: int = Field(default=30, ge=0, description="characters that a short line has at most (FineWeb: 30)")
    long_line: int = Field(default=200, ge=1, description="characters that a long line has at least (mC4: 200)")

    def gives(self) -> pa.Schema:
        """Return the columns page_*, in the order of STATISTICS."""
        return pa.schema(
            [field(f"page_{name}", TYPES.get(name, pa.float64()), DESCRIPTIONS[name]) for name in STATISTICS]
        )

    def kernels(self) -> tuple[str, ...]:
        """Return the groups of kernels that it calls."""
        return ("page_statistics",)

    def open(self, files: Files) -> MeasureFunction:
        """Return a thread-safe function from documents (n rows) to the columns of `gives` (n rows)."""
        schema, limits = self.gives(), (self.short_line, self.long_line)
        tables = (line_classes(), phrases([FILLER], [SCHEMES]))

        def measure(documents: Documents) -> pa.RecordBatch:
            texts = documents.column(TEXT)
            data, offsets = text_buffers(texts)
            check_lengths("page_statistics", offsets)
            rows = page_statistics(data, offsets, *limits, *tables)
            columns = [column(row, texts, f.type) for row, f in zip(rows, schema, strict=True)]
            return pa.record_batch(columns, schema=schema)

        return measure
