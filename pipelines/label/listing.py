"""Which files of a task's folder in the label store count.

    answers-<run>-<number>.parquet     rows that a run appended
    journal-<run>-<number>.jsonl       rows that are in no such file yet; once the file of the same run and number is
                                       there, the journal's rows no longer count
    compacted-<number>.parquet         rows of the files that its metadata names, which no longer count

So whoever writes a file in the place of others and is killed before those are removed has neither lost nor doubled
anything.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.label.journal import Name, Replayed, parse_name, replay
from pipelines.state import files

_COMPACTED = re.compile(r"compacted-(\d{6})\.parquet")
_REPLACES = b"replaces"


@dataclass(frozen=True)
class Listing:
    """The files of one moment."""

    url: str
    answers: list[str]  #: Parquet files that count, by name
    replaced: list[str]  #: Parquet files that another one stands for
    journals: list[Name]  #: journals whose rows count
    absorbed: list[Name]  #: journals that a Parquet file stands for
    compacted: int  #: the highest number of a compacted file
    taken: frozenset[Name]  #: what a file to come may not be called

    def place(self, name: str) -> str:
        """The URL of a file."""
        return files.join(self.url, name)

    def next_number(self, run: str) -> int:
        """A number for the run's next file."""
        return 1 + max((name.number for name in self.taken if name.run == run), default=0)

    def replay(self, journal: Name) -> Replayed:
        """What a journal holds. Raises FileNotFoundError where it has become a Parquet file meanwhile."""
        return replay(files.read_bytes(self.place(journal.journal)), self.place(journal.journal))

    def last_journals(self) -> list[Name]:
        """The last journal of each run that has any: it says what the run left outstanding."""
        last: dict[str, Name] = {}
        for name in sorted([*self.journals, *self.absorbed]):
            last[name.run] = name
        return list(last.values())


def list_folder(url: str) -> Listing:
    """Look at a task's folder; all is empty where there is none."""
    found = files.names(url)
    numbers = {name: int(match[1]) for name in found if (match := _COMPACTED.fullmatch(name))}
    replaced = {old for name in numbers for old in _replaced_by(files.join(url, name))}
    parquet = [name for name in found if name in numbers or (name.startswith("answers-") and parse_name(name))]
    stored = {name for file in (*parquet, *replaced) if (name := parse_name(file))}
    journals = [name for file in found if file.startswith("journal-") and (name := parse_name(file))]
    return Listing(
        url,
        answers=[name for name in parquet if name not in replaced],
        replaced=[name for name in parquet if name in replaced],
        journals=[name for name in journals if name not in stored],
        absorbed=[name for name in journals if name in stored],
        compacted=max(numbers.values(), default=0),
        taken=frozenset([*stored, *journals]),
    )


def _replaced_by(url: str) -> list[str]:
    with files.open_table(url) as file:
        held: list[str] = json.loads(pq.read_metadata(file).metadata[_REPLACES])
    return held


def rows_in(url: str) -> int:
    """How many rows a Parquet file has."""
    with files.open_table(url) as file:
        return int(pq.read_metadata(file).num_rows)


def write_compacted(listing: Listing, number: int, table: pa.Table, replaces: Sequence[str]) -> None:
    """Write a file that stands for others."""
    marked = table.replace_schema_metadata({_REPLACES: json.dumps(list(replaces)).encode()})
    files.write_table(listing.place(f"compacted-{number:06d}.parquet"), marked, row_group_size=1 << 17)
