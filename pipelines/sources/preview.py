"""A look at the first records of some files, to know their fields before a corpus is read.

It is cheap and not exhaustive: a file that cannot be looked at is left to the run, which reports its error.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from gristmill.pipelines.sources.discover import ShardSpec
from gristmill.pipelines.sources.formats import FORMATS
from gristmill.pipelines.sources.listing import CONNECTIONS
from gristmill.pipelines.sources.partitions import keys_of
from gristmill.pipelines.sources.records import lookup
from gristmill.pipelines.sources.storage import FileRef

#: Number of files of a look, and bytes of each; where a field is not found, FURTHER is used.
FIRST, FURTHER = (3, 1 << 18), (16, 1 << 20)
#: Number of levels of nested fields that are named.
DEPTH = 4
_MISSING = object()


@dataclass(frozen=True)
class Look:
    """The first records of a file, or one that stands for all where the file declares its columns."""

    file: str
    records: Sequence[dict[str, Any]]
    declared: bool

    def lacking(self, field: str) -> int:
        """Return the number of records that do not have a field."""
        return sum(lookup(record, field, _MISSING) is _MISSING for record in self.records)

    def fields(self) -> Iterator[str]:
        """Yield the names of fields, nested ones with dots, each once."""
        yield from dict.fromkeys(name for record in self.records for name in _names(record))


def look(specs: Sequence[ShardSpec], extent: tuple[int, int] = FIRST) -> list[Look]:
    """Look at some of the files, spread evenly over all; those that cannot be read are left out."""
    count, limit = extent
    files = list({file.url: (file, spec) for spec in specs for file in spec.files}.values())
    sample = [files[i * (len(files) - 1) // max(1, count - 1)] for i in range(min(count, len(files)))]
    if len(files) <= count:
        sample = files
    with ThreadPoolExecutor(CONNECTIONS) as pool:
        looks = list(pool.map(lambda of: _look_at(of[0], of[1], limit), sample))
    return [preview for preview in looks if preview is not None and preview.records]


def _look_at(file: FileRef, spec: ShardSpec, limit: int) -> Look | None:
    try:
        records = FORMATS[spec.format].preview(file, spec.compression, limit)
    except Exception:  # any error is reported when the file is read
        return None
    keys = keys_of(file.url)
    return Look(file.name, [keys | record for record in records], declared=FORMATS[spec.format].declares)


def _names(record: dict[str, Any], before: str = "") -> Iterator[str]:
    for name, value in record.items():
        yield f"{before}{name}"
        if isinstance(value, dict) and before.count(".") < DEPTH:
            yield from _names(value, f"{before}{name}.")
