"""Bridge from a synchronous stream of questions to asynchronous work and back: an event loop in its own thread."""

from __future__ import annotations

import asyncio
import contextlib
import queue
import threading
from collections.abc import Awaitable, Callable, Generator, Iterable, Iterator, Sequence
from typing import Any, Generic, TypeVar

from gristmill.pipelines.config.tuning import sizes

Q = TypeVar("Q")
R = TypeVar("R")
_LEAVE = 1.0  # seconds that the thread which pulls has to end; one that is blocked in `batches` ends when that returns


class Inbox(Generic[Q]):
    """The questions, as the work sees them."""

    def __init__(self, taken: Callable[[], None]) -> None:
        self._queue: asyncio.Queue[Q | None] = asyncio.Queue()
        self._taken = taken

    async def get(self) -> Q | None:
        """Return the next question; None, to every caller, when there are no more."""
        question = await self._queue.get()
        if question is None:
            self._queue.put_nowait(None)
        else:
            self._taken()
        return question

    def put(self, questions: Sequence[Q | None]) -> None:
        """Add questions; None ends them. Only the loop's thread may call this."""
        for question in questions:
            self._queue.put_nowait(question)


Work = Callable[[Inbox[Q], Callable[[R], None]], Awaitable[None]]


def through_loop(batches: Iterable[Sequence[Q]], work: Work[Q, R], ahead: int) -> Generator[Sequence[R], None, None]:
    """Yield what `work(inbox, emit)` emits, in lists of all that is there.

    `batches` is pulled in a thread, which may block, while fewer than `ahead` questions wait to be taken. An exception
    of `work` is raised here at once; one of `batches` after all that was pulled before it is answered. Closing the
    generator cancels the work.
    """
    run = _Run(batches, work, ahead)
    try:
        yield from run.replies()
    finally:
        run.stop()


class _Run(Generic[Q, R]):
    """Two threads: one pulls questions, one runs the loop. The consumer's thread takes the replies."""

    def __init__(self, batches: Iterable[Sequence[Q]], work: Work[Q, R], ahead: int) -> None:
        self._batches, self._work, self._ahead = batches, work, ahead
        self._waiting = 0  # questions that were pulled and not taken
        self._stopped = False
        self._changed = threading.Condition()
        self._failure: BaseException | None = None  # of the work
        self._source_failure: BaseException | None = None  # of the batches
        self._outbox: queue.SimpleQueue[R | None] = queue.SimpleQueue()
        self._inbox: Inbox[Q] = Inbox(self._taken)
        self._loop = asyncio.new_event_loop()
        self._threads = [
            threading.Thread(target=self._run_loop, name="label-loop", daemon=True),
            threading.Thread(target=self._pull, name="label-pull", daemon=True),
        ]
        for thread in self._threads:
            thread.start()

    def replies(self) -> Iterator[list[R]]:
        ended = False
        while not ended:
            items = [self._outbox.get()]
            with contextlib.suppress(queue.Empty):
                while True:
                    items.append(self._outbox.get_nowait())
            with self._changed:
                self._changed.notify_all()
            replies = [reply for reply in items if reply is not None]
            ended = len(replies) < len(items)
            if replies:
                yield replies
        if failure := self._failure or self._source_failure:
            raise failure

    def stop(self) -> None:
        with self._changed:
            self._stopped = True
            self._changed.notify_all()
        self._in_loop(self._cancel)
        loop, pull = self._threads
        loop.join()
        pull.join(_LEAVE)

    def _run_loop(self) -> None:
        try:
            with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
                runner.run(self._finish())
        except BaseException as error:
            self._failure = None if self._stopped else error
        finally:
            self._outbox.put(None)

    async def _finish(self) -> None:
        await self._work(self._inbox, self._outbox.put)

    def _cancel(self) -> None:
        for task in asyncio.all_tasks(self._loop):
            task.cancel()

    def _pull(self) -> None:
        try:
            batches = iter(self._batches)
            while self._wait_for_room() and (batch := next(batches, None)) is not None:
                with self._changed:
                    self._waiting += len(batch)
                self._in_loop(self._inbox.put, batch)
        except BaseException as error:
            self._source_failure = error
        finally:
            self._in_loop(self._inbox.put, [None])

    def _wait_for_room(self) -> bool:
        """Wait until questions are wanted; False when they no longer are."""
        with self._changed:
            self._changed.wait_for(
                lambda: self._stopped or (self._waiting < self._ahead and self._outbox.qsize() < sizes().undelivered)
            )
            return not self._stopped

    def _taken(self) -> None:
        with self._changed:
            self._waiting -= 1
            if self._waiting < self._ahead:
                self._changed.notify_all()

    def _in_loop(self, function: Callable[..., None], *arguments: Any) -> None:
        """Call a function in the loop's thread; nothing happens if the loop has ended."""
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(function, *arguments)
