"""Functions that may take too much, computed in separate processes with limits of memory and processor time.

A process is started for the first such call, is used again, and ends with the process that started it. Where a function
takes more than it may, its process ends, and only that call fails. What a process had not answered when it was killed
from outside is asked again.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import pickle
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from enum import Enum
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from threading import Lock
from typing import Any, NamedTuple

from gristmill.operators.errors import FatalError, GristmillError

#: The factor by which a call may take longer by the clock than in processor time, on a machine that is busy.
PATIENCE = 20
#: How many processes in a row may be killed before they are ready, or by the same call.
ATTEMPTS = 5
_START_SECONDS = 600  # by the clock: a machine that is busy imports slowly
_PIPE = 1 << 20  # bytes that a pipe may hold
#: glibc's malloc keeps what one call freed for the next, in place of asking the system for it anew each time, which
#: takes as long as decoding a page.
_KEEP_MEMORY = {"MALLOC_MMAP_THRESHOLD_": str(32 << 20), "MALLOC_TRIM_THRESHOLD_": str(256 << 20)}
_KILLS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
_SERVE = "from gristmill.pipelines.engine.limited_process import serve; serve({}, {})"


class CallLimits(NamedTuple):
    """The most that one call may take."""

    seconds: int  #: of processor time
    memory: int  #: bytes besides three times the arguments


class Excess(Enum):
    """A limit that a call exceeded."""

    TIME = "processor time"
    MEMORY = "memory"  #: or one process after the other was killed, which cannot be told apart


class ExceededError(Exception):
    """A call took more than its limits."""

    def __init__(self, excess: Excess) -> None:
        super().__init__(excess)
        self.excess = excess


class _KilledError(Exception):
    """A process was killed: from outside, or because the machine has no memory left."""


class LimitedProcesses:
    """Processes in which `prepare` was called once, without limits: what it loads counts for no call. Thread-safe."""

    def __init__(self, prepare: Callable[[], object]) -> None:
        self._prepare = prepare
        self._idle: list[_Process] = []
        self._lock = Lock()

    def ask(self, limits: CallLimits, function: Callable[..., Any], *values: Any) -> Any:
        """Return the result of a picklable function, or raise its GristmillError; ExceededError at a limit."""
        (result,) = self.ask_each(limits, function, [values])
        if isinstance(result, ExceededError):
            raise result
        return result

    def ask_each(
        self,
        limits: CallLimits,
        function: Callable[..., Any],
        calls: Iterable[tuple[Any, ...]],
        spend: Callable[[float], object] = lambda seconds: None,
    ) -> Iterator[Any]:
        """Yield for each call the result of a picklable function, or ExceededError at a limit, in order.

        A GristmillError of the function is raised, and FatalError where no process can be made ready. The calls share a
        process, and are sent ahead as far as its pipe takes them. A process that was used before may hold leftovers:
        where one fails, a new one decides. `spend` is called with the processor seconds of each call that ends.
        """
        requests = (pickle.dumps((limits, function, values), protocol=5) for values in calls)
        again: deque[bytes] = deque()  # were sent to a process that failed before it came to them

        def next_request() -> bytes | None:
            return again.popleft() if again else next(requests, None)

        process: _Process | None = None
        killed = 0  # new processes since the last answer
        request = next_request()
        try:
            while request is not None or (process is not None and process.ahead):
                process = process or self._used_before() or self._new()
                while request is not None and process.has_room(request):
                    process.send(request)
                    request = next_request()
                try:
                    result = process.receive(PATIENCE * limits.seconds, spend)
                except (ExceededError, _KilledError) as failure:
                    failed, process = process, None
                    again.extendleft(reversed([*failed.ahead, *([] if request is None else [request])]))
                    decision = failure if isinstance(failure, ExceededError) and failed.is_new else None
                    if isinstance(failure, _KilledError):
                        killed += failed.is_new
                        decision = ExceededError(Excess.MEMORY) if killed == ATTEMPTS else None
                    if decision is not None:
                        again.popleft()
                    request = next_request()
                    if decision is None:
                        continue
                    result = decision
                killed = 0
                yield result
        finally:
            if process is not None:
                self._put_back(process)

    def _used_before(self) -> _Process | None:
        """Return a process that is idle; None where there is none."""
        with self._lock:
            while self._idle:
                if (process := self._idle.pop()).is_alive:
                    return process
        return None

    def _new(self) -> _Process:
        """Return a new process that is ready for calls."""
        for _ in range(ATTEMPTS):
            process = _Process(self._prepare)
            if process.becomes_ready():
                return process
        raise FatalError(
            f"{ATTEMPTS} processes in a row that compute within limits were ended before they were ready; see that "
            "the machine has memory left and that nothing ends its processes"
        )

    def _put_back(self, process: _Process) -> None:
        if process.ahead:  # nobody waits for the answers: what asks next must not get them
            process.end()
        else:
            with self._lock:
                self._idle.append(process)


class _Process:
    """A process that computes one thing after the other."""

    def __init__(self, prepare: Callable[[], object]) -> None:
        self.ahead: deque[bytes] = deque()  #: requests that were sent and are not answered yet
        self.is_new = True  #: whether it has answered nothing yet
        (their_requests, self._requests), (self._replies, their_replies) = Pipe(duplex=False), Pipe(duplex=False)
        self._room = _send_ahead(self._requests.fileno())
        descriptors = (their_requests.fileno(), their_replies.fileno())
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-c", _SERVE.format(*descriptors)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={**os.environ, **_KEEP_MEMORY, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            pass_fds=descriptors,
        )
        their_requests.close()
        their_replies.close()
        with contextlib.suppress(BrokenPipeError):  # the first answer tells that it is gone
            self._requests.send_bytes(pickle.dumps(prepare, protocol=5))

    def becomes_ready(self) -> bool:
        """Wait until it can be asked; return False where it ends before. Raises FatalError where `prepare` fails."""
        try:
            if not self._replies.poll(_START_SECONDS):
                self.end()
                return False
            failure = pickle.loads(self._replies.recv_bytes())
        except (EOFError, OSError):
            self._process.wait()
            return False
        except BaseException:
            self.end()
            raise
        if failure is not None:
            self.end()
            raise FatalError(f"a process that computes within limits could not be prepared: {failure}")
        return True

    def has_room(self, request: bytes) -> bool:
        """Return whether a request can be sent: at once, or because the process reads it."""
        return not self.ahead or sum(map(len, self.ahead)) + len(request) <= self._room

    def send(self, request: bytes) -> None:
        """Send a request for which there is room."""
        self.ahead.append(request)
        try:
            with contextlib.suppress(BrokenPipeError):
                self._requests.send_bytes(request)
        except BaseException:
            self.end()  # no other request follows a half of this one
            raise

    def receive(self, seconds: float, spend: Callable[[float], object]) -> Any:
        """Return the answer to the first request, within so many seconds by the clock, or raise its GristmillError.

        Raises ExceededError at a limit, and _KilledError where the process was killed: it is ended then.
        """
        try:
            if not self._replies.poll(seconds):
                raise ExceededError(Excess.TIME)
            kind, result, spent = pickle.loads(self._replies.recv_bytes())
            spend(spent)
            if kind == "memory":
                raise ExceededError(Excess.MEMORY)
        except (EOFError, OSError):  # it ended: before an answer, or in its middle
            ended = -self._process.wait()
            if ended in _KILLS:
                raise _KilledError from None
            raise ExceededError(Excess.TIME if ended == signal.SIGXCPU else Excess.MEMORY) from None
        except BaseException:
            self.end()
            raise
        self.ahead.popleft()
        self.is_new = False
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


def _send_ahead(descriptor: int) -> int:
    """Widen a pipe; return how many bytes may be in it at a time, such that writing them never waits."""
    try:
        return fcntl.fcntl(descriptor, fcntl.F_SETPIPE_SZ, _PIPE) // 2
    except (OSError, AttributeError):  # Linux alone has it
        return 0


def serve(requests_descriptor: int, replies_descriptor: int) -> None:
    """Compute what is asked through a pipe until it ends: the program of the process."""
    import resource

    requests, replies = Connection(requests_descriptor), Connection(replies_descriptor)
    try:
        pickle.loads(requests.recv_bytes())()
        failure = None
    except Exception as error:
        failure = f"{type(error).__name__}: {error}"
    replies.send_bytes(pickle.dumps(failure))
    baseline = _address_space()
    while True:
        try:
            request = requests.recv_bytes()
        except EOFError:
            return
        limits, function, values = pickle.loads(request)
        if baseline:
            _limit(resource.RLIMIT_AS, baseline + 3 * len(request) + limits.memory)
        before = time.process_time()
        _limit(resource.RLIMIT_CPU, int(before) + limits.seconds + 1)
        kind, result = _answer(function, values)
        replies.send_bytes(pickle.dumps((kind, result, time.process_time() - before), protocol=5))


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
