"""The votes that `gristmill labels aggregate` works on: of a task's store, or of any table."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import reduce
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from gristmill.operators.columns import CONTENT_ID
from gristmill.operators.errors import RecipeError
from gristmill.operators.label.aggregation.votes import UNKNOWN, Votes, make_votes
from gristmill.operators.label.answers import Choice, Multi, Scale
from gristmill.operators.student.linear import Kind
from gristmill.pipelines.label.importing import read_records
from gristmill.pipelines.label.store import LabelStore, open_stored
from gristmill.pipelines.label.task import LoadedTask
from gristmill.pipelines.storage import files

FITS, FITS_NOT = "fits", "fits not"
_NO_STRATUM = "(none)"


@dataclass(frozen=True)
class Fields:
    """The fields of a table of votes."""

    item: str = "item"
    annotator: str = "annotator"
    label: str = "label"
    gold: str | None = None  #: the true label of the item, empty where it is not known
    time: str | None = None  #: a number that grows with time, such as seconds
    stratum: str | None = None  #: groups of items within which agreement is told

    def named(self) -> list[str]:
        """Return the fields that a record may have."""
        optional = (self.gold, self.time, self.stratum)
        return [self.item, self.annotator, self.label, *(name for name in optional if name is not None)]


@dataclass(frozen=True)
class NamedVotes:
    """Votes with the names that their numbers stand for.

    Of a multi-label task an item is a text and a label, its votes `fits` and `fits not`, and so is an annotator: one
    may be good at one label and bad at another. `item_labels` has the label of each item then, and items of a text
    stand together.
    """

    votes: Votes
    kind: Kind
    items: pa.Array  #: (items) names or content ids
    annotators: Sequence[str]
    labels: Sequence[str]
    left_out: int = 0  #: records without an item, an annotator or a label
    strata: pa.Array | None = None  #: (items)
    item_labels: Sequence[str] = ()  #: of a multi-label task: (items)
    ids: Mapping[bytes, str] = field(default_factory=dict)  #: of a task's documents, by content id


def votes_of_table(path: str, fields: Fields, kind: Kind = "choice") -> NamedVotes:
    """Return the votes of a table: a Parquet file, or one of any format that `labels import` takes.

    Where there are times annotators may change with them. Raises RecipeError where a field is not there, an item has
    two golds, or the labels of a scale are no numbers.
    """
    table = as_texts(read_table(path, fields.named(), fields.label, fields.time), fields.time)
    whole = reduce(pc.and_, (_is_given(table[name]) for name in (fields.item, fields.annotator, fields.label)))
    left_out = table.num_rows - (pc.sum(whole).as_py() or 0)
    table = table.filter(whole)
    if not table.num_rows:
        raise RecipeError(f"{path} holds no votes: records with {fields.item}, {fields.annotator} and {fields.label}")
    items, of_items = coded(table[fields.item])
    annotators, of_annotators = coded(table[fields.annotator])
    given = table[fields.label]
    golds = (
        pa.array([], pa.string()) if fields.gold is None else table[fields.gold].filter(_is_given(table[fields.gold]))
    )
    labels = ordered_labels([*given.unique().to_pylist(), *golds.unique().to_pylist()], kind, path, fields.label)
    gold = None if fields.gold is None else _gold(table[fields.gold], of_items, labels, items, path)
    strata = None
    if fields.stratum is not None:
        first = np.zeros(len(items), np.int64)
        first[of_items[::-1]] = np.arange(len(of_items))[::-1]
        strata = pc.fill_null(table[fields.stratum].combine_chunks().take(pa.array(first)), _NO_STRATUM)
    votes = make_votes(
        of_items,
        of_annotators,
        _places(given, labels),
        (len(items), len(annotators), len(labels)),
        None,
        gold,
        None if fields.time is None else _periods(table[fields.time], fields.time, path),
        _HALF_LIFE,
    )
    return NamedVotes(votes, kind, items, annotators.to_pylist(), labels, left_out, strata)


def votes_of_task(loaded: LoadedTask, store: str, gold: str | None = None, strata: bool = False) -> NamedVotes:
    """Return the answers to a task as votes, the soft label of each where the store has it.

    `gold` names an annotator whose answers are true. With `strata` the items are told apart by the source that a run
    chose them from. Raises RecipeError where the task's answers are no labels, or the store has none of them.
    """
    answer = loaded.task.answer
    if not isinstance(answer, Choice | Scale | Multi):
        raise RecipeError(f"{loaded.name}: its answers are no labels; only those of choice, scale and multi are")
    opened, rows = latest_answers(loaded, store)
    keys, of_items = coded(rows[CONTENT_ID])
    names, of_annotators = coded(rows["annotator"])
    annotators = names.to_pylist()
    if gold is not None and gold not in annotators:
        raise RecipeError(f"no annotator of {loaded.name} is called {gold}; there are {', '.join(annotators)}")
    documents = opened.documents()
    ids = dict(zip(documents[CONTENT_ID].to_pylist(), documents["id"].to_pylist(), strict=True))
    sources = dict(zip(documents[CONTENT_ID].to_pylist(), documents["source"].to_pylist(), strict=True))
    by_item = pa.array([sources.get(key) or _NO_STRATUM for key in keys.to_pylist()]) if strata else None
    kind: Kind = "choice" if isinstance(answer, Choice) else "scale" if isinstance(answer, Scale) else "multi"
    if isinstance(answer, Multi):
        return _multi(rows, answer, (keys, of_items), (annotators, of_annotators), gold, ids, by_item)
    labels = list(answer.codes.values())
    shares = _shares(rows, labels)
    given = _places(rows["answer"], labels)
    votes = _without_gold(
        of_items, of_annotators, given, shares, (len(keys), len(annotators), len(labels)), annotators, gold
    )
    return NamedVotes(votes, kind, keys, annotators, labels, 0, by_item, (), ids)


def latest_answers(loaded: LoadedTask, store: str) -> tuple[LabelStore, pa.Table]:
    """Return the store of a task and its valid answers, of several revisions of a model the one that answered last.

    They are sorted by content id and annotator. Raises RecipeError where there are none.
    """
    opened = open_stored(store, loaded.fingerprint)
    rows = opened.rows(columns=("answer", "probabilities"))
    rows = rows.filter(pc.is_valid(rows["answer"]))
    if not rows.num_rows:
        raise RecipeError(f"the store has no valid answer to {loaded.name}; `gristmill labels query` shows what it has")
    rows = rows.sort_by([(CONTENT_ID, "ascending"), ("annotator", "ascending"), ("created", "descending")])
    names, of_annotators = coded(rows["annotator"])
    of_pairs = coded(rows[CONTENT_ID])[1] * len(names) + of_annotators
    return opened, rows.take(pa.array(np.flatnonzero(np.diff(of_pairs, prepend=-1))))


def _without_gold(
    items: NDArray[np.int64],
    who: NDArray[np.int64],
    given: NDArray[np.int64],
    shares: NDArray[np.float64] | None,
    sizes: tuple[int, int, int],
    annotators: Sequence[str],
    gold: str | None,
) -> Votes:
    """Return the votes of all but gold, and gold's as what is true."""
    truth = np.full(sizes[0], UNKNOWN, np.int64)
    if gold is not None:
        of_gold = np.isin(who, [i for i, name in enumerate(annotators) if name.partition("\0")[0] == gold])
        truth[items[of_gold]] = given[of_gold]
        items, who, given = items[~of_gold], who[~of_gold], given[~of_gold]
        shares = None if shares is None else shares[~of_gold]
    return make_votes(items, who, given, sizes, shares, truth)


def _multi(
    rows: pa.Table,
    answer: Multi,
    items: tuple[pa.Array, NDArray[np.int64]],
    annotators: tuple[Sequence[str], NDArray[np.int64]],
    gold: str | None,
    ids: Mapping[bytes, str],
    strata: pa.Array | None,
) -> NamedVotes:
    """Return the votes of a multi-label task: one for each text, annotator and label."""
    keys, of_items = items
    names, of_annotators = annotators
    labels = list(answer.multi)
    k, n = len(labels), len(of_items)
    fits = np.array([[label in chosen for label in labels] for chosen in map(json.loads, rows["answer"].to_pylist())])
    soft = _shares(rows, labels, normalize=False)
    of_fits = fits.astype(np.float64) if soft is None else soft
    shares = None if soft is None else np.stack([1 - of_fits, of_fits], axis=2).reshape(n * k, 2)
    each = np.tile(np.arange(k), n)
    both = [f"{name}\0{label}" for name in names for label in labels]
    votes = _without_gold(
        np.repeat(of_items, k) * k + each,
        np.repeat(of_annotators, k) * k + each,
        fits.astype(np.int64).ravel(),
        shares,
        (len(keys) * k, len(both), 2),
        both,
        gold,
    )
    repeated = pa.array(np.repeat(np.arange(len(keys)), k))
    of_labels = labels * len(keys)
    by_item = None if strata is None else strata.take(repeated)
    return NamedVotes(votes, "multi", keys.take(repeated), both, [FITS_NOT, FITS], 0, by_item, of_labels, ids)


def _shares(rows: pa.Table, labels: Sequence[str], normalize: bool = True) -> NDArray[np.float64] | None:
    """Return the soft votes (n, labels), one-hot where the store has no probabilities; None where it has none."""
    if rows["probabilities"].null_count == rows.num_rows:
        return None
    place = {label: i for i, label in enumerate(labels)}
    shares = np.zeros((rows.num_rows, len(labels)))
    pairs = zip(rows["answer"].to_pylist(), rows["probabilities"].to_pylist(), strict=True)
    for row, (answer, probabilities) in enumerate(pairs):
        if probabilities is None:
            chosen = [answer] if normalize else json.loads(answer)
            shares[row, [place[label] for label in chosen]] = 1.0
        for label, probability in probabilities or ():
            shares[row, place[label]] = probability
    return shares / shares.sum(axis=1, keepdims=True) if normalize else shares


def read_table(path: str, names: Sequence[str], required: str, time: str | None = None) -> pa.Table:
    """Return fields of a table: a Parquet file as it is; of any other format as text, but for a time, a number.

    Raises RecipeError where it cannot be read, or has not these fields.
    """
    if not path.endswith(".parquet"):
        records = [record for _, record in read_records(path, required)]
        check_fields(path, {name for record in records[:_LOOKED_AT] for name in record}, names)
        columns = {name: _column([record.get(name) for record in records], name == time) for name in names}
        return pa.table(columns)
    try:
        with files.open_input(path) as file:
            parquet = pq.ParquetFile(file)
            check_fields(path, parquet.schema_arrow.names, names)
            return parquet.read(names)
    except FileNotFoundError:
        raise RecipeError(f"there is no file {path}") from None
    except pa.ArrowInvalid as error:
        raise RecipeError(f"{path} cannot be read: {error}") from None


_LOOKED_AT = 1000  # records whose fields say which a table has


def check_fields(path: str, there: Iterable[str], names: Sequence[str]) -> None:
    """Raise RecipeError where a table lacks one of its fields."""
    if missing := [name for name in names if name not in {*there}]:
        raise RecipeError(
            f"{path} has no field {', '.join(missing)}; its fields are {', '.join(map(str, there))}: name those to read"
        )


def _column(values: Sequence[Any], is_number: bool) -> pa.Array:
    if is_number:
        return pa.array([None if value in (None, "") else float(value) for value in values], pa.float64())
    return pa.array([None if value is None else str(value) for value in values], pa.string())


def as_texts(table: pa.Table, time: str | None = None) -> pa.Table:
    """Return a table whose columns are text, but for the time, a number."""
    columns = {}
    for name in table.column_names:
        column = table[name]
        if name == time:
            columns[name] = column.cast(pa.int64() if pa.types.is_temporal(column.type) else pa.float64()).cast(
                pa.float64()
            )
        else:
            columns[name] = column.cast(pa.string())
    return pa.table(columns)


def _is_given(column: pa.ChunkedArray) -> pa.ChunkedArray:
    return pc.fill_null(pc.not_equal(column, ""), False)


def coded(column: pa.ChunkedArray) -> tuple[pa.Array, NDArray[np.int64]]:
    """Return the different values of a column, sorted, and the place of each of its values among them."""
    encoded = column.combine_chunks().dictionary_encode()
    order = pc.sort_indices(encoded.dictionary).to_numpy()
    place = np.empty(len(order), np.int64)
    place[order] = np.arange(len(order))
    return encoded.dictionary.take(pa.array(order)), place[encoded.indices.to_numpy()]


def ordered_labels(labels: Iterable[str], kind: Kind, path: str, name: str) -> list[str]:
    """Return the different labels in their order: of a scale that of their numbers."""
    unique = sorted({*labels})
    if kind != "scale":
        return unique
    try:
        return sorted(unique, key=float)
    except ValueError:
        wrong = next(label for label in unique if not _is_number(label))
        raise RecipeError(
            f"{path}: the label {wrong!r} of the field {name} is no number, as those of a scale are"
        ) from None


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _places(column: pa.ChunkedArray, labels: Sequence[str]) -> NDArray[np.int64]:
    places: NDArray[np.int64] = (
        pc.index_in(column.combine_chunks(), pa.array(labels, pa.string())).to_numpy().astype(np.int64)
    )
    return places


def _gold(
    column: pa.ChunkedArray, of_items: NDArray[np.int64], labels: Sequence[str], items: pa.Array, path: str
) -> NDArray[np.int64]:
    given = _is_given(column).combine_chunks().to_numpy(zero_copy_only=False)
    places = pc.fill_null(pc.index_in(column.combine_chunks(), pa.array(labels, pa.string())), UNKNOWN).to_numpy()
    gold = np.full(len(items), UNKNOWN, np.int64)
    gold[of_items[given]] = places[given]
    wrong = np.flatnonzero(given & (gold[of_items] != places))
    if len(wrong):
        raise RecipeError(f"{path}: the item {items[int(of_items[wrong[0]])].as_py()} has more than one gold label")
    return gold


#: Periods into which time is cut at most, of as many votes each, and those after which a vote counts half.
_MOST_PERIODS = 64
_HALF_LIFE = 4.0
_VOTES_A_PERIOD = 1000


def _periods(column: pa.ChunkedArray, name: str, path: str) -> NDArray[np.int64]:
    """Return the number of the stretch of time of each vote; all stretches hold about as many votes."""
    if column.null_count:
        raise RecipeError(f"{path}: {column.null_count:,} votes have no {name}")
    times = column.to_numpy()
    periods = min(_MOST_PERIODS, max(1, len(times) // _VOTES_A_PERIOD))
    edges = np.quantile(times, np.arange(1, periods) / periods)
    cut: NDArray[np.int64] = np.searchsorted(edges, times, side="right").astype(np.int64)
    return cut
