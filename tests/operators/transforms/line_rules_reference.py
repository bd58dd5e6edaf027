"""The rules of `clean_lines`, slowly: with str, re and the options as they stand."""

from __future__ import annotations

import re
from typing import NamedTuple

from gristmill.operators.transforms.clean_lines import CleanLines
from tests.operators.measures.page_reference import has_content

CITATION = re.compile(r"\[\d*]|\[edit]|\[citation needed]")


class Result(NamedTuple):
    text: str
    removed_words: float
    removed_lines: list[tuple[str, str]]


def in_lower_case(text):
    """ASCII letters in lower case; `str.lower` would make a k of the sign for kelvin."""
    return "".join(c.lower() if c.isascii() else c for c in text)


def holds(line, phrases):
    return any(in_lower_case(phrase) in in_lower_case(line) for phrase in phrases or ())


def either_case(phrase):
    return "".join(f"[{c.lower()}{c.upper()}]" if c.isascii() and c.isalpha() else re.escape(c) for c in phrase)


def is_counter(line, nouns):
    """Whether a line is a number of one of these, but for punctuation, symbols and white space around it."""
    begin = next((k for k, character in enumerate(line) if has_content(character)), len(line))
    for noun in nouns:
        match = re.match(rf"\d[\d,.]*[kmbKMB]?\s+{either_case(noun)}", line[begin:])
        if match and not any(map(has_content, line[begin + match.end() :])):
            return True
    return False


def clean_lines_reference(operator: CleanLines, text: str) -> Result:
    """What stays of a text, the share of its words that went, and the lines that went, by the option that took each."""
    kept, removed = [], []
    empty_lines = 0
    for line in text.split("\n") if text else []:
        taker, rest = judged(operator, line)
        if taker is None and rest == "":
            empty_lines += 1
            if operator.max_empty_lines is not None and empty_lines > operator.max_empty_lines:
                taker = "max_empty_lines"
        elif taker is None:
            empty_lines = 0
        if taker is None:
            kept.append(rest)
        else:
            removed.append((taker, line))
    cleaned = "\n".join(kept)
    cleaned = cleaned.strip() if operator.strip else cleaned
    before, after = len(text.split()), len(cleaned.split())
    return Result(cleaned, (before - after) / (before or 1), removed)


def judged(operator, line):
    """The option that takes a line, if any, and what stays of it."""
    line = line.strip() if operator.strip else line
    if line == "":
        return None, ""
    words = line.split()
    if operator.max_word_length is not None and max(map(len, words), default=0) > operator.max_word_length:
        return "max_word_length", line
    if operator.citations and CITATION.search(line):
        line = CITATION.sub("", line)
        if not line.strip():
            return "citations", line
    if operator.end_marks and line[-1] not in operator.end_marks:
        return "end_marks", line
    if operator.ellipses and line.endswith("..."):
        return "ellipses", line
    limits = (("max_uppercase", str.isupper), ("max_digits", str.isdigit))
    for name, is_one in limits:
        most = getattr(operator, name)
        if most is not None and sum(map(is_one, line)) / len(line) > most:
            return name, line
    if operator.counters and is_counter(line, operator.counters):
        return "counters", line
    if len(words) < (operator.min_words or 0):
        return "min_words", line
    if not holds(line, ["lorem ipsum"]):
        if holds(line, operator.script_words):
            return "script_words", line
        if holds(line, operator.policy_phrases) and "{" not in line:
            return "policy_phrases", line
    return cut(operator, line)


def cut(operator, line):
    most = operator.cut_max_words
    if holds(line, operator.cut_anywhere) and len(line.split()) <= most:
        for phrase in operator.cut_anywhere:
            line = re.sub(rf"\s?{either_case(phrase)}", "", line)
        if not line.strip():
            return "cut_anywhere", line
    for phrase in operator.cut_at_end or ():
        if (match := re.search(rf"\s?{either_case(phrase)}\s*\Z", line)) and len(line.split()) <= most:
            line = line[: match.start()]
            if not line.strip():
                return "cut_at_end", line
    for phrase in operator.cut_at_start or ():
        if (match := re.match(rf"\s*{either_case(phrase)}\s?", line)) and len(line.split()) <= most:
            line = line[match.end() :]
            if not line.strip():
                return "cut_at_start", line
    return None, line
