"""The statistics of pages, slowly: with str, re and sets."""

import itertools
import re
import unicodedata

from gristmill.operators.kernels.line_characters import terminal_punctuation
from tests.operators.measures.gopher_reference import is_symbol, repeated

TERMINAL = terminal_punctuation()
_ENDING = re.escape(TERMINAL)
_CLOSING = re.escape(
    "\"'" + "".join(c for c in map(chr, range(0x110000)) if unicodedata.category(c) in ("Pe", "Pf", "Pi"))
)
RUN = re.compile(f"[{_ENDING}][{_ENDING}{_CLOSING}]*")
URL = re.compile(r"[hH][tT][tT][pP][sS]?://\S*")
LOREM_IPSUM = re.compile("(?=lorem ipsum)", re.IGNORECASE | re.ASCII)


def ends_a_sentence(line, run):
    if any(c in TERMINAL and not c.isascii() for c in run[0]):
        return True
    before, behind = line[: run.start()][-1:], line[run.end() :][:1]
    small_then_capital = before.isalpha() and not before.isupper() and behind.isupper()
    if behind and not behind.isspace() and not small_then_capital:
        return False
    if not run[0].startswith("."):
        return True
    letters = [c.isalpha() for c in line[: run.start()]]
    alone = letters[-1:] == [True] and letters[-2:-1] != [True]
    return not (run[0].startswith("..") or alone)


def sentences(line):
    """How many sentences a line has: pieces between what ends them that are more than marks."""
    ends = [0, *(run.end() for run in RUN.finditer(line) if ends_a_sentence(line, run)), len(line)]
    return sum(any(map(has_content, line[a:b])) for a, b in itertools.pairwise(ends))


def has_content(character):
    return not character.isspace() and not is_symbol(character)


def words_and_marks(text):
    """How many words a text has, marks at their ends counted by themselves."""
    count = 0
    for word in text.split():
        inside = [k for k, character in enumerate(word) if has_content(character)]
        count += 1 + inside[0] + len(word) - 1 - inside[-1] if inside else len(word)
    return count


def page_reference(text, short_line=30, long_line=200):
    """All statistics of a text, by name."""
    every_line = text.split("\n")
    lines = [line for line in every_line if line.strip()]
    return {
        "ended_lines": sum(line[-1] in TERMINAL for line in lines) / (len(lines) or 1),
        "short_lines": sum(len(line) <= short_line for line in lines) / (len(lines) or 1),
        "long_lines": sum(len(line) >= long_line for line in every_line),
        "dup_line_chars": repeated(lines)[1] / (len(text.replace("\n", "")) or 1),
        "newlines_per_word": text.count("\n") / (words_and_marks(text) or 1),
        "sentences": sum(map(sentences, lines)),
        "digits": sum(map(str.isdigit, text)) / (len(text) or 1),
        "uppercase": sum(map(str.isupper, text)) / (len(text) or 1),
        "url_chars": sum(map(len, URL.findall(text))) / (len(text) or 1),
        "curly_brackets": text.count("{"),
        "lorem_ipsum": len(LOREM_IPSUM.findall(text)),
    }
