"""Functions that may take too much, computed in separate processes with limits of memory and processor time.

A process is started for the first such call, is used again, and ends with the process that started it. Where a function
takes more than it may, its process ends, and only that call fails.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import pickle
import select
import signal
import struct
import subprocess
import sys
from collections.abc import Callable
from enum import Enum
from threading import Lock
from typing import IO, Any, NamedTuple

from gristmill.operators.errors import GristmillError

#: The factor by which a call may take longer by the clock than in processor time, on a machine that is busy.
PATIENCE = 20
_SIZE = struct.Struct("<Q")
_PIPE = 1 << 20  # bytes that a pipe may hold
_SERVE = "from gristmill.pipelines.engine.limited_process import serve; serve()"


class CallLimits(NamedTuple):
    """The most that one call may take."""

    seconds: int  #: of processor time
    memory: int  #: bytes besides three times the arguments


class Excess(Enum):
    """A limit that a call exceeded."""

    TIME = "processor time"
    MEMORY = "memory"  #: or its process was ended from outside, which cannot be told apart


class ExceededError(Exception):
    """A call took more than its limits."""

    def __init__(self, excess: Excess) -> None:
        super().__init__(excess)
        self.excess = excess


class LimitedProcesses:
    """Processes in which `prepare` was called once, without limits: what it loads counts for no call. Thread-safe."""

    def __init__(self, prepare: Callable[[], object]) -> None:
        self._prepare = prepare
        self._idle: list[_Process] = []
        self._lock = Lock()

    def ask(self, limits: CallLimits, function: Callable[..., Any], *values: Any) -> Any:
        """Return the result of a picklable function, or raise its GristmillError; ExceededError at a limit.

        A process that was used before may hold leftovers, or have been ended from outside: a new one decides then.
        """
        if (process := self._used_before()) is not None:
            with contextlib.suppress(ExceededError):
                return self._asked(process, limits, function, values)
        return self._asked(_Process(self._prepare), limits, function, values)

    def _asked(
        self, process: _Process, limits: CallLimits, function: Callable[..., Any], values: tuple[Any, ...]
    ) -> Any:
        kind, result = process.ask(limits, function, values)
        if kind == "memory":
            process.end()
            raise ExceededError(Excess.MEMORY)
        with self._lock:
            self._idle.append(process)
        if kind == "error":
            raise result
        return result

    def _used_before(self) -> _Process | None:
        """Return a process that is idle; None where there is none."""
        with self._lock:
            while self._idle:
                if (process := self._idle.pop()).is_alive:
                    return process
        return None


class _Process:
    """A process that computes one thing at a time."""

    def __init__(self, prepare: Callable[[], object]) -> None:
        path = os.pathsep.join(filter(None, sys.path))
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-c", _SERVE],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "PYTHONPATH": path},
        )
        assert self._process.stdin is not None
        with contextlib.suppress(OSError, AttributeError):  # fewer switches between the processes; Linux has it
            fcntl.fcntl(self._process.stdin, fcntl.F_SETPIPE_SZ, _PIPE)
        with contextlib.suppress(BrokenPipeError):  # the first question tells that it is gone
            _send(self._process.stdin, prepare)

    def ask(self, limits: CallLimits, function: Callable[..., Any], values: tuple[Any, ...]) -> tuple[str, Any]:
        """Return the kind of the answer and the answer; at a limit end the process and raise ExceededError."""
        request, reply = self._process.stdin, self._process.stdout
        assert request is not None
        assert reply is not None
        try:
            _send(request, (limits, function, values))
            if not select.select([reply], [], [], PATIENCE * limits.seconds)[0]:
                raise ExceededError(Excess.TIME)
            kind, result = _receive(reply)
        except (BrokenPipeError, EOFError):
            ended = -self._process.wait()
            raise ExceededError(Excess.TIME if ended == signal.SIGXCPU else Excess.MEMORY) from None
        except BaseException:
            self.end()  # no request waits for its later answer
            raise
        return kind, result

    @property
    def is_alive(self) -> bool:
        """Return whether it can be asked again."""
        return self._process.poll() is None

    def end(self) -> None:
        """End the process at once."""
        self._process.kill()
        self._process.wait()


def _send(stream: IO[bytes], value: Any) -> None:
    content = pickle.dumps(value, protocol=5)
    stream.write(_SIZE.pack(len(content)))
    stream.write(content)
    stream.flush()


def _receive(stream: IO[bytes]) -> Any:
    return pickle.loads(_message(stream))


def _message(stream: IO[bytes]) -> bytes:
    head = stream.read(_SIZE.size)
    if len(head) < _SIZE.size:
        raise EOFError
    return stream.read(_SIZE.unpack(head)[0])


def serve() -> None:
    """Compute what is asked on standard input until it ends: the program of the process."""
    import resource

    requests, replies = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # nothing else may be written there
    _receive(requests)()
    baseline = _address_space()
    while True:
        try:
            request = _message(requests)
        except EOFError:
            return
        limits, function, values = pickle.loads(request)
        if baseline:
            _limit(resource.RLIMIT_AS, baseline + 3 * len(request) + limits.memory)
        spent = sum(resource.getrusage(resource.RUSAGE_SELF)[:2])
        _limit(resource.RLIMIT_CPU, int(spent) + limits.seconds + 1)
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
        if "OutOfMemory" in type(error.__cause__).__name__:
            return "memory", None
        return "error", type(error)(str(error))


def _address_space() -> int:
    """Return the bytes of address space that this process takes; 0 where the system does not report (or limit) it."""
    with contextlib.suppress(OSError), open("/proc/self/statm") as file:
        return int(file.read().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    return 0
