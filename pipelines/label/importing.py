"""`gristmill labels import`: labels that people gave, as one more annotator."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import pyarrow as pa

from gristmill.operators.columns import CONTENT_ID, ID, TEXT
from gristmill.operators.errors import RecipeError, ShardError
from gristmill.operators.label.answers import AnswerFormat
from gristmill.operators.label.reading import InvalidAnswer
from gristmill.operators.measures.content_id import content_ids
from gristmill.pipelines.config.wording import plural
from gristmill.pipelines.label.budget import NOTHING
from gristmill.pipelines.label.store import DOCUMENTS, LabelStore
from gristmill.pipelines.label.store.schema import Annotation, AnswerRow
from gristmill.pipelines.sources.discover import ShardSpec, discover
from gristmill.pipelines.sources.formats import FORMATS, Reading
from gristmill.pipelines.sources.records import Record
from gristmill.pipelines.sources.spec import Source

REVISION = "imported"
ANSWER, PROBABILITY = "answer", "probability"
#: Fields that name the document of a label; the first that a record has counts.
KEYS = (CONTENT_ID, ID, TEXT)
_SHOWN = 10  # mistakes that a message lists


class Imported(NamedTuple):
    """Counts of an import."""

    records: int
    labels: int  #: content ids that have an answer now
    repeats: int  #: records that repeat another record's answer for the same text


class _Label(NamedTuple):
    place: str  #: place of the record, for messages
    key: bytes
    id: str | None
    answer: str
    probability: float | None


def import_labels(
    store: LabelStore,
    answer: AnswerFormat,
    path: str,
    annotator: str,
    run: str | None = None,
    mapping: str | None = None,
) -> Imported:
    """Store the labels of files as the answers of an annotator; those that it gave before are replaced.

    `path` is a file or glob of CSV, TSV, Parquet or JSON. A record has the field `answer` (a label, a number, a list of
    labels, or what the schema asks for), may have `probability`, and names its document by `content_id` (32 hexadecimal
    digits), `id` or `text`. Ids are those of the documents that runs of the task chose or, first, of `mapping`, a file
    with the fields id and content_id.

    Raises RecipeError with the first mistakes (unknown ids, answers that are none of this task, records that disagree);
    then nothing is imported.
    """
    return import_records(store, answer, read_records(path, ANSWER), path, annotator, run, mapping)


def import_records(
    store: LabelStore,
    answer: AnswerFormat,
    found: Iterable[tuple[str, Mapping[str, Any]]],
    origin: str,
    annotator: str,
    run: str | None = None,
    mapping: str | None = None,
) -> Imported:
    """Store the labels of records as `import_labels` does; each comes with its place, and all from `origin`."""
    resolve = _Resolver(store, mapping)
    mistakes: list[str] = []
    labels: list[_Label] = []
    records = 0
    for place, record in found:
        records += 1
        try:
            labels += [_Label(place, key, id, *_said(record, answer)) for key, id in resolve(record)]
        except ValueError as error:
            mistakes.append(f"{place}: {error}")
    unique_labels = _once(labels, mistakes)
    if mistakes:
        shown = "\n".join(mistakes[:_SHOWN])
        more = f"\n... and {len(mistakes) - _SHOWN:,} more" if len(mistakes) > _SHOWN else ""
        raise RecipeError(f"nothing was imported from {origin}: {plural(len(mistakes), 'mistake')}\n{shown}{more}")
    if not unique_labels:
        raise RecipeError(
            f"{origin} holds no labels; give a file of records with an answer and an id, content_id or text"
        )
    with store.open_run(run) as writer:
        named = [(label.key, label.id, f"import: {annotator}") for label in unique_labels if label.id is not None]
        if named:
            store.write_documents(writer.run, [pa.table(list(zip(*named, strict=True)), schema=DOCUMENTS)])
        rows = [AnswerRow(label.key, 0, label.answer, label.probability) for label in unique_labels]
        writer.append(Annotation(annotator, annotator, REVISION), rows, NOTHING)
    return Imported(records, len(unique_labels), len(labels) - len(unique_labels))


def _said(record: Mapping[str, Any], answer: AnswerFormat) -> tuple[str, float | None]:
    """Return the answer as it is stored, and its probability. Raises ValueError."""
    value = record.get(ANSWER)
    if value is None or value == "":
        raise ValueError("there is no answer")
    try:
        canonical = answer.canonical(value)
    except InvalidAnswer as error:
        raise ValueError(str(error)) from None
    raw_probability = record.get(PROBABILITY)
    if raw_probability is None or raw_probability == "":
        return canonical, None
    try:
        probability = float(raw_probability)
    except (TypeError, ValueError):
        probability = math.nan
    if not 0.0 <= probability <= 1.0:
        raise ValueError(f"the probability {raw_probability!r} is no number from 0 to 1")
    return canonical, probability


def _once(labels: Sequence[_Label], mistakes: list[str]) -> list[_Label]:
    """Return one label for each content id; records that disagree are added to `mistakes`."""
    by_key: dict[bytes, _Label] = {}
    for label in labels:
        first = by_key.setdefault(label.key, label)
        if (first.answer, first.probability) != (label.answer, label.probability):
            mistakes.append(f"{label.place}: {label.answer}, but {first.place} says {first.answer} of the same text")
    return list(by_key.values())


class _Resolver:
    """Resolver of records to content ids."""

    def __init__(self, store: LabelStore, mapping: str | None) -> None:
        self._store, self._mapping = store, mapping
        self._keys: dict[str, list[bytes]] | None = None

    def __call__(self, record: Mapping[str, Any]) -> list[tuple[bytes, str | None]]:
        """Return the content ids that a record is about, with the id that it names; ValueError if there is none."""
        id = str(record[ID]) if record.get(ID) not in (None, "") else None
        if record.get(CONTENT_ID):
            return [(_parsed(record[CONTENT_ID]), id)]
        if id is not None and (keys := self._known_ids().get(id)):
            return [(key, id) for key in keys]
        if record.get(TEXT):
            return [(content_ids(pa.array([record[TEXT]], pa.large_string()))[0].as_py(), id)]
        if id is not None:
            raise ValueError(
                f"no document has the id {id}; label documents first, or give a table of id and content_id, or the "
                f"field {TEXT}"
            )
        raise ValueError(f"the record names no document; give one of {', '.join(KEYS)}")

    def _known_ids(self) -> dict[str, list[bytes]]:
        """Return content ids by id, several if texts of several runs share an id; read at the first look-up."""
        if self._keys is None:
            pairs = dict.fromkeys(self._pairs())
            by_id: defaultdict[str, list[bytes]] = defaultdict(list)
            for id, key in pairs:
                by_id[id].append(key)
            self._keys = dict(by_id)
        return self._keys

    def _pairs(self) -> Iterator[tuple[str, bytes]]:
        if self._mapping is None:
            table = self._store.documents()
            yield from zip(table[ID].to_pylist(), table[CONTENT_ID].to_pylist(), strict=True)
            return
        for place, record in read_records(self._mapping, ID):
            try:
                yield str(record[ID]), _parsed(record.get(CONTENT_ID))
            except (KeyError, ValueError) as error:
                raise RecipeError(f"{place}: {error}; the table needs the fields {ID} and {CONTENT_ID}") from None


def _parsed(value: Any) -> bytes:
    if isinstance(value, bytes) and len(value) == 16:
        return value
    try:
        key = bytes.fromhex(value)
    except (TypeError, ValueError):
        key = b""
    if len(key) != 16:
        raise ValueError(f"the content_id {value!r} is not 32 hexadecimal digits")
    return key


def read_records(path: str, required: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield the records of files of any format with their places; `required` is a field that they should have.

    Raises RecipeError if one cannot be read.
    """
    source = Source(name="labels", path=path, text=required, id=None)
    for spec in (alone for shard in discover([source], ".") for alone in shard.singly()):
        try:
            for i, record in enumerate(_read(spec, source)):
                place = f"{spec.name}:{record.line}" if record.line is not None else f"{spec.name} row {i}"
                if record.fault is not None:
                    raise RecipeError(f"{place}: {record.fault.detail}; correct the record or remove it")
                if not isinstance(record.value, dict):
                    raise RecipeError(f"{place}: this is no record with fields; correct or remove it")
                yield place, record.value
        except ShardError as error:
            raise RecipeError(str(error)) from None


def _read(spec: ShardSpec, source: Source) -> Iterator[Record]:
    """Yield the records of a file, with all their fields."""
    with FORMATS[spec.format].open(Reading(spec.files[0], spec.compression, spec.part, source, fields=())) as opened:
        yield from opened.records
