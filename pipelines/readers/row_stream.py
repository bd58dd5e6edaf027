"""A stream of rows for training, divided among ranks and workers, that goes on exactly where it was left.

A plain Python class: `torch_rows` is a shell around it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any

import numpy as np
import pyarrow as pa

from gristmill.operators.errors import RecipeError
from gristmill.pipelines.readers.row_groups import RowGroups
from gristmill.pipelines.readers.row_order import GroupPart, RowOrder

#: Rows that become Python values at once.
BATCH_ROWS = 1024
#: Entries of a state that say which stream it is of; all must be those of the stream that takes it up.
_SAME = ("dataset", "rows", "seed", "shuffle_buffer", "drop_last", "world", "rank")


@dataclass(frozen=True)
class StreamOptions:
    """The share of the rows that a stream has, and their order."""

    rank: int = 0
    world: int = 1
    seed: int | None = None
    shuffle_buffer: int = 10_000
    epoch: int = 0
    drop_last: bool = False

    def __post_init__(self) -> None:
        """Raise RecipeError for numbers that make no share."""
        if not 0 <= self.rank < self.world:
            raise RecipeError(f"rank is {self.rank}; of {self.world} it must be from 0 to {self.world - 1}")
        if self.epoch < 0 or self.shuffle_buffer < 0:
            raise RecipeError(f"epoch and shuffle_buffer are from 0 on, not {self.epoch} and {self.shuffle_buffer}")


class RowStream:
    """Rows of a dataset, in an order that (seed, epoch, world times workers) alone decide.

    Of `world` ranks, each with as many workers, every one gets rows that no other gets, and together they get all; how
    many one gets differs by one row at most, and by none with `drop_last`, which leaves fewer rows than there are
    workers out of an epoch. Each row is a dictionary by column, or the value where a single column was asked for.
    """

    def __init__(
        self, dataset: str, groups: RowGroups, columns: pa.Schema, values: bool, options: StreamOptions
    ) -> None:
        self._dataset, self._groups, self._columns, self._values = dataset, groups, columns, values
        self._options = options
        self._begin: dict[str, Any] | None = None  # a state to go on from
        self._reading: dict[str, Any] | None = None  # the place of the iterator of this process

    @property
    def epoch(self) -> int:
        """Return the epoch whose order the next iterator has."""
        return self._options.epoch

    def set_epoch(self, epoch: int) -> None:
        """Give the next iterators the order of an epoch; a state of another epoch is not gone on from."""
        self._options = replace(self._options, epoch=epoch)
        if self._begin is not None and self._begin["epoch"] != epoch:
            self._begin = None

    def length(self, workers: int = 1) -> int:
        """Return how many rows this rank gets in an epoch."""
        order = self._order(workers)
        return sum(order.length(self._options.rank * workers + worker) for worker in range(workers))

    def iterate(self, worker: int = 0, workers: int = 1) -> Iterator[Any]:
        """Return an iterator over the rows of a worker of this rank, from the loaded state on if there is one.

        Raises RecipeError where that state was taken with another number of workers, StoreDamaged where a file is gone
        or not what was written.
        """
        begin, self._begin = self._begin or self._state(workers), None
        if begin["workers"] != workers:
            raise RecipeError(
                f"the state is of {begin['workers']} workers, not {workers}: the order of the rows depends on their "
                "number, so go on with as many"
            )
        worker = (worker + begin["turn"]) % workers
        start = begin["positions"].get(str(worker), 0 if not begin["positions"] else None)
        if start is None:
            raise RecipeError(f"the state is of worker {', '.join(begin['positions'])}, not of worker {worker}")
        self._reading = {**self._state(workers), "positions": {str(worker): start}}
        return self._rows(worker, workers, start, self._reading["positions"])

    def state_dict(self) -> dict[str, Any]:
        """Return the place of the last iterator of this process, as plain values: rows that it gave count as read.

        Raises RecipeError where no row was asked for in this process: with workers, they have the place.
        """
        if self._reading is not None:
            return {**self._reading, "positions": dict(self._reading["positions"])}
        if self._begin is not None:
            return self._begin
        raise RecipeError(
            "nothing was read in this process, so it knows no place to go on from. Where workers of a DataLoader read, "
            "count the batches and ask `state_after(batches, batch_size, workers)`, or take StatefulDataLoader"
        )

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Let the next iterator go on from a state. Raises RecipeError where it is that of another stream."""
        own = self._state(1)
        if other := [name for name in _SAME if state.get(name) != own[name]]:
            told = ", ".join(f"{name} {state.get(name)!r} and not {own[name]!r}" for name in other)
            raise RecipeError(f"the state is of another stream, with {told}; open the dataset as when it was taken")
        self._options = replace(self._options, epoch=int(state["epoch"]))
        self._begin, self._reading = {**state}, None

    def state_after(
        self, batches: int, batch_size: int, workers: int = 0, drop_last_batch: bool = False
    ) -> dict[str, Any]:
        """Return the state after some batches of an epoch, counted from its beginning, of a plain torch DataLoader.

        It takes a batch of each worker in turn, and leaves out those that have no more. `workers` are its
        `num_workers`, `drop_last_batch` its `drop_last`. Raises RecipeError where an epoch has fewer batches.
        """
        workers = max(1, workers)
        order = self._order(workers)
        lengths = [order.length(self._options.rank * workers + worker) for worker in range(workers)]
        has = [length // batch_size if drop_last_batch else -(-length // batch_size) for length in lengths]
        if not 0 <= batches <= sum(has):
            raise RecipeError(f"an epoch has {sum(has)} batches of {batch_size} rows for this rank, not {batches}")
        turns = min(has)  # turns that all workers take part in; those of more rows take part in one more
        full, rest = divmod(batches, workers) if batches < turns * workers else (turns, batches - turns * workers)
        in_turn = [worker for worker in range(workers) if has[worker] > full]
        given = [full + (worker in in_turn[:rest]) for worker in range(workers)]
        positions = {str(worker): min(given[worker] * batch_size, lengths[worker]) for worker in range(workers)}
        turn = in_turn[rest] if rest < len(in_turn) else 0
        return {**self._state(workers), "positions": positions, "turn": turn}

    def _order(self, workers: int) -> RowOrder:
        options = self._options
        shuffled = (options.seed, options.epoch, options.shuffle_buffer, options.drop_last)
        return RowOrder(self._groups.sizes, options.world * workers, *shuffled)

    def _state(self, workers: int) -> dict[str, Any]:
        """Return the state before the first row."""
        options = self._options
        return {
            "dataset": self._dataset,
            "rows": int(self._groups.sizes.sum()),
            "seed": options.seed,
            "shuffle_buffer": options.shuffle_buffer,
            "drop_last": options.drop_last,
            "world": options.world,
            "rank": options.rank,
            "epoch": options.epoch,
            "workers": workers,
            "turn": 0,  # the worker whose batch comes next
            "positions": {},  # how many rows each worker has given
        }

    def _rows(self, worker: int, workers: int, start: int, positions: dict[str, int]) -> Iterator[Any]:
        name, names = str(worker), self._columns.names
        for lists in self._lists(worker, workers, start):
            rows = (
                lists[0] if self._values else (dict(zip(names, row, strict=True)) for row in zip(*lists, strict=True))
            )
            for row in rows:
                start += 1
                positions[name] = start
                yield row

    def _lists(self, worker: int, workers: int, start: int) -> Iterator[list[list[Any]]]:
        """Yield the values of each column, of the rows of a worker from its row number `start` on."""
        order, consumer = self._order(workers), self._options.rank * workers + worker
        if order.seed is None or order.buffer <= 1:
            begin, end = order.stretch(consumer)
            for table in self._groups.read(order.parts(begin + start, end), self._columns, BATCH_ROWS):
                yield [column.to_pylist() for column in table.columns]
            return
        for window in order.windows(consumer):
            first = max(0, int(np.searchsorted(window.places, start, side="right")) - 1)
            if first == len(window.places) - 1:
                continue  # all of it was given
            readers = [
                _Values(self._groups, part._replace(first=part.first + before, rows=part.rows - before), self._columns)
                for part, before in zip(window.parts, window.before[first].tolist(), strict=True)
            ]
            for block in range(first, len(window.places) - 1):
                rows = (window.before[block + 1] - window.before[block]).tolist()
                taken = [reader.take(count) for reader, count in zip(readers, rows, strict=True)]
                held = [[*chain.from_iterable(column)] for column in zip(*taken, strict=True)]
                place = int(window.places[block])
                # lists of references are shuffled, for which no text is copied as in a table
                shuffled = order.shuffled_block(consumer, place, sum(rows))[max(0, start - place) :].tolist()
                yield [[*map(values.__getitem__, shuffled)] for values in held]


class _Values:
    """Values of each column of a part of a row group, some rows at a time."""

    def __init__(self, groups: RowGroups, part: GroupPart, columns: pa.Schema) -> None:
        self._tables = groups.read([part], columns, BATCH_ROWS)
        self._held: list[list[Any]] = [[] for _ in columns]

    def take(self, rows: int) -> list[list[Any]]:
        """Return the values of the next rows, by column."""
        while len(self._held[0]) < rows:
            for values, column in zip(self._held, next(self._tables).columns, strict=True):
                values += column.to_pylist()
        taken = [values[:rows] for values in self._held]
        self._held = [values[rows:] for values in self._held]
        return taken
