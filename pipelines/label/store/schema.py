"""Rows of the label store: their columns, how they are built, which of several for one answer counts.

`Known` is what rows come to: the state of each content id that one annotator was asked about.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from gristmill.operators.columns import CONTENT_ID, TYPES
from gristmill.operators.kernels.buffers import id_words
from gristmill.operators.label.contract import Rejected
from gristmill.operators.runs import is_first

SCHEMA = pa.schema(
    [
        (CONTENT_ID, TYPES[CONTENT_ID]),  # null: paid for, and there is no answer ("unanswered")
        ("annotator", pa.string()),
        ("model", pa.string()),
        ("revision", pa.string()),
        ("attempt", pa.int8()),  # 0 imported, 1 the first answer, 2 after the repair
        ("answer", pa.string()),  # null if it is not valid
        ("probability", pa.float32()),
        ("probabilities", pa.map_(pa.string(), pa.float32())),
        ("coverage", pa.float32()),
        ("entropy", pa.float32()),  # nats
        ("logprob", pa.float32()),  # nats
        ("input_tokens", pa.int64()),  # of this attempt; if attempts were merged, of all of them
        ("output_tokens", pa.int64()),
        ("cost", pa.float64()),
        ("cut_tokens", pa.int32()),
        ("raw", pa.string()),  # the completion, if it is not valid or was repaired
        ("error", pa.string()),  # reason that there is no answer
        ("created", pa.timestamp("us", "UTC")),
        ("run", pa.string()),
    ]
)
#: Columns that tell the rows of one answer apart and decide which of them counts.
MERGED_BY = (CONTENT_ID, "annotator", "revision", "attempt", "created")
SUMMED = ("input_tokens", "output_tokens", "cost")
_NO_KEY = bytes(16)
_NULL = -1  # the length of a map that is not there
#: States of a content id.
MISSING, ANSWERED, REPAIR, QUARANTINED = range(4)
#: Columns that a look-up is made of.
NEEDED = (CONTENT_ID, "attempt", "answer", "raw", "error", "created")
_ATTEMPT_BITS = 56  # above the microseconds of any time


class Annotation(NamedTuple):
    """Origin of answers. Together with the content id it is the key of an answer."""

    annotator: str
    model: str
    revision: str


class AnswerRow(NamedTuple):
    """One answer, or what came instead of it. Its fields are the columns of SCHEMA.

    Not valid but with `raw`: a first attempt of this kind is yet to be repaired, a second is in quarantine. Neither
    valid nor with `raw`: refused for good, in quarantine. Without a key: paid for, no answer came, to be asked again.
    """

    key: bytes | None  #: content id, 16 bytes
    attempt: int
    answer: str | None
    probability: float | None = None
    probabilities: dict[str, float] | None = None
    coverage: float | None = None
    entropy: float | None = None
    logprob: float | None = None
    input_tokens: int = 0
    output_tokens: int = 0
    cost: float = 0.0
    cut_tokens: int = 0
    raw: str | None = None
    error: str | None = None


def to_columns(rows: Sequence[AnswerRow]) -> dict[str, Any]:
    """Return rows (n) as lists by field, which JSON can hold, made to be read back fast.

    A field that is null in all rows is left out. Keys are one hexadecimal text, zeros where `unanswered` lists the row.
    Probabilities are `labels` (the different lists of labels), `labelled` (which of these each row has) and `shares`.
    """
    fields = zip(AnswerRow._fields, zip(*rows, strict=True), strict=True) if rows else ()
    columns: dict[str, Any] = {name: values for name, values in fields if values.count(None) < len(values)}
    columns.setdefault("attempt", [])
    keys = columns.pop("key", (None,) * len(rows))
    columns["key"] = b"".join(_NO_KEY if key is None else key for key in keys).hex()
    if None in keys:
        columns["unanswered"] = [i for i, key in enumerate(keys) if key is None]
    if (probabilities := columns.pop("probabilities", None)) is not None:
        numbers: dict[tuple[str, ...], int] = {}
        columns["labelled"] = [
            None if shares is None else numbers.setdefault(tuple(shares), len(numbers)) for shares in probabilities
        ]
        columns["labels"] = list(numbers)
        columns["shares"] = list(chain.from_iterable(shares.values() for shares in probabilities if shares is not None))
    return columns


def to_table(batches: Sequence[Mapping[str, Any]], run: str) -> pa.Table:
    """Return a table (SCHEMA) of batches (`to_columns`, with annotator, model, revision, `created` in microseconds)."""
    counts = [len(batch["attempt"]) for batch in batches]
    of_batch = pa.array(np.repeat(np.arange(len(batches)), counts))
    columns: dict[str, pa.Array] = {
        CONTENT_ID: _keys(batches),
        "probabilities": _maps(batches, counts),
        "run": pa.repeat(pa.scalar(run, pa.string()), sum(counts)),
    }
    for name in SCHEMA.names:
        kind = SCHEMA.field(name).type
        if name in AnswerRow._fields and name not in columns:
            columns[name] = _gathered(name, kind, batches, counts)
        elif name not in columns:
            columns[name] = pa.array([batch[name] for batch in batches], kind).take(of_batch)
    return pa.table([columns[name] for name in SCHEMA.names], schema=SCHEMA)


def _gathered(name: str, kind: pa.DataType, batches: Sequence[Mapping[str, Any]], counts: Sequence[int]) -> pa.Array:
    if not any(name in batch for batch in batches):
        return pa.nulls(sum(counts), kind)
    lists = (batch.get(name) or [None] * n for batch, n in zip(batches, counts, strict=True))
    return pa.array(list(chain.from_iterable(lists)), kind)


def _keys(batches: Sequence[Mapping[str, Any]]) -> pa.Array:
    content = bytes.fromhex("".join(batch["key"] for batch in batches))
    n = len(content) // len(_NO_KEY)
    keys = pa.FixedSizeBinaryArray.from_buffers(TYPES[CONTENT_ID], n, [None, pa.py_buffer(content)])
    missing = np.zeros(n, np.bool_)
    first = 0
    for batch in batches:
        missing[[first + i for i in batch.get("unanswered", ())]] = True
        first += len(batch["attempt"])
    return pc.if_else(pa.array(missing), pa.scalar(None, TYPES[CONTENT_ID]), keys) if missing.any() else keys


def _maps(batches: Sequence[Mapping[str, Any]], counts: Sequence[int]) -> pa.Array:
    """Return the probabilities (n) of all batches."""
    codes: dict[str, int] = {}
    labels: list[NDArray[np.int64]] = [np.empty(0, np.int64)]
    lengths: list[NDArray[np.int64]] = [np.empty(0, np.int64)]
    for batch, n in zip(batches, counts, strict=True):
        lists = [
            np.array([codes.setdefault(label, len(codes)) for label in label_list], np.int64)
            for label_list in batch.get("labels", ())
        ]
        labelled = batch.get("labelled") or [None] * n
        if len(lists) == 1 and None not in labelled:
            labels.append(np.tile(lists[0], n))
            lengths.append(np.full(n, len(lists[0])))
            continue
        labels += [lists[which] for which in labelled if which is not None]
        lengths.append(np.array([_NULL if which is None else len(lists[which]) for which in labelled], np.int64))
    shares = pa.array(list(chain.from_iterable(batch.get("shares", ()) for batch in batches)), pa.float32())
    names = pa.array(list(codes), pa.string()).take(pa.array(np.concatenate(labels)))
    sizes = np.concatenate(lengths)
    offsets = np.concatenate([[0], np.cumsum(np.maximum(sizes, 0))])
    if (sizes != _NULL).all():
        return pa.MapArray.from_arrays(pa.array(offsets, pa.int32()), names, shares)
    null = np.append(sizes == _NULL, False)  # a null offset makes a null map
    return pa.MapArray.from_arrays(pa.array(offsets, pa.int32(), mask=null), names, shares)


def halves(keys: pa.Array | pa.ChunkedArray) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
    """Return the upper and lower half of 16-byte keys (n), zeros where null: such pairs sort as the bytes do."""
    words = id_words(keys).byteswap()
    return words[:, 0].copy(), words[:, 1].copy()


def sorted_order(first: NDArray[np.uint64], *others: NDArray[Any]) -> NDArray[np.int64]:
    """Return the stable order (n) that sorts by `first`, then by `others`.

    Upper halves of content ids seldom repeat, so almost all is done by one sort of numbers; only rows that share one
    are sorted by the rest.
    """
    order = np.argsort(first, kind="stable")
    values = first[order]
    same = np.concatenate([[False], values[1:] == values[:-1]])
    tied = np.flatnonzero(same | np.concatenate([same[1:], [False]])) if len(first) else np.empty(0, np.int64)
    if len(tied):
        among = order[tied]
        order[tied] = among[np.lexsort((*(other[among] for other in reversed(others)), first[among]))]
    return order


def first_of_each(order: NDArray[np.int64], *keys: NDArray[Any]) -> NDArray[np.bool_]:
    """Return a mask (n) of the places of an order that are the first of those that agree in all keys."""
    first: NDArray[np.bool_] = np.logical_or.reduce([is_first(key[order]) for key in keys])
    return first


def last_of_each(order: NDArray[np.int64], *keys: NDArray[Any]) -> NDArray[np.bool_]:
    """Return a mask (n) of the places of an order that are the last of those that agree in all keys."""
    return np.roll(first_of_each(order, *keys), -1)  # the first of all stands for the end behind the last


def merged(table: pa.Table) -> pa.Table:
    """Return a row for each content id, annotator and revision, sorted: the latest of the highest attempt.

    Tokens and cost are those of all rows that it stands for, so that nothing that was paid is forgotten. Merging is
    associative: merged parts may be merged again. Columns other than MERGED_BY may be left out.
    """
    high, low = halves(table[CONTENT_ID])
    unanswered = table[CONTENT_ID].is_null().to_numpy()
    annotator, revision = (_codes(table[name]) for name in ("annotator", "revision"))
    attempt = table["attempt"].to_numpy()
    created = table["created"].cast(pa.int64()).to_numpy()
    order = sorted_order(high, low, unanswered, annotator, revision, attempt, created)
    last = last_of_each(order, high, low, unanswered, annotator, revision)
    result = table.take(pa.array(order[last]))
    starts = np.flatnonzero(np.roll(last, 1))
    for name in (name for name in SUMMED if name in table.column_names):
        values = table[name].to_numpy()[order]
        sums = np.add.reduceat(values, starts) if len(starts) else values
        result = result.set_column(result.schema.get_field_index(name), SCHEMA.field(name), pa.array(sums))
    return result


def _codes(names: pa.ChunkedArray) -> NDArray[np.int64]:
    """Return numbers (n) that sort as the names do; null first."""
    encoded = names.combine_chunks().dictionary_encode()
    if isinstance(encoded, pa.ChunkedArray):
        encoded = encoded.combine_chunks()
    ranks = np.argsort(np.argsort(encoded.dictionary.to_numpy(zero_copy_only=False).astype(str)))
    codes: NDArray[np.int64] = np.append(ranks, -1)[encoded.indices.fill_null(len(ranks)).to_numpy()]
    return codes


class Known:
    """Content ids with their states: 17 bytes for each, in sorted arrays, and the answers that are to be repaired."""

    def __init__(self, tables: Iterable[pa.Table]) -> None:
        """Build the look-up from rows (columns NEEDED) of one annotator and revision, one table at a time."""
        parts = [_Part(table) for table in tables if table.num_rows]
        high, low, rank, state = (
            np.concatenate([np.empty(0, kind), *(getattr(part, name) for part in parts)])
            for name, kind in (("high", np.uint64), ("low", np.uint64), ("rank", np.int64), ("state", np.uint8))
        )
        order = sorted_order(high, low, rank)
        order = order[last_of_each(order, high, low)]
        self._high, self._low, self._state = high[order], low[order], state[order]
        self._rejected = {key: rejected for part in parts for key, rejected in part.rejected}

    def __len__(self) -> int:
        return len(self._state)

    def states(self, keys: pa.FixedSizeBinaryArray | pa.ChunkedArray) -> NDArray[np.uint8]:
        """Return the states (n) of content ids (n): MISSING, ANSWERED, REPAIR or QUARANTINED."""
        high, low = halves(keys)
        states = np.full(len(high), MISSING, np.uint8)
        # sorted keys are found at places close to each other, which suits the processor's caches
        order = np.argsort(high)
        high, low = high[order], low[order]
        at = np.searchsorted(self._high, high)
        looking = np.arange(len(high))
        while len(looking):
            looking = looking[at[looking] < len(self._high)]
            looking = looking[self._high[at[looking]] == high[looking]]
            found = self._low[at[looking]] == low[looking]
            states[order[looking[found]]] = self._state[at[looking[found]]]
            looking = looking[~found]
            at[looking] += 1
        return states

    def rejected(self, key: bytes) -> Rejected:
        """Return the answer that is to be repaired, of a content id in the state REPAIR; KeyError for another."""
        return self._rejected[key]


class _Part:
    """The rows of one table as arrays."""

    def __init__(self, table: pa.Table) -> None:
        table = table.filter(pc.is_valid(table[CONTENT_ID]))
        self.high, self.low = halves(table[CONTENT_ID])
        attempt = table["attempt"].to_numpy().astype(np.int64)
        self.rank = (attempt << _ATTEMPT_BITS) + table["created"].cast(pa.int64()).to_numpy()
        answered, has_raw = (table[name].is_valid().to_numpy() for name in ("answer", "raw"))
        repairable = ~answered & has_raw & (attempt == 1)
        self.state = np.select([answered, repairable], [ANSWERED, REPAIR], QUARANTINED).astype(np.uint8)
        repairs = table.select([CONTENT_ID, "raw", "error"]).filter(pa.array(repairable))
        self.rejected = [
            (key, Rejected(raw, error or "")) for key, raw, error in zip(*(c.to_pylist() for c in repairs), strict=True)
        ]
