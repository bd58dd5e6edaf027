"""Compilation of kernels before the work: those that it needs and this machine has not compiled, in several processes.

numba compiles under one lock, so threads would not help. Compiled code lies in the folder that all processes of this
machine load from. Nothing depends on it: a kernel that was not compiled here, because its process was killed or the
folder cannot be written to, is compiled when it is first called.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from filelock import FileLock

from gristmill.operators.kernels.compiling import code_folder
from gristmill.operators.kernels.examples import EXAMPLES
from gristmill.pipelines.config.wording import plural
from gristmill.pipelines.engine.local import cores
from gristmill.pipelines.progress.reporter import Reporter

#: Groups that this process knows to be compiled, or has tried to compile.
_DONE: set[str] = set()


def compile_missing(groups: Iterable[str], reporter: Reporter | None = None) -> None:
    """Compile the groups of kernels that are not compiled on this machine, and report it if there are any."""
    names = [name for name in EXAMPLES if name in {*groups} - _DONE]
    if not names:
        return
    reporter = reporter or Reporter(quiet=True)
    try:
        if missing := _missing(names):
            reporter.say(f"  compile  {plural(len(missing), 'kernel group')}, once for this machine and version ...")
            with FileLock(code_folder() / "compiling.lock"):  # another process may be compiling the same
                missing = _missing(names)
                with reporter.stage("compile", len(missing), "kernel group") as stage:
                    for name in compiled(missing):
                        _mark(name).touch()
                        stage.advance()
    except OSError:  # no room, no rights, no locks: kernels are compiled as they are called
        pass
    _DONE.update(names)


def missing_groups() -> list[str]:
    """Return the groups of kernels that are not compiled on this machine, of all that there are."""
    return _missing(list(EXAMPLES))


def compiled(groups: Iterable[str]) -> Iterator[str]:
    """Compile groups of kernels, one per processor at a time; yield the name of each when it is done."""
    waiting = [*groups][::-1]
    with contextlib.ExitStack() as stack:
        done = stack.enter_context(selectors.DefaultSelector())
        for _ in range(min(len(waiting), cores())):
            child = _start()
            stack.callback(_end, child)
            _tell(child, waiting)
            done.register(child.stdout, selectors.EVENT_READ, child)  # type: ignore[arg-type]
        while done.get_map():
            for key, _ in done.select():
                name = key.data.stdout.readline().strip()
                if name:
                    _tell(key.data, waiting)
                    yield name
                else:  # all is done, or it was killed
                    done.unregister(key.fileobj)


def _tell(child: subprocess.Popen[str], waiting: list[str]) -> None:
    """Hand a process the next group, or let it end."""
    assert child.stdin is not None
    with contextlib.suppress(BrokenPipeError):
        if waiting:
            print(waiting.pop(), file=child.stdin, flush=True)
        else:
            child.stdin.close()


def _start() -> subprocess.Popen[str]:
    program = f"import sys; sys.path[:] = {sys.path!r}; from gristmill.operators.kernels.examples import main; main()"
    pipe, nothing = subprocess.PIPE, subprocess.DEVNULL
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(code_folder())}
    command = [sys.executable, "-c", program]
    return subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=nothing, text=True, env=environment)


def _end(child: subprocess.Popen[str]) -> None:
    child.kill()
    child.wait()
    for stream in (child.stdin, child.stdout):
        with contextlib.suppress(BrokenPipeError):
            stream.close()  # type: ignore[union-attr]


def _missing(groups: Iterable[str]) -> list[str]:
    return [name for name in groups if not _mark(name).exists()]


def _mark(group: str) -> Path:
    """Return the file that marks a group as compiled: for this processor and numba, in this folder."""
    from gristmill.operators.kernels.numba_backend import machine

    return code_folder() / f"compiled-{machine()}-{group}"
