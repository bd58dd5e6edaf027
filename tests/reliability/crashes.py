"""Runs that end at the n-th step that changes a disk, whatever n: `python -m tests.reliability.crashes`.

A step is an open for writing, a write, a rename, a link, a removal, a new folder, or a flush. The process is forked
from one that has all kernels loaded, ends by `os._exit` just before its n-th step, and the same run is then done again
from what it left. A run that labels takes a few steps more or fewer each time: answers that arrive together are written
together. One that ends before its n-th step must still give the same results.
"""

from __future__ import annotations

import builtins
import contextlib
import io
import itertools
import os
import shutil
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

ENDED = 77
#: Functions of `os` that change a disk.
STEPS = ("replace", "rename", "link", "unlink", "remove", "rmdir", "mkdir", "write", "fsync", "utime")


class _Written:
    """A file that is written, each write being a step."""

    def __init__(self, file: Any, step: Callable[[], None]) -> None:
        self._file, self._step = file, step

    def write(self, content: Any) -> Any:
        self._step()
        return self._file.write(content)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)

    def __enter__(self) -> _Written:
        return self

    def __exit__(self, *error: object) -> None:
        self._file.close()


class Steps:
    """Counts steps; ends the process just before one of them."""

    def __init__(self, last: int | None) -> None:
        self.taken, self.last = 0, last

    def __call__(self) -> None:
        self.taken += 1
        if self.taken == self.last:
            os._exit(ENDED)

    def install(self) -> None:
        """From now on every step of this process is counted."""
        for name in STEPS:
            setattr(os, name, self._counted(getattr(os, name)))
        plain_open, open_descriptor = builtins.open, os.open

        def counting_open(file: Any, mode: str = "r", *args: Any, **kwargs: Any) -> Any:
            if not set(mode) & set("wax+"):
                return plain_open(file, mode, *args, **kwargs)
            self()
            return _Written(plain_open(file, mode, *args, **kwargs), self)

        def counting_descriptor(path: Any, flags: int, *args: Any, **kwargs: Any) -> int:
            if flags & os.O_CREAT:
                self()
            return open_descriptor(path, flags, *args, **kwargs)

        builtins.open = counting_open  # type: ignore[assignment]
        io.open = counting_open  # type: ignore[assignment]
        os.open = counting_descriptor

    def _counted(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def counting(*args: Any, **kwargs: Any) -> Any:
            if not (args and isinstance(args[0], int) and args[0] <= 2):  # what is printed is no step
                self()
            return function(*args, **kwargs)

        return counting


def forked(work: Callable[[], None], last: int | None = None) -> tuple[int, int]:
    """Do work in a fork of this process that ends before its `last` step; its exit code, and the steps it took."""
    reading, writing = os.pipe()
    process = os.fork()
    if process == 0:
        os.close(reading)
        steps = Steps(last)
        plain_write = os.write
        try:
            steps.install()
            work()
            plain_write(writing, str(steps.taken).encode())
            os._exit(0)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
    os.close(writing)
    with contextlib.closing(io.FileIO(reading)) as pipe:
        said = pipe.read()
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]), int(said or b"0")


def execute(recipe: Path) -> None:
    """Run a recipe by one worker, so that steps come in one order."""
    from gristmill.pipelines.engine import open_engine
    from gristmill.pipelines.progress.reporter import Reporter
    from gristmill.pipelines.recipe.recipe import load_recipe
    from gristmill.pipelines.stages.run import run

    run(load_recipe(str(recipe)), partial(open_engine, "local", 1), Reporter(quiet=True))


def load_kernels(recipe: Path) -> None:
    """Have this process load what the recipe's operators are made of, so that its forks need not."""
    from gristmill.pipelines.planning.state import plan_run
    from gristmill.pipelines.recipe.recipe import load_recipe

    plan = plan_run(load_recipe(str(recipe))).plan
    for ready in plan.transforms:
        ready.open()
    for measure in plan.measures:
        if measure.ready is not None:
            measure.ready.open()


def committed(recipe: Path) -> dict[str, bytes]:
    """What the run is for: datasets, the index, the registry, byte by byte."""
    store = recipe.parent / "store"
    found = (path for part in ("datasets", "index", "shards") for path in sorted((store / part).rglob("*")))
    return {str(path.relative_to(store)): path.read_bytes() for path in found if path.is_file()}


def check(recipe: Path, every: int, first: int, deadline: float) -> Iterator[str]:
    """End the run before every so many of its steps and do it again. Yields a line for each outcome that is wrong."""
    from gristmill.pipelines.progress.reporter import Reporter
    from gristmill.pipelines.report.verify import verify

    folder, before = recipe.parent, recipe.parent.with_name("before")
    shutil.copytree(folder, before)
    load_kernels(recipe)
    for _ in range(2):  # the first may compile kernels, which takes steps that no later run takes
        shutil.rmtree(folder)
        shutil.copytree(before, folder)
        code, steps = forked(lambda: execute(recipe))
        assert code == 0, "the run that nobody disturbs fails"
    expected = committed(recipe)
    done = short = 0
    for last in itertools.count(first, every):
        if last > steps or time.monotonic() > deadline:
            break
        shutil.rmtree(folder)
        shutil.copytree(before, folder)
        code, _ = forked(lambda: execute(recipe), last)
        if code == 0:
            short += 1
        elif code == ENDED:
            done += 1
            code, _ = forked(lambda: execute(recipe))
        if code != 0:
            yield f"step {last}: the run, or the one after it, ended with {code}"
        elif (found := committed(recipe)) != expected:
            differing = [name for name in {*found, *expected} if found.get(name) != expected.get(name)]
            yield f"step {last}: other results: {sorted(differing)}"
        elif left := verify(str(folder / "store"), None, False, Reporter(quiet=True)).findings:
            yield f"step {last}: {left}"
    print(f"{done} of {steps} steps: done, {short} not reached", flush=True)


if __name__ == "__main__":
    wrong = list(check(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), time.monotonic() + float(sys.argv[4])))
    print("\n".join(wrong))
    sys.exit(bool(wrong))
