"""One writer at a time: a lock file in the store, with an owner and a heartbeat."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from operators.errors import GristmillError, StoreLocked
from pipelines.state import files

HEARTBEAT = 15.0  # seconds between two signs of life
STALE = 120.0  # seconds without one after which the owner counts as dead
MOMENT = 0.2  # seconds that writing a lock takes at most


@contextlib.contextmanager
def writer_lock(store: str) -> Iterator[None]:
    """Hold the store for writing; raises StoreLocked while another run holds it.

    A lock whose process is gone (same machine) or silent for two minutes (another machine) is taken over.
    """
    url = files.join(store, "LOCK")
    owner = {
        "owner": uuid.uuid4().hex,
        "host": socket.gethostname(),
        "process": os.getpid(),
        "started": _started(os.getpid()),
    }
    _acquire(url, owner)
    stop = threading.Event()
    beat = threading.Thread(target=_beat, args=(url, owner, stop), name="gristmill-lock", daemon=True)
    beat.start()
    try:
        yield
    finally:
        stop.set()
        beat.join()
        if _read(url).get("owner") == owner["owner"]:
            files.remove(url)


def _acquire(url: str, owner: dict[str, Any]) -> None:
    for _ in range(3):
        if files.create(url, _encode(owner)):
            return
        held = _read(url) or _read_later(url)
        if held and not _dead(held):
            raise StoreLocked(
                f"the store is in use: process {held.get('process')} on {held.get('host')} writes to it "
                f"(last sign of life {time.time() - held.get('beat', 0):.0f} s ago). Wait for that run, or end it; "
                f"if it is surely gone, remove {url}"
            )
        files.remove(url)
    raise StoreLocked(f"the store's lock {url} could not be taken: another run was quicker each time; try again")


def _beat(url: str, owner: dict[str, Any], stop: threading.Event) -> None:
    while not stop.wait(HEARTBEAT):
        with contextlib.suppress(OSError, GristmillError):  # a missed beat is no harm: STALE allows for several
            files.write_bytes(url, _encode(owner))


def _encode(owner: dict[str, Any]) -> bytes:
    return json.dumps({**owner, "beat": time.time()}).encode()


def _read(url: str) -> dict[str, Any]:
    try:
        held = files.read_json(url)
    except (FileNotFoundError, ValueError):
        return {}
    return held if isinstance(held, dict) else {}


def _read_later(url: str) -> dict[str, Any]:
    """A lock that is empty may be one that is just being written."""
    time.sleep(MOMENT)
    return _read(url)


def _dead(held: dict[str, Any]) -> bool:
    if held.get("host") == socket.gethostname():
        return _started(int(held["process"])) != held.get("started")
    return time.time() - float(held.get("beat", 0)) > STALE


def _started(process: int) -> str | None:
    """What tells a process from a later one of the same number: its start time (Linux), else that it is there."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[19]
    except FileNotFoundError:
        if Path("/proc/self").exists():
            return None
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return None
    except PermissionError:
        pass
    return "running"
