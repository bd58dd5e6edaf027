"""One writer at a time: numbered files in the store's folder LOCK, the highest of which is the owner's.

    LOCK/00000007      the owner: a random token; host and process, to be shown to users

A run takes the store by creating the next number, which only one of several can do: by a hard link on a disk, by a
conditional put on an object store. It then lists the files again: if there is one that it has not found dead, it
withdraws. An owner counts as dead where that can be known (the operating system's lock on its file is released, or its
process is gone), and else where its file has not changed for STALE seconds while this process watches it. Clocks are
never compared. Before each commit an owner checks that it still is the owner (`check_held`).
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import random
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from gristmill.operators.errors import GristmillError, StoreLocked
from gristmill.pipelines.storage import exclusive, files

FOLDER = "LOCK"
HEARTBEAT = 15.0  # seconds between two signs of life
STALE = 120.0  # seconds without one, watched, after which an owner counts as dead
WATCH = 1.0  # seconds between two looks at an owner's file
ATTEMPTS = 50  # to take the store while others try as well
WITHDRAWAL = 5.0  # seconds that a run that came too late takes at most to withdraw


@dataclass(frozen=True)
class Owner:
    """Holder of a lock. Two owners never have the same token."""

    token: str
    host: str
    process: str
    started: str  #: start time, which tells the process from a later one of the same number
    place: str  #: the running system and its namespace of process numbers; empty where unknown
    machine: str  #: the running system, within which the operating system's locks are visible

    @classmethod
    def this(cls) -> Owner:
        """Make a new owner in this process."""
        process = os.getpid()
        machine = _machine()
        numbers = _read_link("/proc/self/ns/pid")
        place = f"{machine} {numbers}" if machine and numbers else ""
        return cls(uuid.uuid4().hex, socket.gethostname(), str(process), _started(process) or "", place, machine)


_OWNER_FIELDS = tuple(field.name for field in fields(Owner))


class LockFile:
    """File of the lock, by its number. While this process holds it, the operating system's lock on it is kept."""

    def __init__(self, folder: str, number: int) -> None:
        self.number = number
        self.url = files.join(folder, f"{number:08d}")
        self._descriptor: int | None = None
        self._beats = 0

    def create(self, owner: Owner) -> bool:
        """Create it for an owner; return False where there is one already."""
        content = _encode(owner, self._beats)
        if not files.is_local(self.url):
            return exclusive.create(self.url, content)
        self._descriptor = exclusive.create_locked(self.url, content)
        return self._descriptor is not None

    def read(self) -> bytes:
        """Return its content, on a local disk with its time of change; empty where it is gone."""
        try:
            if not files.is_local(self.url):
                return files.read_bytes(self.url)
            path = Path(files.local_path(self.url))
            return path.read_bytes() + f" {path.stat().st_mtime_ns}".encode()
        except FileNotFoundError:
            return b""

    def owner(self) -> Owner | None:
        """Return its owner; None where the file is gone or cannot be parsed."""
        try:
            record = json.loads(self.read().split(b"\n")[0])
            return Owner(**{name: str(record[name]) for name in _OWNER_FIELDS})
        except (ValueError, KeyError, TypeError):
            return None

    def is_held(self) -> bool | None:
        """Return whether a process of this running system has the operating system's lock on it; None where unknown."""
        if not files.is_local(self.url):
            return None
        try:
            descriptor = os.open(files.local_path(self.url), os.O_RDONLY)
        except OSError:
            return None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        except OSError:
            return None
        else:
            return False
        finally:
            os.close(descriptor)

    def beat(self, owner: Owner) -> None:
        """Give a sign of life. A file that was removed by another is not created again."""
        if self._descriptor is not None:
            os.utime(self._descriptor)
        elif self.owner() == owner:
            self._beats += 1
            files.write_bytes(self.url, _encode(owner, self._beats))

    def release(self, owner: Owner) -> None:
        """Remove it, if it is the owner's."""
        if self.owner() == owner:
            files.remove_file(self.url)
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


class WriterLock:
    """Lock of a store, held by this process."""

    def __init__(self, store: str, owner: Owner, file: LockFile) -> None:
        self.store, self.owner, self.file = store, owner, file
        self.folder = files.join(store, FOLDER)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="gristmill-lock", daemon=True)
        self._thread.start()

    def check(self) -> None:
        """Raise StoreLocked where another run has taken the store because it took this process for dead."""
        until = time.monotonic() + WITHDRAWAL
        while True:
            mine = self.file.owner() == self.owner
            later = [file for file in _files(self.folder) if file.number > self.file.number]
            if mine and not later:
                return
            if not mine or time.monotonic() > until:
                break
            for file in later:  # a run that came too late withdraws, or was killed before it could
                if (other := file.owner()) is not None and _is_alive(file, other) is False:
                    file.release(other)
            time.sleep(WATCH / 10)
        raise StoreLocked(
            f"this run no longer holds the store: it was silent for so long that another took {self.folder}. Nothing "
            "more is written; run again when the other is over"
        )

    def release(self) -> None:
        """Release the store for other runs."""
        self._stop.set()
        self._thread.join()
        self.file.release(self.owner)
        if files.is_local(self.folder):
            with contextlib.suppress(OSError):
                os.rmdir(files.local_path(self.folder))

    def _beat(self) -> None:
        while not self._stop.wait(HEARTBEAT):
            with contextlib.suppress(OSError, GristmillError):  # a missed beat does no harm: STALE allows for several
                self.file.beat(self.owner)


#: The locks that this process holds, by store.
_HELD: dict[str, WriterLock] = {}


@contextlib.contextmanager
def writer_lock(store: str, say: Callable[[str], None] = lambda text: None) -> Iterator[WriterLock]:
    """Hold the store for writing. Raises StoreLocked while another run holds it.

    `say` is called with a message where it takes long to find out whether an owner on another machine is alive.
    """
    owner = Owner.this()
    lock = WriterLock(store, owner, _take(files.join(store, FOLDER), owner, say))
    _HELD[store] = lock
    try:
        yield lock
    finally:
        _HELD.pop(store, None)
        lock.release()


def owner_of(store: str) -> tuple[Owner, bool | None] | None:
    """Return the owner of a store's lock, and whether its process is alive (None: unknown here); None where it is free.

    Nothing is waited for, and nothing is changed.
    """
    for file in reversed(_files(files.join(store, FOLDER))):
        if (owner := file.owner()) is not None:
            return owner, _is_alive(file, owner)
    return None


def check_held(store: str) -> None:
    """Raise StoreLocked where this process took the store for writing and has lost it. To be called before a commit."""
    if (lock := _HELD.get(store)) is not None:
        lock.check()


def _take(folder: str, owner: Owner, say: Callable[[str], None]) -> LockFile:
    _refuse_old_lock(folder)
    for attempt in range(ATTEMPTS):
        dead = {file.number: _judge(file, say) for file in reversed(_files(folder))}
        mine = LockFile(folder, max(dead, default=0) + 1)
        if mine.create(owner):
            others = [file for file in _files(folder) if file.number != mine.number]
            if all(file.number in dead and file.owner() == dead[file.number] for file in others):
                for file in others:
                    files.remove_file(file.url)
                return mine
            mine.release(owner)
        time.sleep(random.uniform(0, min(1.0, 0.01 * 2**attempt)))
    raise StoreLocked(f"the store's lock {folder} could not be taken: others were quicker each time; try again")


def _judge(file: LockFile, say: Callable[[str], None]) -> Owner | None:
    """Return the dead owner of a file; None where it is gone or names none. Raises StoreLocked if it is alive."""
    owner = file.owner()
    alive = None if owner is None else _is_alive(file, owner)
    if alive is None and file.read():
        if owner is not None:
            say(
                f"  lock     process {owner.process} on {owner.host} has or had the store: "
                f"watching for up to {STALE:.0f} s whether it is alive"
            )
        alive = _changes(file, STALE if owner is not None else WATCH)
    if alive and file.read():
        who = f"process {owner.process} on {owner.host}" if owner is not None else "another run"
        raise StoreLocked(
            f"the store is in use: {who} writes to it. Wait for that run, or end it; "
            f"if it is surely gone, remove {file.url}"
        )
    return owner


def _is_alive(file: LockFile, owner: Owner) -> bool | None:
    """Return whether an owner's process is alive; None where only its signs of life can show it."""
    if owner.machine and owner.machine == _machine() and (held := file.is_held()) is not None:
        return held
    if owner.place and owner.place == Owner.this().place:
        return _started(int(owner.process)) == owner.started
    return None


def _changes(file: LockFile, seconds: float = WATCH) -> bool:
    """Return whether a file changes, or is removed, while it is watched."""
    before, until = file.read(), time.monotonic() + seconds
    while (timeout := until - time.monotonic()) > 0:
        time.sleep(min(WATCH, timeout))
        if file.read() != before:
            return True
    return False


def _files(folder: str) -> list[LockFile]:
    """Return the files of a lock, by number."""
    return [LockFile(folder, int(name)) for name in files.names(folder) if name.isdecimal()]


def _refuse_old_lock(folder: str) -> None:
    """Raise StoreLocked where a version of gristmill whose lock was one file has left it."""
    if files.is_local(folder) and os.path.isfile(files.local_path(folder)):
        raise StoreLocked(
            f"{folder} is the lock of an earlier version of gristmill. If no run of that version is left, remove it"
        )


def _encode(owner: Owner, beats: int) -> bytes:
    return json.dumps({**asdict(owner), "beats": beats}).encode() + b"\n"


def _machine() -> str:
    """Return the boot id, which differs between running systems and after a restart; empty where unknown."""
    with contextlib.suppress(OSError):
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return ""


def _read_link(path: str) -> str:
    with contextlib.suppress(OSError):
        return os.readlink(path)
    return ""


def _started(process: int) -> str | None:
    """Return the start time of a process (Linux, clock ticks since boot); None where there is no such process."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[19]
    except (OSError, IndexError):
        return None
