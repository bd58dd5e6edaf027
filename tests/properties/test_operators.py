"""What holds for every operator of the table. A new operator is tested here by being listed there."""

from __future__ import annotations

import pickle
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gristmill.operators.base import FittedMeasure, Measure, Rule, Transform
from gristmill.operators.columns import TEXT
from gristmill.operators.table import SECTIONS, operators
from gristmill.pipelines.report.catalogue import describe
from tests.properties.examples import LARGE, READERS, TEXTS, apply, documents, names_of, plain, ready, transformed

pytestmark = pytest.mark.filterwarnings("ignore:Pydantic serializer")


# Operators that read text


@pytest.mark.parametrize("name", READERS)
@given(cuts=st.lists(st.integers(0, len(TEXTS)), max_size=6).map(sorted))
@settings(max_examples=15)
def test_the_batches_do_not_matter(name: str, cuts: list[int]) -> None:
    batch = documents(TEXTS)
    borders = [0, *cuts, len(TEXTS)]
    parts = [batch.slice(start, stop - start) for start, stop in pairwise(borders)]
    whole = plain(apply(ready(name), batch))
    assert [row for part in parts for row in plain(apply(ready(name), part))] == whole


@pytest.mark.parametrize("name", READERS)
@given(texts=st.lists(st.none() | st.binary(max_size=40) | st.text(max_size=40).map(lambda t: t.encode()), max_size=8))
@settings(max_examples=25)
def test_any_bytes_pass_and_neighbours_do_not_matter(name: str, texts: list[bytes | None]) -> None:
    together = plain(apply(ready(name), documents(texts)))
    assert together == [row for text in texts for row in plain(apply(ready(name), documents([text])))]


@pytest.mark.parametrize("name", READERS)
def test_the_result_is_as_declared(name: str) -> None:
    operator = ready(name).operator
    result = apply(ready(name), documents(TEXTS))
    texts = [] if isinstance(operator, Measure) else [pa.field(TEXT, pa.large_string())]
    declared = pa.schema([*texts, *operator.gives()])
    assert result.schema.equals(declared)
    assert result.num_rows == len(TEXTS)
    empty = apply(ready(name), documents([]))
    assert (empty.num_rows, empty.schema.equals(declared)) == (0, True)


@pytest.mark.parametrize("name", READERS)
def test_no_text_gives_null_and_only_that_must(name: str) -> None:
    result = apply(ready(name), documents(TEXTS))
    for i, text in enumerate(TEXTS):
        if text is None:
            assert all(not column[i].is_valid for column in result.columns)


@pytest.mark.parametrize("name", READERS)
def test_a_document_of_ten_megabytes_passes(name: str) -> None:
    alone = plain(apply(ready(name), documents([LARGE])))
    assert plain(apply(ready(name), documents([b"before", LARGE, b"after"])))[1:2] == alone


@pytest.mark.parametrize("name", READERS)
def test_threads_do_not_disturb_each_other(name: str) -> None:
    batches = [documents(TEXTS[i:] + TEXTS[:i]) for i in range(0, len(TEXTS), 3)] * 2
    expected = [plain(apply(ready(name), batch)) for batch in batches]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(lambda batch: plain(apply(ready(name), batch)), batches)) == expected


@pytest.mark.parametrize("name", READERS)
def test_what_is_sent_to_a_worker_does_the_same_there(name: str) -> None:
    sent = pickle.loads(pickle.dumps(ready(name)))
    batch = documents(TEXTS)
    # opened anew: `ReadyOperator.open` shares what is open already
    if isinstance(sent.operator, Measure):
        again = sent.operator.open(sent.local_files())(batch)
    else:
        again = transformed(sent.operator.open_measuring(sent.local_files()), batch)
    assert plain(again) == plain(apply(ready(name), batch))


@pytest.mark.parametrize("name", names_of(Transform))
def test_the_texts_are_the_same_where_the_columns_are_not_asked_for(name: str) -> None:
    batch = documents(TEXTS)
    alone = pa.record_batch({TEXT: ready(name).open()(batch[TEXT])})
    assert plain(alone) == plain(apply(ready(name), batch).select([TEXT]))


# All operators


@pytest.mark.parametrize("name", operators())
def test_it_pickles(name: str) -> None:
    operator = ready(name).operator
    again = pickle.loads(pickle.dumps(operator))
    assert again == operator
    assert again.fingerprint({}) == operator.fingerprint({})


@pytest.mark.parametrize("name", operators())
def test_every_option_is_part_of_the_fingerprint(name: str) -> None:
    operator = ready(name).operator
    for option, value in operator:
        changed = 2 * value + 1 if isinstance(value, int | float) else "something else"
        other = operator.model_copy(update={option: changed})
        names_files = option in other.resources() or (option == "target" and isinstance(operator, FittedMeasure))
        assert names_files or other.fingerprint({}) != operator.fingerprint({}), option


@pytest.mark.parametrize("name", operators())
def test_the_code_version_is_part_of_the_fingerprint(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    operator = ready(name).operator
    before = operator.fingerprint({})
    monkeypatch.setattr(type(operator), "code_version", operator.code_version + 1)
    assert operator.fingerprint({}) != before


@pytest.mark.parametrize("name", operators())
def test_a_file_counts_by_its_content_not_by_its_name(name: str) -> None:
    operator = ready(name).operator
    for resource in operator.resources():
        moved = operator.model_copy(update={resource: "elsewhere/model"})
        assert moved.fingerprint({resource: "1"}) == operator.fingerprint({resource: "1"})
        assert operator.fingerprint({resource: "2"}) != operator.fingerprint({resource: "1"})


def test_fingerprints_are_distinct() -> None:
    assert len({ready(name).operator.fingerprint({}) for name in operators()}) == len(operators())


@pytest.mark.parametrize("name", names_of(Rule))
def test_a_rule_names_the_columns_that_it_reads(name: str) -> None:
    columns = ready(name).operator.reads()
    assert columns
    assert all(isinstance(column, str) for column in columns)


@pytest.mark.parametrize("name", operators())
def test_the_catalogue_describes_it_in_full(name: str) -> None:
    entry = describe(name)
    summary, *rest = entry["documentation"].split("\n")
    assert summary.endswith(".")
    assert not rest or rest[0] == "", "a first line that stands alone"
    assert entry["section"] in SECTIONS
    assert [option["name"] for option in entry["fields"] if not option["description"]] == []
    assert [column["name"] for column in entry["columns"] if not column["description"]] == []
    operator = ready(name).operator
    gives = operator.gives().names if isinstance(operator, Measure | Transform) else []
    assert bool(entry["columns"]) == bool(gives)
