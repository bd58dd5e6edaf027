"""Expressions that can make large values of small ones, computed in a separate process with limits.

Such a process is started for the first such expression, is used again, and ends with the process that started it. Where
it takes more memory or processor time than it may, it ends, and the expression is refused.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import select
import signal
import struct
import subprocess
import sys
from collections.abc import Callable, Mapping
from threading import Lock
from typing import IO, Any

import duckdb
import pyarrow as pa

from gristmill.operators.errors import GristmillError, RecipeError, ShardError
from gristmill.operators.expressions.condition import Condition, Fired, Quantile, compile_condition

#: Bytes of memory that an expression may take in addition to the columns that it reads.
MEMORY = 1 << 30
#: Processor time of the check before a run, and of a shard.
CHECK_SECONDS, SHARD_SECONDS = 10, 60
#: The factor by which it may take longer than that by the clock, on a machine that is busy.
PATIENCE = 20
_SIZE = struct.Struct("<Q")
_SERVE = "from gristmill.pipelines.decide.rules.confined import serve; serve()"


def compile_confined(text: str, schema: pa.Schema) -> Condition:
    """Compile a condition as `compile_condition` does, within the limits. Raises RecipeError where it takes more."""
    condition: Condition = _ask(_refusal(RecipeError, text), CHECK_SECONDS, compile_condition, text, schema)
    return condition


def evaluate_confined(condition: Condition, documents: pa.Table, limits: Mapping[Quantile, pa.Scalar]) -> Fired:
    """Evaluate a condition as `Condition.evaluate` does, within the limits. Raises ShardError where it takes more."""
    needed = documents.select(condition.columns).combine_chunks()
    refusal = _refusal(ShardError, condition.text)
    fired: Fired = _ask(refusal, SHARD_SECONDS, Condition.evaluate, condition, needed, limits)
    return fired


class _Exceeded(Exception):
    """A process took more than it may, or was ended; the message says of what."""


def _refusal(error: type[GristmillError], text: str) -> Callable[[_Exceeded], GristmillError]:
    return lambda what: error(f"{text!r} takes more than {what} to compute, which is all that an expression may take")


def _ask(
    refusal: Callable[[_Exceeded], GristmillError], seconds: int, function: Callable[..., Any], *values: Any
) -> Any:
    """Return the result of a function in a separate process, or raise its error; that of `refusal` at a limit.

    A process that was used before may hold leftovers, or have been ended from outside: a new one decides then.
    """
    if (worker := _idle_worker()) is not None:
        with contextlib.suppress(_Exceeded):
            return worker.ask(seconds, function, values)
    try:
        return _Worker().ask(seconds, function, values)
    except _Exceeded as what:
        raise refusal(what) from None


class _Worker:
    """A process that computes one thing at a time."""

    def __init__(self) -> None:
        path = os.pathsep.join(filter(None, sys.path))
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-c", _SERVE],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "PYTHONPATH": path},
        )

    def ask(self, seconds: int, function: Callable[..., Any], values: tuple[Any, ...]) -> Any:
        """Return the result of a function, or raise its error; at a limit end the process and raise _Exceeded."""
        memory, time = f"{MEMORY >> 30} GB of memory", f"{seconds} seconds of processor time"
        request, reply = self._process.stdin, self._process.stdout
        assert request is not None
        assert reply is not None
        try:
            _send(request, (seconds, function, values))
            if not select.select([reply], [], [], PATIENCE * seconds)[0]:
                raise _Exceeded(time)
            kind, result = _receive(reply)
        except (BrokenPipeError, EOFError):
            ended = -self._process.wait()
            raise _Exceeded(time if ended == signal.SIGXCPU else memory) from None
        except BaseException:
            self.end()  # no request waits for its later answer
            raise
        if kind == "memory":
            self.end()
            raise _Exceeded(memory)
        with _lock:
            _idle.append(self)
        if kind == "error":
            raise result
        return result

    @property
    def is_alive(self) -> bool:
        """Return whether it can be asked again."""
        return self._process.poll() is None

    def end(self) -> None:
        """End the process at once."""
        self._process.kill()
        self._process.wait()


_idle: list[_Worker] = []
_lock = Lock()


def _idle_worker() -> _Worker | None:
    """Return a process that was used before and is idle now; None where there is none."""
    with _lock:
        while _idle:
            if (worker := _idle.pop()).is_alive:
                return worker
    return None


def _send(stream: IO[bytes], value: Any) -> None:
    content = pickle.dumps(value, protocol=5)
    stream.write(_SIZE.pack(len(content)))
    stream.write(content)
    stream.flush()


def _receive(stream: IO[bytes]) -> Any:
    return pickle.loads(_received(stream))


def _received(stream: IO[bytes]) -> bytes:
    head = stream.read(_SIZE.size)
    if len(head) < _SIZE.size:
        raise EOFError
    return stream.read(_SIZE.unpack(head)[0])


def serve() -> None:
    """Compute what is asked on standard input until it ends: the program of the process."""
    import resource

    requests, replies = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # nothing else may be written there
    compile_condition("a > 0", pa.schema([("a", pa.int64())]))  # loaded once, at no expression's cost
    baseline = _address_space()
    while True:
        try:
            request = _received(requests)
        except EOFError:
            return
        if baseline:  # the columns are held as they came, as Arrow and in DuckDB
            _limit(resource.RLIMIT_AS, baseline + 3 * len(request) + MEMORY)
        seconds, function, values = pickle.loads(request)
        spent = sum(resource.getrusage(resource.RUSAGE_SELF)[:2])
        _limit(resource.RLIMIT_CPU, int(spent) + seconds + 1)
        _send(replies, _answer(function, values))


def _limit(kind: int, most: int) -> None:
    """Limit what this process takes, by less where it may not take that much: only root may raise a hard limit."""
    import resource

    hard = resource.getrlimit(kind)[1]
    # below a hard limit, at which a process is killed without a signal that tells which limit it was
    resource.setrlimit(kind, (most if hard == resource.RLIM_INFINITY else min(most, hard - 1), hard))


def _answer(function: Callable[..., Any], values: tuple[Any, ...]) -> tuple[str, Any]:
    try:
        return "value", function(*values)
    except MemoryError:
        return "memory", None
    except GristmillError as error:
        if isinstance(error.__cause__, duckdb.OutOfMemoryException):
            return "memory", None
        return "error", type(error)(str(error))


def _address_space() -> int:
    """Return the bytes of address space that this process takes; 0 where the system does not report (or limit) it."""
    with contextlib.suppress(OSError), open("/proc/self/statm") as file:
        return int(file.read().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    return 0
