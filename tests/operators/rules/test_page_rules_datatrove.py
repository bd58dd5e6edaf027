"""Decisions of datatrove 0.10.1's own filters beside ours, on real texts: a definition is behind each difference."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
from pathlib import Path
from typing import Any, NamedTuple

import duckdb
import pyarrow as pa
import pytest

from gristmill.operators.columns import TEXT
from gristmill.operators.measures.page_statistics import PageStatistics
from gristmill.operators.rules.page_rules import C4Rules, FinewebRules
from gristmill.operators.rules.threshold_rule import ThresholdRule
from gristmill.operators.transforms.clean_lines import CleanLines
from gristmill.operators.transforms.normalize_unicode import NormalizeUnicode
from gristmill.pipelines.sources.read import read_documents

TEXTS = 10_000
#: What few of these texts have: lines that C4 drops a page for, beside those that it drops alone.
SUFFIXES = (
    "Lorem ipsum dolor sit amet.",
    "With javascript a lorem IPSUM line.",
    "Our terms of use {are} here.",
    "It needs javascript { here.",
    "We use[3] cookies.[citation needed]",
)

SCRIPT = """
import json, sys, unicodedata
try:
    from datatrove.data import Document
    from datatrove.pipeline.filters import c4_filters
    from datatrove.pipeline.filters.c4_filters import C4ParagraphFilter, C4QualityFilter
    from datatrove.pipeline.filters.fineweb_quality_filter import FineWebQualityFilter
    from datatrove.utils.text import split_into_words
    from datatrove.utils.word_tokenizers import WordTokenizer
except ImportError as error:
    sys.exit(f"NOT THERE {error}")

split_into_sentences, counts = c4_filters.split_into_sentences, []

def counted(text, language):
    counts.append(len(split_into_sentences(text, language)))
    return range(counts[-1])

c4_filters.split_into_sentences = counted

def is_mark(character):
    category = unicodedata.category(character)
    return category[0] in "PS" or category == "Cc"

class WordsAndMarks(WordTokenizer):
    def word_tokenize(self, text):
        tokens = []
        for word in text.split():
            inside = [k for k, character in enumerate(word) if not is_mark(character)]
            first, last = (inside[0], inside[-1] + 1) if inside else (len(word), len(word))
            tokens += [*word[:first], *[word[first:last]] * (first < last), *word[last:]]
        return tokens
    sent_tokenize = span_tokenize = None

filters = {
    "c4_lines": C4QualityFilter(min_num_sentences=-1),
    "c4": C4QualityFilter(),
    "mc4": C4ParagraphFilter(),
    "fineweb_marks": FineWebQualityFilter(language=WordsAndMarks()),
    "fineweb": FineWebQualityFilter(),
}
results = []
for text in json.load(sys.stdin):
    result = {}
    counts.clear()
    for name, filter in filters.items():
        document = Document(text=text, id="")
        verdict = filter.filter(document)
        result[name] = "" if verdict is True else verdict[1]
        if name == "c4_lines" and verdict is True:
            result["text"] = document.text
    result["sentences"] = sum(counts)
    if result["fineweb"] in ("", "list_ratio"):
        result["words"] = len(split_into_words(text))
    results.append(result)
print(json.dumps(results))
"""
#: datatrove's reason for each of our conditions.
REASONS = {
    "page_lorem_ipsum": "lorem_ipsum",
    "page_curly_brackets": "curly_bracket",
    "page_sentences": "too_few_sentences",
    "page_ended_lines": "line_punct_ratio",
    "page_short_lines": "short_line_ratio",
    "page_dup_line_chars": "char_dup_ratio",
    "page_newlines_per_word": "list_ratio",
    "page_long_lines": "< 3 paragraphs",
}


class Comparison(NamedTuple):
    texts: list[str]
    theirs: list[dict[str, Any]]
    cleaned: list[str]  #: by `clean_lines: c4`
    measured: pa.Table  #: `page_statistics` of the texts
    left: pa.Table  #: and of what is left of them


@pytest.fixture(scope="module")
def compared(shared_data: Path) -> Comparison:
    python = os.environ.get("GRISTMILL_PEER_PYTHON")
    if not python:
        pytest.skip("GRISTMILL_PEER_PYTHON names no interpreter with datatrove==0.10.1, spacy and xxhash<4")
    texts = real_texts(shared_data)
    run = subprocess.run([python, "-c", SCRIPT], input=json.dumps(texts.to_pylist()), capture_output=True, text=True)
    if "NOT THERE" in run.stderr:
        pytest.skip(f"{python} has no datatrove: {run.stderr}")
    assert run.returncode == 0, run.stderr
    cleaned = CleanLines(rules="c4").open({})(texts)
    measure = PageStatistics().open({})
    measured, left = (pa.Table.from_batches([measure(pa.record_batch({TEXT: array}))]) for array in (texts, cleaned))
    return Comparison(texts.to_pylist(), json.loads(run.stdout), cleaned.to_pylist(), measured, left)


def real_texts(shared_data: Path) -> pa.LargeStringArray:
    """Web pages and documents, as `normalize_unicode` leaves them: so that both see the same line ends."""
    texts = [t for batch in read_documents(f"{shared_data}/web/*.wet.gz", id=None) for t in batch[TEXT].to_pylist()]
    for path in sorted((shared_data / "docs").glob("*.gz")):
        with gzip.open(path, "rt", encoding="utf-8") as lines:
            texts += [json.loads(line)["text"] for k, line in enumerate(lines) if k % 3 == 0]
    assert len(texts) >= TEXTS
    texts = texts[:TEXTS] + [f"{text}\n{SUFFIXES[k % len(SUFFIXES)]}" for k, text in enumerate(texts[:100])]
    return NormalizeUnicode().open({})(pa.array(texts, pa.large_string()))


def reasons(rule: ThresholdRule, documents: pa.Table) -> list[str]:
    """datatrove's reason for the first condition of a rule that fires on each page; "" where it stays."""
    cases = [f"WHEN {clause} THEN '{REASONS[clause.split()[0]]}'" for clause in rule.when().split(" or ")]
    with duckdb.connect() as connection:
        connection.register("documents", documents)
        rows = connection.execute(f"SELECT CASE {' '.join(cases)} ELSE '' END FROM documents").fetchall()
    return [row[0] for row in rows]


@pytest.mark.peers
def test_c4_takes_the_same_lines_and_pages(compared: Comparison) -> None:
    theirs = [result["c4_lines"] for result in compared.theirs]
    ours = reasons(C4Rules(min_sentences=None), compared.left)
    assert {*theirs} == {"", "lorem_ipsum", "curly_bracket"}
    assert [*map(bool, ours)] == [*map(bool, theirs)]
    kept = [k for k, verdict in enumerate(theirs) if not verdict]
    assert [compared.cleaned[k] for k in kept] == [compared.theirs[k]["text"] for k in kept]
    assert sum(compared.cleaned[k] != compared.texts[k] for k in kept) > 1000
    lorem, curly = (compared.left[name].to_pylist() for name in ("page_lorem_ipsum", "page_curly_brackets"))
    for mine, other, *both in zip(ours, theirs, lorem, curly, strict=True):
        assert mine == other or all(both)  # of a page with both, datatrove names what stands first


@pytest.mark.peers
def test_c4_counts_sentences_otherwise(compared: Comparison) -> None:
    """datatrove's sentences are spaCy's: a decision differs where the counts lie on two sides of five."""
    ours, counts = reasons(C4Rules(), compared.left), compared.left["page_sentences"].to_pylist()
    kept = [k for k, result in enumerate(compared.theirs) if not result["c4_lines"]]
    for k in kept:
        verdicts = bool(ours[k]), bool(compared.theirs[k]["c4"])
        assert verdicts == (counts[k] < 5, compared.theirs[k]["sentences"] < 5)
    assert sum(bool(ours[k]) != bool(compared.theirs[k]["c4"]) for k in kept) < len(kept) / 200


@pytest.mark.peers
def test_mc4(compared: Comparison) -> None:
    rule = C4Rules(max_lorem_ipsum=None, max_curly_brackets=None, min_sentences=None, min_long_lines=3)
    theirs = [result["mc4"] for result in compared.theirs]
    assert reasons(rule, compared.measured) == theirs
    assert len({*theirs}) == 2


@pytest.mark.peers
def test_fineweb_on_the_same_words(compared: Comparison) -> None:
    """A page without a line is "empty" there; here none of its lines has an end."""
    theirs = [result["fineweb_marks"].replace("empty", "line_punct_ratio") for result in compared.theirs]
    assert reasons(FinewebRules(), compared.measured) == theirs
    assert {*theirs} == {"", "line_punct_ratio", "short_line_ratio", "char_dup_ratio", "list_ratio"}


@pytest.mark.peers
def test_fineweb_as_shipped(compared: Comparison) -> None:
    """datatrove's words are spaCy's: a decision differs where the line feeds per word lie on two sides of 0.3."""
    ours, ratios = (reasons(FinewebRules(), compared.measured), compared.measured["page_newlines_per_word"].to_pylist())
    differences = 0
    for text, mine, ratio, result in zip(compared.texts, ours, ratios, compared.theirs, strict=True):
        theirs = result["fineweb"].replace("empty", "line_punct_ratio")
        if mine != theirs:
            differences += 1
            assert {mine, theirs} == {"", "list_ratio"}
            assert [ratio > 0.3, text.count("\n") / result["words"] > 0.3] == [bool(mine), bool(theirs)]
    assert differences < len(compared.texts) / 1000
