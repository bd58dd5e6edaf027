"""Signals that end a command: SIGTERM and SIGHUP end it in order, as Ctrl-C does; a second signal at once."""

from __future__ import annotations

import os
import signal
import threading
from types import FrameType
from typing import NoReturn

#: Signals sent by a scheduler, by a terminal that is closed, and by Ctrl-C.
ENDING = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)


class Ended(KeyboardInterrupt):
    """Interruption of the main thread by a signal that asks this process to end."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number

    @property
    def exit_code(self) -> int:
        """Return the exit code that shells report for a process ended by the signal."""
        return 128 + self.number


_came = threading.Event()
_in_order = False


def came() -> bool:
    """Return whether a signal has asked this process to end."""
    return _came.is_set()


def end_in_order() -> None:
    """Let the first signal of ENDING raise Ended in the main thread, and the next one end the process at once.

    A signal that is ignored, as under nohup, stays ignored.
    """
    global _in_order
    _in_order = True
    for number in ENDING:
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, _end)


def still_end_in_order() -> None:
    """Take the signals back, where `end_in_order` was called, from a library with handlers of its own (Ray's abort)."""
    if _in_order and not came() and threading.current_thread() is threading.main_thread():
        end_in_order()


def _end(number: int, frame: FrameType | None) -> NoReturn:
    _came.set()
    for other in ENDING:
        if signal.getsignal(other) == _end:
            signal.signal(other, _end_at_once)
    raise Ended(number)


def _end_at_once(number: int, frame: FrameType | None) -> None:
    os._exit(128 + number)
