"""The label store: answers by content id, task, annotator and model revision, over all runs.

    labels/<task fingerprint>/task.json                  the task as written, its name and fingerprint
    labels/<task fingerprint>/documents-<run>.parquet    DOCUMENTS: the documents that a run chose
    labels/<task fingerprint>/...                        answers and journals: `folder`

One writer at a time in a task's folder; readers need no lock and see what is there.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import date
from itertools import pairwise
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from gristmill.operators.columns import CONTENT_ID, ID, SOURCE, TYPES
from gristmill.operators.errors import FatalError, RecipeError, StoreDamaged
from gristmill.pipelines.label.budget import NOTHING, Amount
from gristmill.pipelines.label.store.folder import DOCUMENTS as CHOSEN
from gristmill.pipelines.label.store.folder import TASK, NightBegun, TaskFiles, let_go, list_folder, note, settle
from gristmill.pipelines.label.store.journal import Outstanding
from gristmill.pipelines.label.store.schema import (
    MERGED_BY,
    NEEDED,
    SCHEMA,
    SUMMED,
    Known,
    halves,
    last_of_each,
    merged,
    sorted_order,
    to_table,
)
from gristmill.pipelines.label.store.writer import Writer, compact, compact_if_many, open_writer, recover
from gristmill.pipelines.storage import files
from gristmill.pipelines.store.lock import writer_lock

FOLDER = "labels"
DOCUMENTS = pa.schema([(CONTENT_ID, TYPES[CONTENT_ID]), (ID, pa.string()), (SOURCE, pa.string())])
_ATTEMPTS = 5  # at reading files that a writer replaces meanwhile
_T = TypeVar("_T")


class LabelStore:
    """The answers to one task in a store."""

    def __init__(self, store: str, fingerprint: str) -> None:
        self.store, self.fingerprint = store, fingerprint
        self.url = files.join(store, FOLDER, fingerprint)

    @contextlib.contextmanager
    def open_run(self, run: str | None = None) -> Iterator[Writer]:
        """Hold the task's folder for writing, and put in order what killed runs left there; runs are numbered.

        Raises StoreLocked while another run writes there, StoreDamaged if a file is gone or not what was written.
        """
        with writer_lock(self.url):
            files.sweep(self.url)
            settle(self.url)
            recover(self.url)
            compact_if_many(self.url)
            if run is None:
                inventory = settle(self.url).inventory
                last = 1 + (0 if inventory is None else inventory.last)
                note(self.url, last=last)
                run = f"{last:08d}"
            writer = open_writer(self.url, run)
            try:
                yield writer
            finally:
                writer.close()

    def compact(self) -> int:
        """Make few files of many and return their number; the rows that count and the sum paid stay the same."""
        with writer_lock(self.url):
            files.sweep(self.url)
            settle(self.url)
            recover(self.url)
            compact(self.url)
            return len(list_folder(self.url).answers)

    def let_go(self) -> list[str]:
        """Go on without the files that are damaged or gone; return their names. Their answers count as never given."""
        with writer_lock(self.url):
            files.sweep(self.url)
            return let_go(self.url)

    def known(self, annotator: str, revision: str) -> Known:
        """Return what an annotator has answered with a revision of its model."""
        only = (pc.field("annotator") == annotator) & (pc.field("revision") == revision)
        return self._reading(lambda listing: Known(self._tables(listing, NEEDED, only)))

    def rows(self, annotator: str | None = None, columns: Sequence[str] = SCHEMA.names) -> pa.Table:
        """Return the rows that count (SCHEMA, or some of its columns and MERGED_BY), sorted by content id.

        One row for each content id, annotator and revision: that of the highest attempt and, of several, the latest;
        its tokens and cost are those of all attempts. Rows that are not valid are among them, what was paid without an
        answer is not.
        """
        only = pc.is_valid(pc.field(CONTENT_ID))
        if annotator is not None:
            only &= pc.field("annotator") == annotator
        return merged(self._all([name for name in SCHEMA.names if name in {*MERGED_BY, *columns}], only))

    def unanswered(self) -> pa.Table:
        """Return what was paid without an answer (SCHEMA): a row for each annotator and revision."""
        return merged(self._all(SCHEMA.names, ~pc.is_valid(pc.field(CONTENT_ID))))

    def foreign(self) -> list[str]:
        """Return files of answers and documents that no writer of the folder made; they do not count."""
        return list_folder(self.url).foreign

    def spent(self) -> Amount:
        """Return what all runs have spent, plus what those that were killed, or go on, may have spent."""
        rows = self._all([*MERGED_BY, *SUMMED], None)
        paid = {name: pc.sum(rows[name], min_count=0).as_py() for name in SUMMED}
        return Amount(_documents(rows), **paid).plus(self.outstanding().total())

    def begin_night(self, night: date, spent: Amount) -> Amount:
        """Count what is spent from now on for a night, and return what its runs spent before.

        `spent` is what all runs have spent. Only the folder's writer may call this.
        """
        nights = self._nights_begun()
        if not nights or nights[-1].night != night.isoformat():
            begun = NightBegun(night.isoformat(), spent)
            note(self.url, nights=[begun])
            nights.append(begun)
        return _spent_by_night(nights, spent)[night.isoformat()]

    def nights(self, spent: Amount) -> dict[str, Amount]:
        """Return what the runs of each night have spent, oldest night (ISO 8601) first; `spent` is what all have."""
        return _spent_by_night(self._nights_begun(), spent)

    def _nights_begun(self) -> list[NightBegun]:
        inventory = list_folder(self.url).inventory
        return [] if inventory is None else [*inventory.nights]

    def outstanding(self) -> Outstanding:
        """Return what runs that were killed, or go on, have reserved and not settled."""

        def read(listing: TaskFiles) -> Outstanding:
            total = Outstanding()
            for journal in listing.last_journals():
                for annotator, amount in listing.replay(journal).outstanding.amounts.items():
                    total.add(annotator, amount)
            return total

        return self._reading(read)

    def write_task(self, name: str, task: Mapping[str, Any], source: Mapping[str, Any] | None = None) -> None:
        """Store the task as written, and the sources it was put to; secrets must be written as `${NAME}`.

        source: `{dataset: name}`, or path, text and id of files.
        """
        sources: list[dict[str, Any]] = []
        with contextlib.suppress(StoreDamaged):
            sources = self.task().get("sources", [])
        new_sources = [dict(source)] if source is not None else []
        sources = [entry for entry in sources if entry not in new_sources] + new_sources
        record = {"name": name, "fingerprint": self.fingerprint, "task": dict(task), "sources": sources}
        files.write_record(files.join(self.url, TASK), record)
        note(self.url, arrived=[TASK])

    def task(self) -> dict[str, Any]:
        """Return what `write_task` stored: name, fingerprint, task; if nothing, the fingerprint as the name."""
        try:
            record: dict[str, Any] = files.read_record(files.join(self.url, TASK))
        except FileNotFoundError:
            list_folder(self.url)  # raises StoreFileGone if it was there
            return {"name": self.fingerprint, "fingerprint": self.fingerprint, "task": {}}
        return record

    def write_documents(self, run: str, batches: Iterable[pa.Table]) -> None:
        """Store the documents that a run chose (DOCUMENTS), so that answers find their ids."""
        name = f"{CHOSEN}{run}.parquet"
        url = files.join(self.url, name)
        note(self.url, coming=[name])
        with files.replacing(url) as file, files.table_writer(file, DOCUMENTS) as writer:
            for batch in batches:
                writer.write_table(batch.select(DOCUMENTS.names).cast(DOCUMENTS))
        note(self.url, arrived=[name])

    def documents(self) -> pa.Table:
        """Return the documents that any run chose (DOCUMENTS), each once."""

        def read(listing: TaskFiles) -> list[pa.Table]:
            return [files.read_table(listing.place(name)) for name in listing.documents]

        tables = self._reading(read)
        table = pa.concat_tables([DOCUMENTS.empty_table(), *tables])
        return table.group_by(DOCUMENTS.names, use_threads=False).aggregate([]) if len(tables) > 1 else table

    def _all(self, columns: Sequence[str], only: pc.Expression | None) -> pa.Table:
        empty = SCHEMA.empty_table().select(columns)
        return self._reading(lambda listing: pa.concat_tables([empty, *self._tables(listing, columns, only)]))

    def _tables(self, listing: TaskFiles, columns: Sequence[str], only: pc.Expression | None) -> Iterator[pa.Table]:
        for name in listing.answers:
            table = files.read_table(listing.place(name), list(columns), only)
            yield table.replace_schema_metadata(None)
        for journal in listing.journals:
            table = to_table(listing.replay(journal).batches, journal.run)
            yield (table if only is None else table.filter(only)).select(list(columns))

    def _reading(self, read: Callable[[TaskFiles], _T]) -> _T:
        """Read files of one moment; again if a writer has replaced one of them meanwhile."""
        for _ in range(_ATTEMPTS):
            listing = list_folder(self.url)
            try:
                return read(listing)
            except FileNotFoundError:
                continue
        raise FatalError(f"{self.url} changes faster than it can be read; try again when the run that writes is over")


def _spent_by_night(nights: Sequence[NightBegun], spent: Amount) -> dict[str, Amount]:
    """Return what was spent in each night; one may have begun several times."""
    found: dict[str, Amount] = {}
    for begun, after in pairwise([*nights, NightBegun("", spent)]):
        # less was spent than before where damaged answers were let go
        documents, input_tokens, output_tokens, cost = after.before.less(begun.before)
        own = Amount(max(0, documents), max(0, input_tokens), max(0, output_tokens), max(0.0, cost))
        found[begun.night] = found.get(begun.night, NOTHING).plus(own)
    return found


def _documents(rows: pa.Table) -> int:
    """Return the number of documents with replies, each once per annotator and revision; imported ones do not count."""
    replies = rows.filter((pc.field("attempt") > 0) & pc.is_valid(pc.field(CONTENT_ID)))
    high, low = halves(replies[CONTENT_ID])
    pairs = pc.binary_join_element_wise(replies["annotator"], replies["revision"], "/")
    encoded = pairs.combine_chunks().dictionary_encode()
    codes = (encoded.combine_chunks() if isinstance(encoded, pa.ChunkedArray) else encoded).indices.to_numpy()
    order = sorted_order(high, low, codes)
    return int(np.count_nonzero(last_of_each(order, high, low, codes)))


def is_scale(task: Mapping[str, Any]) -> bool:
    """Return whether the answers to a task, as a store keeps it, are numbers."""
    answer = task["task"].get("answer")
    return isinstance(answer, dict) and "scale" in answer


def fingerprints(store: str) -> list[str]:
    """Return the fingerprints of the tasks that a store has answers to."""
    return files.names(files.join(store, FOLDER))


def open_stored(store: str, fingerprint: str) -> LabelStore:
    """Open the answers to a task. Raises RecipeError if the store has none."""
    if fingerprint not in fingerprints(store):
        raise RecipeError(
            f"the store {store} has no labels of this task ({fingerprint}); `gristmill label` makes them. A task whose "
            "instruction, answer, examples or text was changed is another task"
        )
    return LabelStore(store, fingerprint)
