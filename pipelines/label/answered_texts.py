"""Texts behind answers.

An answer is stored by the content of its text, so the text is looked for in the files or the dataset that runs of the
task read, which the store remembers.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from gristmill.operators.columns import CONTENT_ID, ID, TEXT
from gristmill.operators.errors import RecipeError, ShardError
from gristmill.operators.label.answers import Multi, Scale
from gristmill.operators.measures.content_id import content_ids
from gristmill.pipelines.config.wording import did_you_mean
from gristmill.pipelines.label.columns import labels_of
from gristmill.pipelines.label.store import LabelStore
from gristmill.pipelines.label.task import LoadedTask
from gristmill.pipelines.sources.discover import discover
from gristmill.pipelines.sources.read import read_shard
from gristmill.pipelines.sources.spec import Source
from gristmill.pipelines.store.datasets import Dataset
from gristmill.pipelines.store.run_records import RunRecords
from gristmill.pipelines.store.shown import shown_version

EXAMPLES = pa.schema([(ID, pa.string()), (TEXT, pa.large_string())])


def texts_of(store: LabelStore, keys: Iterable[bytes], inputs: Sequence[str] = ()) -> dict[bytes, str]:
    """Return the texts of content ids, as far as they are found in what runs of the task read, or in `inputs` instead.

    A text of which something was removed before it was labelled is found by its document's id. Raises RecipeError if
    there is nothing to look in, or a file is not there any more.
    """
    key_set = {*keys}
    by_id: defaultdict[str, list[bytes]] = defaultdict(list)
    table = store.documents()
    for key, id in zip(table[CONTENT_ID].to_pylist(), table[ID].to_pylist(), strict=True):
        by_id[id].append(key)
    matches: dict[bytes, str] = {}
    named: dict[bytes, str] = {}
    for source in _sources(store, inputs):
        for documents in _read(source):
            texts = documents.column(TEXT)
            own = content_ids(texts)
            here = pc.is_in(own, pa.array(list(key_set), own.type))
            for key, text in zip(own.filter(here).to_pylist(), texts.filter(here).to_pylist(), strict=True):
                matches.setdefault(key, text)
            for id, text in zip(documents.column(ID).to_pylist(), texts, strict=True):
                for key in by_id.get(id, ()):
                    if key in key_set and key not in matches:
                        named.setdefault(key, text.as_py())
    return named | matches


def _sources(store: LabelStore, inputs: Sequence[str]) -> list[Source]:
    if inputs:
        return [Source(name="labelled", path=list(inputs))]
    records = store.task().get("sources", ())
    if not records:
        raise RecipeError("the store does not say which files were labelled; name them with --input GLOB")
    return [_source(store.store, record) for record in records]


def _source(store: str, told: Mapping[str, Any]) -> Source:
    if "dataset" not in told:
        return Source(name="labelled", path=list(told["path"]), text=told["text"], id=told["id"])
    dataset, records = Dataset(store, told["dataset"]), RunRecords(store)
    standing = [*shown_version(records, dataset.name).standing, *records.standing(dataset.name)]
    versions = [dataset.named(name) for name in dict.fromkeys(stands.run.record["version"] for stands in standing)]
    paths = [url for version in versions for url in version.urls(version.manifest, only_new=True)]
    return Source(name="labelled", path=[*dict.fromkeys(paths)])


def _read(source: Source) -> Iterator[pa.RecordBatch]:
    """Yield the documents of a source; records that are no documents are left out, as when it was labelled."""
    for spec in discover([source], "."):
        try:
            for batch in read_shard(spec, source):
                yield batch.documents
        except ShardError as error:
            raise RecipeError(str(error)) from error


class Taught:
    """Documents of a task in two sides by their answers, for the training of a classifier."""

    def __init__(self, loaded: LoadedTask, store: LabelStore, good: Sequence[str], inputs: Sequence[str] = ()) -> None:
        """Read the answers and their texts. Raises RecipeError if the task has no such answers.

        good: labels that are good or, of a scale, the least number that is; by default its upper half.
        """
        self._good = _good_of(loaded, good)
        keys = store.rows(columns=("answer",)).filter(pc.field("answer").is_valid())[CONTENT_ID].unique()
        answers = labels_of(loaded.task, store, pa.chunked_array([keys])).column(0).to_pylist()
        texts = texts_of(store, keys.to_pylist(), inputs)
        table = store.documents()
        ids = dict(zip(table[CONTENT_ID].to_pylist(), table[ID].to_pylist(), strict=True))
        sides: dict[bool, list[tuple[str | None, str]]] = {True: [], False: []}
        for key, answer in zip(keys.to_pylist(), answers, strict=True):
            if answer is not None and key in texts:
                sides[self._is_good(answer)].append((ids.get(key), texts[key]))
        #: names of the sides in messages
        self.positive, self.negative = f"{loaded.name} {self._shown}", f"{loaded.name} not {self._shown}"
        self._sides = {self.positive: sides[True], self.negative: sides[False]}

    @property
    def _shown(self) -> str:
        return f">= {self._good}" if isinstance(self._good, int) else " or ".join(sorted(self._good))

    def _is_good(self, answer: Any) -> bool:
        if isinstance(self._good, int):
            return bool(answer >= self._good)
        return not self._good.isdisjoint(answer if isinstance(answer, list) else [answer])

    def read(self, paths: Sequence[str], text: str, id: str | None) -> Iterator[pa.RecordBatch]:
        """Yield the documents of one side; `train_quality` takes this method as its `read`."""
        rows = [{ID: own, TEXT: content} for own, content in self._sides[paths[0]]]
        yield from pa.Table.from_pylist(rows, EXAMPLES).to_batches()


def _good_of(loaded: LoadedTask, good: Sequence[str]) -> int | frozenset[str]:
    """Return the least good number, or the good labels."""
    answer = loaded.task.answer
    if isinstance(answer, Scale):
        low, high = answer.scale
        threshold = good[0] if good else str((low + high + 1) // 2)
        if len(good) > 1 or not threshold.lstrip("-").isdigit() or not low < int(threshold) <= high:
            raise RecipeError(
                f"--good {' '.join(good)}: {loaded.name} asks for a number; give one above {low}, to {high}"
            )
        return int(threshold)
    labels = answer.multi if isinstance(answer, Multi) else getattr(answer, "choice", None)
    if labels is None:
        raise RecipeError(f"{loaded.name} has answers without good and bad; train on a choice or a scale")
    if not good:
        raise RecipeError(f"say which labels of {loaded.name} are good: --good LABEL, of {', '.join(labels)}")
    for label in good:
        if label not in labels:
            raise RecipeError(f"--good {label}: {loaded.name} has no such label{did_you_mean(label, labels)}")
    return frozenset(good)
