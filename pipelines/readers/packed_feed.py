"""Packed sequences for one rank of a training job, in batches or one by one, from any place on.

The ranks take turns: position p of the order is of rank p modulo their number. Positions count on from epoch to epoch,
so ranks stay in step over epochs' ends, and one number says how far all of them have come, however many they are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from gristmill.operators.errors import RecipeError
from gristmill.pipelines.readers.packed_order import Ints

if TYPE_CHECKING:
    from gristmill.pipelines.readers.packed_tokens import PackedSequence
    from gristmill.pipelines.readers.torch_packed import TorchBatches

_AHEAD = 1024  #: sequences whose places are computed at once


class FeedOrder(Protocol):
    """An order of sequences, epoch after epoch."""

    @property
    def total(self) -> int:
        """Return the sequences of an epoch."""

    def places(self, positions: Ints) -> tuple[Ints, ...]:
        """Return where the sequences lie that are read at ascending positions (m): some arrays (m)."""


class FeedSource(Protocol):
    """Sequences that lie at places."""

    length: int
    dtype: np.dtype[Any]
    fill: int

    @property
    def at(self) -> Callable[..., list[PackedSequence]]:
        """Return the function that gives the sequences at places (n), those of a `FeedOrder`."""


@dataclass(eq=False, slots=True)
class PackedBatch:
    """Some sequences, as arrays."""

    tokens: NDArray[Any]  #: (b, length), filled up behind shorter sequences
    lengths: Ints  #: (b) tokens of each
    sequences: Sequence[PackedSequence]
    state: dict[str, Any]  #: to go on behind this batch, on all ranks

    @property
    def pieces(self) -> NDArray[np.int32]:
        """Return (b, length): of each token the number of its piece in the sequence, -1 where it is filled up.

        Attention within documents is attention between tokens of one number.
        """
        numbers = np.zeros(self.tokens.shape, np.int32)
        for row, sequence in zip(numbers, self.sequences, strict=True):
            row[sequence.starts[1:]] = 1
            np.cumsum(row, out=row)
            row[len(sequence.tokens) :] = -1
        return numbers

    @property
    def parts(self) -> Ints:
        """Return (b): of each sequence the number of its part in the mixture; 0 where there is no mixture."""
        return np.array([sequence.part for sequence in self.sequences], np.int64)


class PackedFeed:
    """The sequences of one rank; each epoch has every sequence once, over all ranks together.

    Whoever iterates a second time goes on from where the first was left.
    """

    def __init__(
        self,
        packed: FeedSource,
        order: FeedOrder,
        same: Mapping[str, Any],
        rank: int,
        world: int,
        epochs: int | None,
        state: Mapping[str, Any] | None,
    ) -> None:
        """Begin at the beginning, or where the state says, which has to tell the `same` of its feed.

        Raises RecipeError for wrong numbers and states.
        """
        if not 0 <= rank < world:
            raise RecipeError(f"rank is {rank}; of {world} it must be from 0 to {world - 1}")
        if epochs is not None and epochs < 0:
            raise RecipeError(f"epochs is the number of times that all sequences are read, or None, not {epochs}")
        self._packed, self._order, self._rank, self._world = packed, order, rank, world
        self._end = None if epochs is None else epochs * order.total
        self._same = dict(same)
        self._taken = 0 if state is None else self._checked(state)

    def _checked(self, state: Mapping[str, Any]) -> int:
        for name, value in self._same.items():
            if state.get(name) != value:
                raise RecipeError(
                    f"the state is of a feed with {name} {state.get(name)}, and this one has {value}: open the same "
                    "version with the same options to go on"
                )
        return int(state["taken"])

    @property
    def state(self) -> dict[str, Any]:
        """Return where all ranks are once each has taken as many sequences as this one; JSON values."""
        return self._state(self._taken)

    def _state(self, taken: int) -> dict[str, Any]:
        return {**self._same, "taken": taken}

    def __iter__(self) -> Iterator[PackedSequence]:
        """Yield sequences; `state` counts each as taken once it was given."""
        for sequences, _ in self._read(1, 0, 1):
            for sequence in sequences:
                self._taken += self._world
                yield sequence

    def batches(self, size: int, worker: int = 0, workers: int = 1) -> Iterator[PackedBatch]:
        """Yield batches of `size` sequences, the last one of a last epoch may have fewer; each has the state behind it.

        Of several workers of a rank, each gets every so many-th batch: taken in turn they are those of one worker.
        Raises RecipeError where `size` or `worker` is out of range.
        """
        if size < 1 or not 0 <= worker < workers:
            raise RecipeError(f"batches have 1 sequence at least and a worker is from 0 on: not {size}, {worker}")
        single = workers == 1
        filler = np.full(self._packed.length, self._packed.fill, self._packed.dtype)
        for sequences, ends in self._read(size, worker, workers):
            rows = [sequence.tokens for sequence in sequences]
            lengths = np.array([len(row) for row in rows], np.int64)
            for i in np.flatnonzero(lengths < len(filler)).tolist():
                rows[i] = np.concatenate([rows[i], filler[lengths[i] :]])
            for number, end in enumerate(ends):
                part = slice(number * size, (number + 1) * size)
                tokens = np.concatenate(rows[part]).reshape(-1, len(filler))
                if single:
                    self._taken = end
                yield PackedBatch(tokens, lengths[part], sequences[part], self._state(end))

    def torch(self, size: int) -> TorchBatches:
        """Return batches as a `torch.utils.data.IterableDataset`, for `DataLoader(..., batch_size=None)`."""
        from gristmill.pipelines.readers.torch_packed import TorchBatches

        return TorchBatches(self, size)

    def _read(self, size: int, worker: int, workers: int) -> Iterator[tuple[list[PackedSequence], list[int]]]:
        """Yield the sequences of some batches, and the position behind each batch."""
        start, world = self._taken, self._world
        several = np.arange(max(1, _AHEAD // size))
        first = worker
        while True:
            batches = first + several * workers
            turns = (batches[:, None] * size + np.arange(size)).ravel()
            positions = start + turns * world + self._rank
            if self._end is not None:
                positions = positions[positions < self._end]
            if not len(positions):
                return
            sequences = self._packed.at(*self._order.places(positions))
            ends = start + (batches[: -(-len(positions) // size)] + 1) * size * world
            yield sequences, ends.tolist()
            if self._end is not None and len(positions) < len(turns):
                return
            first += len(several) * workers
