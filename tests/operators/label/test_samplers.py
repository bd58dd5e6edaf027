"""Samples of documents, against choices made in plain Python one text at a time."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from gristmill.operators.errors import RecipeError
from gristmill.operators.kernels.buffers import id_words
from gristmill.operators.kernels.noise import uniform
from gristmill.operators.label import samplers
from gristmill.operators.label.samplers import choose, distinct_texts
from gristmill.operators.label.task import Sample

Row = dict[str, Any]

SCHEMA = pa.schema(
    [
        ("key", pa.binary(16)),
        ("id", pa.string()),
        ("source", pa.string()),
        ("year", pa.int16()),
        ("score", pa.float64()),
    ]
)
SAMPLES: list[Row] = [
    {"by": "random"},
    {"by": "top", "score": "score"},
    {"by": "top", "score": "score", "ascending": True},
    {"by": "near_threshold", "score": "score", "threshold": 0.5},
    {"by": "stratified", "columns": ["source"]},
    {"by": "stratified", "columns": ["source", "year"]},
    {"by": "stratified", "columns": ["year", "source"], "shares": "proportional"},
]

rows_of_a_table = st.lists(
    st.fixed_dictionaries(
        {
            "key": st.integers(0, 30).map(lambda i: i.to_bytes(16, "big")),
            "id": st.integers(0, 30).map(str),
            "source": st.sampled_from(["web", "books", "", None]),
            "year": st.sampled_from([2001, 2002, None]),
            "score": st.one_of(st.none(), st.floats(-1, 2), st.sampled_from([0.0, 1.0, math.nan, math.inf, -math.inf])),
        }
    ),
    min_size=10,
    max_size=60,
)


def table_of(rows: Sequence[Row]) -> pa.Table:
    return pa.Table.from_pylist(list(rows), SCHEMA)


def random_keys(n: int, seed: int = 0) -> pa.Array:
    content = pa.py_buffer(np.random.default_rng(seed).bytes(16 * n))
    return pa.FixedSizeBinaryArray.from_buffers(pa.binary(16), n, [None, content])


def chosen_keys(sample: Sample, rows: Sequence[Row], **given: Any) -> set[bytes]:
    mask = choose(sample, table_of(rows), **given)
    taken = {row["key"] for row, kept in zip(rows, mask, strict=True) if kept}
    left = {row["key"] for row, kept in zip(rows, mask, strict=True) if not kept}
    assert not taken & left, "a text was chosen in one document and left out in another"
    return taken


def in_hash_order(sample: Sample, rows: Sequence[Row]) -> list[bytes]:
    keys = sorted({row["key"] for row in rows})
    noise = uniform(np.uint64(sample.seed), id_words(pa.array(keys, pa.binary(16))))
    return [keys[i] for i in np.argsort(noise)]


def by_key(rows: Sequence[Row], value: Callable[[Row], Any]) -> dict[bytes, list[Any]]:
    values: dict[bytes, list[Any]] = {}
    for row in rows:
        values.setdefault(row["key"], []).append(value(row))
    return values


def expected_by_score(sample: Sample, rows: Sequence[Row]) -> set[bytes]:
    """The best of each text's scores, in order; sorting keeps the order of the hash between equal ones."""

    def badness(row: Row) -> float:
        score = math.nan if row["score"] is None else row["score"]
        if sample.threshold is not None:
            return abs(score - sample.threshold)
        return score if sample.ascending else -score

    scores = {key: [v for v in values if v == v] for key, values in by_key(rows, badness).items()}
    eligible = [key for key in in_hash_order(sample, rows) if scores[key]]
    return set(sorted(eligible, key=lambda key: min(scores[key]))[: sample.documents])


def expected_strata(sample: Sample, rows: Sequence[Row]) -> set[bytes]:
    """One document at a time to the stratum whose turn it is, the first in the order of the hash between equal ones."""
    least: Row = {"source": "", "year": 0}
    values = by_key(rows, lambda row: tuple((row[c] is None, row[c] or least[c]) for c in sample.columns))
    stratum = {key: min(several) for key, several in values.items()}
    left: dict[Any, list[bytes]] = {}
    for key in in_hash_order(sample, rows):
        left.setdefault(stratum[key], []).append(key)
    rank = {key: i for i, key in enumerate(in_hash_order(sample, rows))}
    size = {name: len(keys) for name, keys in left.items()}
    taken: Counter[Any] = Counter()
    chosen: set[bytes] = set()
    while len(chosen) < (sample.documents or 0) and any(left.values()):

        def turn(name: Any) -> tuple[float, int]:
            given = taken[name] if sample.shares == "equal" else (2 * taken[name] + 1) / (2 * size[name])
            return given, rank[left[name][0]]

        name = min((name for name, keys in left.items() if keys), key=turn)
        chosen.add(left[name].pop(0))
        taken[name] += 1
    return chosen


def expected(sample: Sample, rows: Sequence[Row]) -> set[bytes]:
    if sample.score is not None:
        return expected_by_score(sample, rows)
    if sample.by == "stratified":
        return expected_strata(sample, rows)
    return set(in_hash_order(sample, rows)[: sample.documents])


@pytest.mark.parametrize("options", SAMPLES, ids=lambda options: "-".join(map(str, options.values())))
@given(rows_of_a_table, st.floats(0, 1.1), st.integers(0, 2**64 - 1))
def test_against_brute_force(options: Row, rows: list[Row], share: float, seed: int) -> None:
    texts = len({row["key"] for row in rows})
    sample = Sample(documents=1 + int(share * texts), seed=seed, **options)
    assert chosen_keys(sample, rows) == expected(sample, rows)


@given(rows_of_a_table, st.sampled_from(SAMPLES), st.integers(1, 12), st.randoms(), st.integers(1, 60))
def test_neither_order_nor_chunks_nor_copies_matter(
    rows: list[Row], options: Row, documents: int, random: Any, size: int
) -> None:
    sample = Sample(documents=documents, seed=3, **options)
    keys = chosen_keys(sample, rows)
    more = rows + random.choices(rows, k=10)
    random.shuffle(more)
    assert chosen_keys(sample, more) == keys
    whole = table_of(more)
    parts = pa.concat_tables([whole.slice(i, size) for i in range(0, len(more), size)])
    assert choose(sample, parts).tolist() == choose(sample, whole).tolist()


@given(rows_of_a_table, st.sets(st.integers(0, 60).map(str), min_size=1), st.sampled_from([None, 3]))
def test_import_takes_the_texts_of_the_ids(rows: list[Row], ids: set[str], documents: int | None) -> None:
    sample = Sample(import_="ids.txt", documents=documents, seed=5)
    listed = {row["key"] for row in rows if row["id"] in ids}
    if not listed:
        with pytest.raises(RecipeError, match=r"import: ids\.txt has .* none is that of one of"):
            chosen_keys(sample, rows, ids=ids)
        return
    in_order = [key for key in in_hash_order(sample, rows) if key in listed]
    assert chosen_keys(sample, rows, ids=ids) == set(in_order[:documents])


def test_a_smaller_sample_is_part_of_a_larger_one_and_another_seed_gives_another() -> None:
    table = pa.table({"key": random_keys(1000)})
    small, large, other = (choose(Sample(documents=n, seed=s), table) for n, s in ((100, 1), (300, 1), (100, 2)))
    assert [small.sum(), large.sum(), other.sum()] == [100, 300, 100]
    assert not (small & ~large).any()
    assert (small & other).sum() < 30  # 10 on average


def test_every_text_has_the_same_chance_whatever_its_id() -> None:
    keys = pa.array([i.to_bytes(16, "little") for i in range(50)], pa.binary(16))
    table = pa.table({"key": keys})
    times = sum(choose(Sample(documents=10, seed=seed), table).astype(int) for seed in range(2000))
    # 400 times on average, variance 2000 * 0.2 * 0.8 = 320, and 49 degrees of freedom: p = 0.0004
    assert ((times - 400) ** 2 / 320).sum() * 49 / 50 < 87


@pytest.mark.parametrize(
    ("documents", "shares", "counts"),
    [
        (30, "equal", {"a": 6, "b": 6, "c": 6, None: 6, "d": 6}),
        (300, "equal", {"a": 6, "b": 40, "c": 114, None: 100, "d": 40}),
        (10_000, "equal", {"a": 6, "b": 40, "c": 1000, None: 100, "d": 40}),
        (593, "proportional", {"a": 3, "b": 20, "c": 500, None: 50, "d": 20}),
        (59, "proportional", {"a": 0, "b": 2, "c": 50, None: 5, "d": 2}),
    ],
)
def test_strata(documents: int, shares: str, counts: dict[str | None, int]) -> None:
    sizes = {"a": 6, "b": 40, "c": 1000, None: 100, "d": 40}
    sources = [source for source, size in sizes.items() for _ in range(size)]
    for values in (pa.array(sources), pa.array(sources).dictionary_encode()):
        table = pa.table({"key": random_keys(len(sources)), "source": values})
        sample = Sample(documents=documents, by="stratified", columns=("source",), shares=shares)
        found = Counter(np.array(sources, object)[choose(sample, table)].tolist())
        assert {source: found[source] for source in sizes} == counts


def test_a_remainder_goes_to_strata_at_random() -> None:
    table = pa.table({"key": random_keys(500), "source": np.arange(500) % 5})
    times = Counter[int]()
    for seed in range(300):
        kept = choose(Sample(documents=17, by="stratified", columns=("source",), seed=seed), table)
        found = Counter((np.flatnonzero(kept) % 5).tolist())
        assert sorted(found.values()) == [3, 3, 3, 4, 4]
        times.update(source for source, count in found.items() if count == 4)
    assert all(80 < times[source] < 160 for source in range(5))  # 120 on average, standard deviation 8.5


@pytest.mark.parametrize(
    "values",
    [
        pa.array([True, False, None] * 20),
        pa.array([1.5, math.nan, None] * 20),
        pa.array([b"x", b"y", None] * 20, pa.large_binary()),
        pa.array([0, 86400, None] * 20, pa.timestamp("s")),
        pa.array([-1, 5, 7] * 20, pa.int8()),
        pa.nulls(60, pa.string()),
    ],
    ids=lambda values: str(values.type),
)
def test_columns_of_any_type_make_strata(values: pa.Array) -> None:
    table = pa.table({"key": random_keys(60), "v": values})
    kept = choose(Sample(documents=9, by="stratified", columns=("v",)), table)
    strata = values.dictionary_encode(null_encoding="encode").indices.to_numpy(zero_copy_only=False)
    assert set(Counter(strata[kept].tolist()).values()) == {9 // len(set(strata.tolist()))}


@pytest.mark.parametrize("kind", [pa.int64(), pa.uint8(), pa.float32(), pa.float16(), pa.decimal128(5, 2)])
def test_scores_of_any_numeric_type(kind: pa.DataType) -> None:
    scores = pa.array(np.arange(100, dtype=np.float64)).cast(kind)
    table = pa.table({"key": random_keys(100), "score": scores})
    assert np.flatnonzero(choose(Sample(documents=3, by="top", score="score"), table)).tolist() == [97, 98, 99]
    nearest = Sample(documents=3, by="near_threshold", score="score", threshold=50.2)
    assert np.flatnonzero(choose(nearest, table)).tolist() == [49, 50, 51]


def test_texts_with_one_hash_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(samplers, "uniform", lambda seed, words: np.full(len(words), 0.25))
    keys = random_keys(5).to_pylist()
    for order in ([0, 1, 2, 3, 4, 0, 2], [2, 4, 0, 1, 0, 3, 2]):
        column = pa.chunked_array([pa.array([keys[i] for i in order], pa.binary(16))])
        texts = distinct_texts(0, column)
        assert len(texts.starts) == 5
        mask = choose(Sample(documents=2), pa.table({"key": column}))
        words = [(int.from_bytes(k[:8], "little"), int.from_bytes(k[8:], "little")) for k in keys]
        assert {words[i] for i, kept in zip(order, mask, strict=True) if kept} == set(sorted(words)[:2])


def test_no_documents_no_scores() -> None:
    for options in SAMPLES:
        assert choose(Sample(documents=3, **options), table_of([])).tolist() == []
    table = pa.table({"key": random_keys(3), "score": pa.array([None, math.nan, None], pa.float64())})
    assert choose(Sample(documents=3, by="top", score="score"), table).tolist() == [False] * 3


def test_what_is_missing_is_said() -> None:
    table = pa.table({"key": random_keys(2), "id": ["doc-a", "doc-b"], "lang": ["en", "de"]})
    with pytest.raises(RecipeError, match=r"by: stratified goes by source; the documents have id, lang"):
        choose(Sample(documents=3, by="stratified", columns=("source",)), table)
    with pytest.raises(RecipeError, match=r"goes by the numbers in `lang`; that column holds string"):
        choose(Sample(documents=3, by="top", score="lang"), table)
    tags = pa.table({"key": random_keys(1), "tags": [["a", "b"]]})
    with pytest.raises(RecipeError, match=r"`tags`; that column holds list<.*name one of single values"):
        choose(Sample(documents=3, by="stratified", columns=("tags",)), tags)
    with pytest.raises(RecipeError, match=r"mine\.txt has 2 ids \(such as '1'\).*2 documents \(such as 'doc-a'\)"):
        choose(Sample(import_="mine.txt"), table, ids={"2", "1"})
    with pytest.raises(RecipeError, match="it is empty"):
        choose(Sample(import_="mine.txt"), table, ids=set())


def test_a_million_documents() -> None:
    n = 1_000_000
    draw = np.random.default_rng(1)
    table = pa.table(
        {
            "key": random_keys(n).take(pa.array(draw.integers(0, n, n))),  # about 632,000 texts
            "source": pa.array(draw.integers(0, 1000, n)).cast(pa.string()),
            "score": draw.random(n),
        }
    )
    texts = len(set(table["key"].to_pylist()))
    for options in ({}, {"by": "top", "score": "score"}, {"by": "stratified", "columns": ["source"]}):
        kept = choose(Sample(documents=50_000, **options), table)
        assert len(set(table["key"].filter(pa.array(kept)).to_pylist())) == 50_000
    assert choose(Sample(documents=texts), table).all()


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({}, "`documents`, how many to choose, is missing"),
        ({"documents": 0}, "greater than 0"),
        ({"documents": 5, "by": "best"}, "Input should be 'random', 'stratified'"),
        ({"documents": 5, "by": "stratified"}, "by: stratified needs `columns`, the columns whose values make strata"),
        ({"documents": 5, "by": "top"}, "by: top needs `score`, the column to go by"),
        ({"documents": 5, "by": "near_threshold", "threshold": 1}, "by: near_threshold needs `score`"),
        ({"documents": 5, "by": "near_threshold", "score": "s"}, "needs `threshold`, the value to be near to"),
        ({"documents": 5, "by": "near_threshold", "score": "s", "threshold": math.nan}, "finite number"),
        ({"documents": 5, "score": "s"}, "`score` has no meaning for by: random; it goes with by: top"),
        ({"documents": 5, "by": "top", "score": "s", "clusters": 9}, "`clusters` has no meaning for by: top"),
        ({"by": "cluster", "import": "x"}, "`import` names the documents itself; it cannot go with by: cluster"),
        ({"documents": 5, "sources": ["a"]}, "Extra inputs are not permitted"),
        ({"documents": 5, "seed": -1}, "greater than or equal to 0"),
    ],
)
def test_refused(fields: Row, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Sample.model_validate(fields)


def test_what_a_sample_needs() -> None:
    stratified = Sample.model_validate({"documents": 5, "by": "stratified", "columns": ["source", "lang"]})
    assert stratified.columns_needed() == {"source", "lang"}
    assert Sample(documents=5, by="near_threshold", score="s", threshold=0).columns_needed() == {"s"}
    assert Sample.model_validate({"import": "ids.txt"}).columns_needed() == set()
    assert Sample(documents=5, by="cluster").needs_vectors
    assert not stratified.needs_vectors
    assert Sample.model_validate(stratified.model_dump(by_alias=True, exclude_unset=True)) == stratified
