"""Gopher's statistics, slowly: Rae et al. 2021, appendix A1.1, with str, Counter and unicodedata."""

import re
import unicodedata
from collections import Counter

STOP_WORDS = {"the", "be", "to", "of", "and", "that", "have", "with"}


def is_symbol(character):
    category = unicodedata.category(character)
    return category[0] in "PS" or category == "Cc"


def repeated(pieces):
    """How many pieces were seen before, and how many characters those have."""
    seen, again, characters = set(), 0, 0
    for piece in pieces:
        if piece in seen:
            again += 1
            characters += len(piece)
        seen.add(piece)
    return again, characters


def most_frequent(words, n):
    grams = Counter(" ".join(words[i : i + n]) for i in range(len(words) - n + 1))
    if not grams:
        return 0
    gram, count = grams.most_common(1)[0]  # the first one seen, in a tie
    return count * len(gram)


def in_repeated(words, n):
    seen, characters, i = set(), 0, 0
    while i + n <= len(words):
        gram = tuple(words[i : i + n])
        if gram in seen:
            characters += sum(map(len, gram))
            i += n
        else:
            seen.add(gram)
            i += 1
    return characters


def gopher_reference(text):
    """All statistics of a text, by name."""
    words = text.split()
    with_content = [w for w in words if not all(map(is_symbol, w))]
    hashes, ellipses = text.count("#"), text.count("...") + text.count("…")
    every_line = text.split("\n")
    if every_line[-1] == "":
        every_line.pop()
    lines = [line for line in every_line if line]
    paragraphs = [p for p in re.split(r"\n{2,}", text.strip()) if p]
    again_lines, again_line_characters = repeated(lines)
    again_paragraphs, again_paragraph_characters = repeated(paragraphs)
    total = len(text) or 1
    return {
        "words": len(with_content),
        "mean_word_length": sum(map(len, with_content)) / (len(with_content) or 1),
        "hash_ratio": hashes / (len(words) or 1),
        "ellipsis_ratio": ellipses / (len(words) or 1),
        "symbol_ratio": max(hashes, ellipses) / (len(words) or 1),
        "bullet_lines": sum(line.strip().startswith(("•", "-")) for line in every_line) / (len(every_line) or 1),
        "ellipsis_lines": sum(line.strip().endswith(("...", "…")) for line in every_line) / (len(every_line) or 1),
        "alpha_words": sum(any(map(str.isalpha, w)) for w in words) / (len(words) or 1),
        "stop_words": len(STOP_WORDS & set(words)),
        "dup_lines": again_lines / (len(lines) or 1),
        "dup_line_chars": again_line_characters / total,
        "dup_paragraphs": again_paragraphs / (len(paragraphs) or 1),
        "dup_paragraph_chars": again_paragraph_characters / total,
        **{f"top_{n}gram": most_frequent(words, n) / total for n in range(2, 5)},
        **{f"dup_{n}grams": in_repeated(words, n) / total for n in range(5, 11)},
    }
