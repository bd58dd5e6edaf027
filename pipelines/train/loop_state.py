"""State of a loop: what each round chose and what came of it, so that a loop that was killed goes on and pays once.

OUT.loop/loop.json            what the loop was begun with
OUT.loop/round-01.parquet     what a round chose: content ids, for which part, what the student said before
OUT.loop/round-01.json        its figures, when its labels were learnt from
OUT.loop/rounds.md, .svg      the table and the plot; rounds.html is the page on both
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from gristmill.operators.columns import CONTENT_ID, TYPES
from gristmill.operators.errors import RecipeError
from gristmill.pipelines.storage import files

FOLDER = ".loop"
#: Parts that a text is chosen for: to test both sides with, for both to begin with, or for one of them.
TEST, FIRST, SAMPLED, RANDOM = "test", "first", "sampled", "random"
CHOSEN = pa.schema([(CONTENT_ID, TYPES[CONTENT_ID]), ("part", pa.string()), ("foretold", pa.list_(pa.float64()))])


@dataclass(frozen=True)
class LoopState:
    """The folder of a loop."""

    url: str

    @classmethod
    def open(cls, out: str, begun: Mapping[str, Any]) -> LoopState:
        """Open the folder beside a student; raise RecipeError where a loop was begun there with something else."""
        state = cls(f"{out}{FOLDER}")
        path = files.join(state.url, "loop.json")
        try:
            before = files.read_record(path)
        except FileNotFoundError:
            files.write_record(path, dict(begun))
            return state
        if other := [name for name in begun if before.get(name) != begun[name]]:
            told = "; ".join(f"{name} was {before.get(name)}, and is {begun[name]}" for name in other)
            raise RecipeError(
                f"a loop was begun in {state.url} with something else: {told}. Give that again, or another --out"
            )
        return state

    def choice(self, number: int) -> pa.Table | None:
        """Return what a round chose (CHOSEN), if it has."""
        path = self._path(number, "parquet")
        return files.read_table(path) if files.exists(path) else None

    def write_choice(self, number: int, chosen: pa.Table) -> pa.Table:
        """Keep what a round chose (CHOSEN), and return it."""
        files.write_table(self._path(number, "parquet"), chosen)
        return chosen

    def figures(self, number: int) -> dict[str, Any] | None:
        """Return what came of a round, if it has ended."""
        with contextlib.suppress(FileNotFoundError):
            return files.read_record(self._path(number, "json"))
        return None

    def all_figures(self) -> list[dict[str, Any]]:
        """Return what came of all rounds that have ended, in their order."""
        found: list[dict[str, Any]] = []
        while (figures := self.figures(len(found) + 1)) is not None:
            found.append(figures)
        return found

    def write_figures(self, number: int, figures: Mapping[str, Any]) -> None:
        """Keep what came of a round."""
        files.write_record(self._path(number, "json"), dict(figures))

    def write_pages(self, page: str, plot: bytes) -> None:
        """Write the table and the plot."""
        files.write_bytes(files.join(self.url, "rounds.svg"), plot)
        files.write_bytes(files.join(self.url, "rounds.md"), page.encode())

    def _path(self, number: int, ending: str) -> str:
        return files.join(self.url, f"round-{number:02d}.{ending}")


def choice_of(parts: Mapping[str, Sequence[bytes]], foretold: Mapping[bytes, Sequence[float]]) -> pa.Table:
    """Return a choice (CHOSEN) of content ids by part, with what the student said of them before."""
    rows = [(key, part, foretold.get(key)) for part, keys in parts.items() for key in keys]
    columns = zip(*rows, strict=True) if rows else ((), (), ())
    return pa.table([pa.array(column, kind) for column, kind in zip(columns, CHOSEN.types, strict=True)], CHOSEN)
