"""Journal of a run: JSON lines of what was paid for, or may have to be, and is in no Parquet file yet.

Three kinds of lines:

    {"annotator", "model", "revision", "created", <schema.to_columns>, "settled": [in, out, cost]}
    {"annotator", "reserved": [in, out, cost]}           questions are about to be sent
    {"outstanding": {annotator: [in, out, cost]}}        what earlier lines, or an earlier file, left reserved

What was reserved and never settled when a process was killed may have been charged: it is outstanding. A line is
written by one system call, so the journal of a killed process ends at worst in a line without its end. Each line ends
with a checksum of its JSON.
"""

from __future__ import annotations

import contextlib
import os
import re
import time
import zlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import orjson

from gristmill.operators.errors import FatalError, StoreDamaged
from gristmill.pipelines.label.budget import Amount
from gristmill.pipelines.label.store.schema import Annotation, AnswerRow, to_columns
from gristmill.pipelines.storage import files

_NAME = re.compile(r"(?P<kind>answers|journal)-(?P<run>.+)-(?P<number>\d{6})\.(?:parquet|jsonl)")


class Name(NamedTuple):
    """Name of a file of answers or of a journal. A journal becomes the answers of the same run and number."""

    run: str
    number: int

    @property
    def journal(self) -> str:
        """Return the file name as a journal."""
        return f"journal-{self.run}-{self.number:06d}.jsonl"

    @property
    def answers(self) -> str:
        """Return the file name as answers."""
        return f"answers-{self.run}-{self.number:06d}.parquet"


def parse_name(file: str) -> Name | None:
    """Parse a file name; None if it is neither that of answers nor of a journal."""
    match = _NAME.fullmatch(file)
    return Name(match["run"], int(match["number"])) if match else None


class Outstanding:
    """Tokens and cost by annotator that were reserved and not settled."""

    def __init__(self, amounts: Mapping[str, Amount] | None = None) -> None:
        self.amounts: dict[str, Amount] = dict(amounts or {})

    def add(self, annotator: str, amount: Amount) -> None:
        """Add an amount that was reserved."""
        self.amounts[annotator] = self.amounts.get(annotator, Amount()).plus(amount)

    def take(self, annotator: str, amount: Amount) -> None:
        """Subtract an amount that was settled, never below zero."""
        balance = self.amounts.get(annotator, Amount())
        input_tokens = max(0, balance.input_tokens - amount.input_tokens)
        output_tokens = max(0, balance.output_tokens - amount.output_tokens)
        # if no token is left, what is left of the cost is rounding
        cost = max(0.0, balance.cost - amount.cost) if input_tokens or output_tokens else 0.0
        self.amounts[annotator] = Amount(0, input_tokens, output_tokens, cost)

    def total(self) -> Amount:
        """Return the sum of all annotators."""
        total = Amount()
        for amount in self.amounts.values():
            total = total.plus(amount)
        return total

    def as_unanswered(self) -> list[tuple[Annotation, AnswerRow, Amount]]:
        """Return rows that keep it permanently, each with the amount that it settles."""
        why = "asked by a run that ended before the answer came"
        return [
            (
                Annotation(annotator, "", ""),
                AnswerRow(
                    None,
                    1,
                    None,
                    input_tokens=amount.input_tokens,
                    output_tokens=amount.output_tokens,
                    cost=amount.cost,
                    error=why,
                ),
                amount,
            )
            for annotator, amount in self.amounts.items()
            if amount != Amount()
        ]


class Replayed(NamedTuple):
    """Contents of a journal."""

    batches: list[dict[str, Any]]  #: for schema.to_table
    outstanding: Outstanding
    size: int  #: bytes of its whole lines


def replay(content: bytes, name: str) -> Replayed:
    """Read a journal, without a torn last line. Raises StoreDamaged if another line is damaged.

    A last line that is whole except for its last byte was not torn: that byte was changed.
    """
    size = content.rfind(b"\n") + 1
    if size < len(content) and _is_whole(content[size:-1]):
        raise _damaged(name, content.count(b"\n") + 1)
    batches: list[dict[str, Any]] = []
    outstanding = Outstanding()
    for i, line in enumerate(content[:size].split(b"\n")[:-1]):
        try:
            _replay_line(orjson.loads(_checked(line)), batches, outstanding)
        except (ValueError, KeyError, TypeError, AttributeError):
            raise _damaged(name, i + 1) from None
    return Replayed(batches, outstanding, size)


def whole_lines(content: bytes) -> bytes:
    """Return a journal without the lines that are damaged."""
    whole = []
    for line in content.split(b"\n")[:-1]:
        with contextlib.suppress(ValueError):
            orjson.loads(_checked(line))
            whole.append(line + b"\n")
    return b"".join(whole)


def _is_whole(line: bytes) -> bool:
    try:
        return b"\t" in line and bool(_checked(line))
    except ValueError:
        return False


def _damaged(name: str, line: int) -> StoreDamaged:
    message = "this line of the journal is damaged. Remove the line and run again: its answers will be asked for anew"
    return StoreDamaged(name, f"{name}:{line}: {message}")


def _replay_line(line: dict[str, Any], batches: list[dict[str, Any]], outstanding: Outstanding) -> None:
    if "reserved" in line:
        outstanding.add(line["annotator"], Amount(0, *line["reserved"]))
    elif "outstanding" in line:
        outstanding.amounts = {name: Amount(0, *amount) for name, amount in line["outstanding"].items()}
    else:
        outstanding.take(line["annotator"], Amount(0, *line["settled"]))
        batches.append(line)


def rows_line(annotation: Annotation, rows: Sequence[AnswerRow], settled: Amount, created: int | None = None) -> bytes:
    """Return the line of rows of one annotator, `created` then or now, with what was reserved for them."""
    moment = time.time_ns() // 1000 if created is None else created
    line = {**annotation._asdict(), "created": moment, "settled": settled[1:]}
    line.update(to_columns(rows))
    try:
        return _line(line)
    except TypeError:  # half of a surrogate pair, which a model's JSON may hold and UTF-8 may not
        for name in ("answer", "raw", "error"):
            if name in line:
                line[name] = [None if text is None else _encodable(text) for text in line[name]]
        return _line(line)


def _line(value: Mapping[str, Any]) -> bytes:
    """Return a line of the journal: JSON, a tab, and the checksum of the JSON."""
    content = orjson.dumps(value)
    return content + b"\t%08x\n" % zlib.crc32(content)


def _checked(line: bytes) -> bytes:
    """Return the JSON of a line; ValueError if it is not what was written. Earlier versions wrote no checksum."""
    content, tab, checksum = line.rpartition(b"\t")
    if not tab:
        return line
    if checksum != b"%08x" % zlib.crc32(content):
        raise ValueError("another checksum")
    return content


def _encodable(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode()


def reserved_line(annotator: str, amount: Amount) -> bytes:
    """Return the line of a reservation."""
    return _line({"annotator": annotator, "reserved": amount[1:]})


def outstanding_line(outstanding: Outstanding) -> bytes:
    """Return the line that states what is outstanding, in place of all lines before it."""
    return _line({"outstanding": {name: amount[1:] for name, amount in outstanding.amounts.items()}})


def unanswered_lines(outstanding: Outstanding) -> bytes:
    """Return the lines after which nothing is outstanding: what was outstanding is now in rows."""
    return b"".join(rows_line(annotation, [row], amount) for annotation, row, amount in outstanding.as_unanswered())


class LocalJournal:
    """Journal on the local disk, open for writing."""

    def __init__(self, url: str, first: Iterable[bytes] = ()) -> None:
        self.url = url
        self.bytes = 0
        path = files.local_path(url)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        try:
            self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
        except OSError as error:
            raise FatalError(
                f"{url} cannot be written: {error.strerror}. Give this user the right to write there, make room, or "
                "choose another store; what is finished is kept"
            ) from None
        for line in first:
            self.write(line)

    def write(self, line: bytes) -> None:
        """Write a line; it survives the end of this process, however it ends, though not that of the machine.

        Raises FatalError if the disk does not take it; the journal then ends before the line.
        """
        try:
            count = os.write(self._file, line)
            if count < len(line):
                os.lseek(self._file, self.bytes, os.SEEK_SET)
                os.ftruncate(self._file, self.bytes)
                raise OSError(28, "no space left for a whole line")
        except OSError as error:
            raise FatalError(
                f"{self.url} cannot be written: {error.strerror}. Make room there, or choose another store; "
                "what is finished is kept"
            ) from None
        self.bytes += count

    def close(self) -> None:
        """Close the file; nothing is written from now on."""
        os.close(self._file)
