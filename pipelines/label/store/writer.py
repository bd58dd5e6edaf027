"""Writers that append to the label store: what was paid for is kept, even if the process is killed.

On the local disk each append is written to the journal at once and survives `kill -9`. Other stores cannot append to a
file: there rows are held back for some seconds and written as small Parquet files, and a process that is killed loses
those of its last seconds. What was reserved for them is on record, so they count as spent.

The writer also keeps the folder in order: journals of ended runs become answers, many small files become few large
ones. If killed at any moment, it leaves all rows, each once, and can be run again.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator, Sequence

import pyarrow as pa
import pyarrow.parquet as pq

from gristmill.operators.errors import RetryableError
from gristmill.pipelines.config.tuning import sizes
from gristmill.pipelines.label.budget import NOTHING, Amount
from gristmill.pipelines.label.store.folder import REPLACES, TaskFiles, list_folder, note
from gristmill.pipelines.label.store.journal import (
    LocalJournal,
    Name,
    Outstanding,
    outstanding_line,
    replay,
    reserved_line,
    rows_line,
    unanswered_lines,
)
from gristmill.pipelines.label.store.schema import SCHEMA, Annotation, AnswerRow, merged, to_table
from gristmill.pipelines.storage import files


def compact(url: str) -> None:
    """Merge the files of a task's folder, except large ones. Only the folder's writer may call this.

    The rows that count stay the same (`schema.merged`), and so does the sum paid. If killed at any moment, it leaves
    all rows, each once: a compacted file names those that it replaces.
    """
    listing = list_folder(url)
    # first those that an earlier compaction left: once the file that names them is replaced itself, they would count
    note(url, arrived=listing.answers, removed=listing.replaced)
    _remove(listing, listing.replaced)
    number = listing.compacted
    for group in list(_groups(listing)):
        number += 1
        tables = [files.read_table(listing.place(name)) for name in group]
        _write_compacted(listing, number, merged(pa.concat_tables([SCHEMA.empty_table(), *tables])), group)
        _remove(listing, group)


def compact_if_many(url: str) -> None:
    """Compact a folder of more than `Tuning.answer_files` files."""
    if len(list_folder(url).answers) > sizes().answer_files:
        compact(url)


def _remove(listing: TaskFiles, names: list[str]) -> None:
    for name in names:
        files.remove(listing.place(name))


def _groups(listing: TaskFiles) -> Iterator[list[str]]:
    """Yield groups of files to merge with one another: two files at least, `Tuning.merged_rows` rows at most."""
    group: list[str] = []
    total = 0
    for name in listing.answers:
        rows = _rows_in(listing.place(name))
        if rows > sizes().merged_rows // 2:
            continue
        if total + rows > sizes().merged_rows:
            yield group
            group, total = [], 0
        group.append(name)
        total += rows
    if len(group) > 1:
        yield group


def _rows_in(url: str) -> int:
    """Return the number of rows of a Parquet file."""
    with files.open_table(url) as file:
        return int(pq.read_metadata(file).num_rows)


def _write_compacted(listing: TaskFiles, number: int, table: pa.Table, replaces: Sequence[str]) -> None:
    """Write a compacted file that stands for others."""
    marked = table.replace_schema_metadata({REPLACES: json.dumps(list(replaces)).encode()})
    name = f"compacted-{number:06d}.parquet"
    files.write_table(listing.place(name), marked, row_group_size=1 << 17)
    note(listing.url, arrived=[name], removed=replaces)


def recover(url: str) -> None:
    """Turn the journals of ended runs into Parquet files. Only the folder's writer may call this.

    What they had reserved and never settled becomes rows without a key. If killed at any moment, it can be run again.
    """
    listing = list_folder(url)
    for journal in listing.last_journals():
        _settle_all(listing, journal)
    listing = list_folder(url)
    stored = [name for journal in sorted(listing.journals) for name in store_rows(listing, journal)]
    ended = sorted([*listing.journals, *listing.absorbed])
    note(url, arrived=[*stored, *listing.answers], removed=[journal.journal for journal in ended])
    for journal in ended:
        files.remove(listing.place(journal.journal))


def _settle_all(listing: TaskFiles, journal: Name) -> None:
    """End a run's journal with what is outstanding as rows.

    If the rows of the last one are stored, and the run was killed before it opened the next, the next one is written.
    """
    url = listing.place(journal.journal)
    content = files.read_bytes(url)
    state = replay(content, url)
    if not (lines := unanswered_lines(state.outstanding)):
        return
    before = content[: state.size]
    if journal in listing.absorbed:
        url = listing.place(Name(journal.run, listing.next_number(journal.run)).journal)
        before = outstanding_line(state.outstanding)
    files.write_bytes(url, before + lines)


def store_rows(listing: TaskFiles, journal: Name) -> list[str]:
    """Write a journal's rows as answers; return the name of the file, if there are any rows."""
    batches = listing.replay(journal).batches
    if not any(batch["attempt"] for batch in batches):
        return []
    files.write_table(listing.place(journal.answers), to_table(batches, journal.run))
    return [journal.answers]


#: Factor by which the record on other stores exceeds what may be charged, so that it is seldom written.
HEADROOM = 1.25


class Writer:
    """Writer of the rows of one run. Thread-safe; `LabelStore.open_run` makes it and closes it."""

    def __init__(self, url: str, run: str) -> None:
        self.url, self.run = url, run
        listing = list_folder(url)
        self._number = listing.next_number(run)
        self._latest = _latest(listing)
        self._outstanding = Outstanding()
        self._lock = threading.Lock()

    def append(self, annotation: Annotation, rows: Sequence[AnswerRow], settled: Amount = NOTHING) -> None:
        """Store rows of one annotator, and take what was reserved for them off the record, in one step.

        `rows` may be empty if questions came to nothing and were not charged. Raises FatalError if the store takes no
        more.
        """
        line = rows_line(annotation, rows, settled, self._moment())
        with self._lock:
            self._append(line, annotation.annotator, len(rows), settled)

    def _moment(self) -> int:
        """Return the time in microseconds, but later than all rows before, even if the clock was set back."""
        with self._lock:
            self._latest = max(time.time_ns() // 1000, self._latest + 1)
            return self._latest

    def reserve(self, annotator: str, amount: Amount) -> None:
        """Record durably that an amount may be charged from now on: `Ledger`'s `on_reserve`."""
        with self._lock:
            self._outstanding.add(annotator, amount)
            self._reserve(annotator, amount)

    def close(self) -> None:
        """Turn all rows into Parquet files; what is still reserved may have been charged and is kept as unanswered."""
        raise NotImplementedError(f"{type(self).__name__} must define close()")

    def _append(self, line: bytes, annotator: str, rows: int, settled: Amount) -> None:
        raise NotImplementedError(f"{type(self).__name__} must define _append()")

    def _reserve(self, annotator: str, amount: Amount) -> None:
        raise NotImplementedError(f"{type(self).__name__} must define _reserve()")

    def _next(self) -> Name:
        """Return the name of the next file of this run."""
        name = Name(self.run, self._number)
        self._number += 1
        return name


class LocalWriter(Writer):
    """Writer of a journal on the local disk."""

    def __init__(self, url: str, run: str) -> None:
        super().__init__(url, run)
        self._open()

    def _open(self) -> None:
        self._name = self._next()
        first = [outstanding_line(self._outstanding)]
        self._journal = LocalJournal(files.join(self.url, self._name.journal), first)
        note(self.url, journals=[self._name.journal])
        self._rows = 0

    def _append(self, line: bytes, annotator: str, rows: int, settled: Amount) -> None:
        self._journal.write(line)
        self._outstanding.take(annotator, settled)
        self._rows += rows
        if self._rows >= sizes().journal_rows or self._journal.bytes >= sizes().journal_bytes:
            self._roll()

    def _reserve(self, annotator: str, amount: Amount) -> None:
        self._journal.write(reserved_line(annotator, amount))

    def _roll(self) -> None:
        """Turn the journal into a Parquet file. The next one, which holds what is outstanding, is there before."""
        full, journal, listing = self._name, self._journal, list_folder(self.url)
        stored = store_rows(listing, full)
        self._open()
        journal.close()
        note(self.url, arrived=stored, removed=[full.journal])
        files.remove(listing.place(full.journal))
        compact_if_many(self.url)

    def close(self) -> None:
        """Turn the journal into a Parquet file; see `Writer.close`."""
        with self._lock:
            self._journal.write(unanswered_lines(self._outstanding))
            self._journal.close()
            recover(self.url)
            compact_if_many(self.url)


class BufferedWriter(Writer):
    """Writer of small Parquet files to a store that cannot append."""

    def __init__(self, url: str, run: str) -> None:
        super().__init__(url, run)
        self._record = self._next()  # a journal that only says what may be charged
        self._recorded = Outstanding()
        self._lines: list[bytes] = []
        self._settled: list[tuple[str, Amount]] = []
        self._failed: Exception | None = None
        self._closing = threading.Event()
        self._flusher = threading.Thread(target=self._keep_flushing, name="gristmill-labels", daemon=True)
        self._flusher.start()

    def _append(self, line: bytes, annotator: str, rows: int, settled: Amount) -> None:
        if self._failed is not None:
            raise self._failed
        self._lines.append(line)
        self._settled.append((annotator, settled))

    def _reserve(self, annotator: str, amount: Amount) -> None:
        total, recorded = (o.amounts.get(annotator, NOTHING) for o in (self._outstanding, self._recorded))
        if all(a <= b for a, b in zip(total[1:], recorded[1:], strict=True)):
            return
        spare = Amount(0, int(HEADROOM * total[1]) + 1, int(HEADROOM * total[2]) + 1, HEADROOM * total[3])
        self._recorded.amounts[annotator] = spare
        files.write_bytes(files.join(self.url, self._record.journal), outstanding_line(self._recorded))

    def _keep_flushing(self) -> None:
        while not self._closing.wait(sizes().flush_seconds):
            try:
                self._flush()
                compact_if_many(self.url)
            except RetryableError:
                continue  # the rows are held back; `close` raises if it lasts
            except Exception as error:  # the next answer raises it: none is taken that could not be stored
                self._failed = error
                return

    def _flush(self) -> None:
        """Write the rows that were held back. What they settle is outstanding until they are stored."""
        with self._lock:
            lines, settled = self._lines, self._settled
            self._lines, self._settled = [], []
        try:
            batches = replay(b"".join(lines), "rows that are not stored yet").batches
            if any(batch["attempt"] for batch in batches):
                name = self._next().answers
                note(self.url, coming=[name])
                files.write_table(files.join(self.url, name), to_table(batches, self.run))
                note(self.url, arrived=[name])
        except BaseException:
            with self._lock:
                self._lines, self._settled = lines + self._lines, settled + self._settled
            raise
        with self._lock:
            for annotator, amount in settled:
                self._outstanding.take(annotator, amount)

    def close(self) -> None:
        """Write the rows that are held back; see `Writer.close`."""
        self._closing.set()
        self._flusher.join()
        self._flush()
        if self._recorded.amounts:
            record = outstanding_line(self._outstanding) + unanswered_lines(self._outstanding)
            files.write_bytes(files.join(self.url, self._record.journal), record)
        recover(self.url)
        compact_if_many(self.url)


def open_writer(url: str, run: str) -> Writer:
    """Open a writer for a task's folder, whose lock is held."""
    return LocalWriter(url, run) if files.is_local(url) else BufferedWriter(url, run)


def _latest(listing: TaskFiles) -> int:
    """Return the greatest `created` of all answers, in microseconds: rows appended from now on come after it."""
    times = [0]
    for name in listing.answers:
        with files.open_table(listing.place(name)) as file:
            metadata = pq.read_metadata(file)
        column = metadata.schema.names.index("created")
        stats = (metadata.row_group(i).column(column).statistics for i in range(metadata.num_row_groups))
        times += [statistics.max_raw for statistics in stats if statistics is not None and statistics.has_min_max]
    return max(times)
