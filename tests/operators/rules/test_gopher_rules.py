import duckdb
import pyarrow as pa
import pytest

from gristmill.operators.base import Rule
from gristmill.operators.measures.gopher import Gopher
from gristmill.operators.rules.gopher_rules import GopherRules

#: Rae et al. 2021: appendix A1.1 ("Quality Filtering") and table A1: what a document must not fall below or exceed.
BELOW = {"words": 50, "mean_word_length": 3, "alpha_words": 0.8, "stop_words": 2}
ABOVE = {
    "words": 100_000,
    "mean_word_length": 10,
    "symbol_ratio": 0.1,
    "bullet_lines": 0.9,
    "ellipsis_lines": 0.3,
    "dup_lines": 0.30,
    "dup_paragraphs": 0.30,
    "dup_line_chars": 0.20,
    "dup_paragraph_chars": 0.20,
    "top_2gram": 0.20,
    "top_3gram": 0.18,
    "top_4gram": 0.16,
    "dup_5grams": 0.15,
    "dup_6grams": 0.14,
    "dup_7grams": 0.13,
    "dup_8grams": 0.12,
    "dup_9grams": 0.11,
    "dup_10grams": 0.10,
}
GOOD = {"words": 500, "mean_word_length": 5, "alpha_words": 1, "stop_words": 8}


def dropped(rules, **statistics):
    """Whether DuckDB finds the condition true for a document that is good but for the statistics given."""
    row = dict.fromkeys((name.removeprefix("gopher_") for name in Gopher().gives().names), 0) | GOOD | statistics
    columns = [pa.array([row[f.name.removeprefix("gopher_")]]).cast(f.type) for f in Gopher().gives()]
    with duckdb.connect() as connection:
        connection.register("documents", pa.table(columns, names=Gopher().gives().names))
        return connection.execute(f"SELECT {rules.when()} FROM documents").fetchall()[0][0]


def test_a_good_document_stays():
    assert dropped(GopherRules()) is False


@pytest.mark.parametrize(("name", "limit"), BELOW.items())
def test_minimum(name, limit):
    assert dropped(GopherRules(), **{name: limit}) is False
    assert dropped(GopherRules(), **{name: limit - (1 if limit > 1 else 1e-9)}) is True


@pytest.mark.parametrize(("name", "limit"), ABOVE.items())
def test_maximum(name, limit):
    assert dropped(GopherRules(), **{name: limit}) is False
    assert dropped(GopherRules(), **{name: limit + (1 if limit > 1 else 1e-9)}) is True


def test_every_threshold_is_the_papers_and_can_be_moved_or_switched_off():
    fields = {f"min_{name}": limit for name, limit in BELOW.items()} | {f"max_{k}": limit for k, limit in ABOVE.items()}
    assert GopherRules().model_dump(exclude={*Rule.model_fields, "languages", "language_column"}) == fields
    assert dropped(GopherRules(max_dup_lines=0.5), dup_lines=0.4) is False
    assert dropped(GopherRules(max_dup_lines=None), dup_lines=1.0) is False
    assert GopherRules(**dict.fromkeys(fields)).when() == "false"
    assert GopherRules(**dict.fromkeys(fields)).reads() == set()


def test_columns_are_those_of_the_measure():
    rules = GopherRules(min_stop_words=None)
    assert isinstance(rules, Rule)
    assert rules.reads() == {f"gopher_{name}" for name in {*BELOW, *ABOVE} - {"stop_words"}}
    assert GopherRules().reads() < set(Gopher().gives().names)


def test_numbers_are_written_in_full():
    assert "gopher_words > 12345678" in GopherRules(max_words=12345678).when()
    assert "gopher_symbol_ratio > 0.123456789" in GopherRules(max_symbol_ratio=0.123456789).when()


def test_options_name_the_languages_that_they_are_meant_for():
    told = {name: field.description for name, field in GopherRules.model_fields.items()}
    assert "(for English)" in told["min_stop_words"]
    assert {name for name in told if "blanks between words" in told[name]} == {
        *(
            "min_words",
            "max_words",
            "min_mean_word_length",
            "max_mean_word_length",
            "min_alpha_words",
            "max_symbol_ratio",
        ),
        *(f"max_top_{n}gram" for n in range(2, 5)),
        *(f"max_dup_{n}grams" for n in range(5, 11)),
    }


def test_languages_bring_the_column_that_they_stand_in():
    assert GopherRules().meant_for() is None
    rules = GopherRules(languages=["en", "de"], language_column="language")
    assert rules.reads() == GopherRules().reads() | {"language"}
    assert rules.meant_for() == ("language", ("en", "de"))
