"""Checks of what a recipe names: its store, its files, its environment variables, the endpoints of its tasks."""

from __future__ import annotations

import os
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator, Sequence
from datetime import datetime
from functools import partial

from gristmill.operators.errors import GristmillError
from gristmill.pipelines.config.wording import plural
from gristmill.pipelines.label.annotators import HttpAnnotator
from gristmill.pipelines.label.task import LoadedTask
from gristmill.pipelines.planning.state import plan_run
from gristmill.pipelines.recipe.recipe import LoadedRecipe, load_recipe
from gristmill.pipelines.sources.storage import store_failures
from gristmill.pipelines.start.checks import Check, attempted, disk
from gristmill.pipelines.storage import exclusive, files
from gristmill.pipelines.store.lock import owner_of

#: Seconds by which a store's clock may differ: object stores refuse signatures that are a quarter of an hour old.
_SKEW, _REFUSED = 60.0, 900.0
_TIMEOUT = 10.0  # seconds for an endpoint to answer


def store(url: str) -> Iterator[Check]:
    """Yield the checks of a store: it is written to, once, a file that is removed again."""
    if files.is_local(url):
        yield disk("store", "disk", files.local_path(url))
    yield from attempted("store", "reachable", lambda: _reachable(url))
    yield from attempted("store", "lock", lambda: [_lock(url)])


def _reachable(url: str) -> Iterator[Check]:
    with store_failures(url):
        entries = files.names(url)
    yield Check("store", "reachable", "ok", f"{url}: {plural(len(entries), 'entry') if entries else 'new, or empty'}")
    probe = files.join(_nearest(url), f"doctor{files.UNFINISHED}{uuid.uuid4().hex}")
    try:
        began = time.time()
        first, second = exclusive.create(probe, b"first"), exclusive.create(probe, b"second")
        written = _written(probe)
        ended = time.time()
        if first and not second:
            yield Check("store", "exclusive creation", "ok", "of two writers only one creates a file")
        else:
            remedy = "two runs could write at once: see that only one does, or take a store with conditional puts"
            yield Check("store", "exclusive creation", "wrong", "two writers could create the same file", remedy)
        if written is not None:
            yield _clock(max(began - written, written - ended, 0.0))
    finally:
        files.remove_file(probe)


def _nearest(url: str) -> str:
    """Return the store or, of a local one that is not there yet, the nearest folder above it that is."""
    if files.is_local(url):
        url = os.path.abspath(files.local_path(url))
        while not os.path.isdir(url):
            url = os.path.dirname(url)
    return url


def _written(url: str) -> float | None:
    """Return the time of a file by the store's clock, in seconds since the epoch; None where it does not say."""
    fs, path = files.filesystem(url)
    details = fs.info(path)
    value = next(
        (details[key] for key in ("LastModified", "last_modified", "mtime", "created") if details.get(key)), None
    )
    return (
        value.timestamp() if isinstance(value, datetime) else float(value) if isinstance(value, int | float) else None
    )


def _clock(skew: float) -> Check:
    state = "wrong" if skew > _REFUSED else "warning" if skew > _SKEW else "ok"
    remedy = "" if state == "ok" else "set this machine's clock (NTP): object stores refuse requests of another time"
    found = f"{skew:.0f} s apart" if skew >= 1 else "the same here and there"
    return Check("store", "clock", state, found, remedy)  # type: ignore[arg-type]


def _lock(url: str) -> Check:
    held = owner_of(url)
    if held is None:
        return Check("store", "lock", "ok", "free")
    owner, alive = held
    who = f"process {owner.process} on {owner.host}"
    if alive:
        return Check("store", "lock", "warning", f"{who} writes to it", "wait for that run, or end it")
    if alive is None:
        return Check("store", "lock", "warning", f"{who} has or had it", "the next run watches whether it is alive")
    return Check("store", "lock", "ok", f"left by {who}, which is gone; the next run takes it over")


def recipe(path: str, overrides: Sequence[str], endpoints: bool) -> Iterator[Check]:
    """Yield the checks of a recipe, its sources and its store; with `endpoints` those of its tasks are called."""
    try:
        loaded = load_recipe(path, overrides)
    except GristmillError as error:
        for line in str(error).splitlines():
            yield Check("recipe", "file", "wrong", line)
        return
    yield Check("recipe", "file", "ok", f"{path} is understood")
    yield from attempted("recipe", "plan", lambda: _planned(loaded, endpoints))
    yield from store(loaded.store)


def _planned(loaded: LoadedRecipe, endpoints: bool) -> Iterator[Check]:
    state = plan_run(loaded, asks=endpoints)
    for found in state.plan.found:
        count = len({file.url for spec in found.specs for file in spec.files})
        size = sum(file.size for spec in found.specs for file in spec.files)
        yield Check("recipe", f"source {found.source.name}", "ok", f"{plural(count, 'file')}, {size / 1e6:,.1f} MB")
    for variable in sorted(loaded.document.variables):
        yield Check("recipe", f"variable {variable}", "ok", "set")
    for task in state.plan.tasks:
        yield from _task(task, endpoints)


def _task(task: LoadedTask, endpoints: bool) -> Iterator[Check]:
    for variable in task.document.unset:
        yield Check("recipe", f"task {task.name}", "warning", variable, "set it before the run")
    for annotator in task.task.annotators:
        if isinstance(annotator, HttpAnnotator):
            name = f"endpoint {annotator.name}"
            if not endpoints:
                yield Check(
                    "recipe", name, "note", annotator.base_url, "--endpoints asks whether it answers, at no cost"
                )
            else:
                yield from attempted("recipe", name, partial(_endpoint, annotator, name))


def _endpoint(annotator: HttpAnnotator, name: str) -> Iterator[Check]:
    """Ask an endpoint for its list of models, which costs nothing."""
    url = annotator.base_url
    headers = {"Authorization": f"Bearer {annotator.api_key}"} if annotator.api_key else {}
    asked = urllib.request.Request(f"{url.rstrip('/')}/models", headers=headers)
    try:
        with urllib.request.urlopen(asked, timeout=_TIMEOUT) as reply:
            yield Check("recipe", name, "ok", f"{url} answers ({reply.status})")
    except urllib.error.HTTPError as error:
        if error.code in (401, 403):
            yield Check("recipe", name, "wrong", f"{url} refuses the key ({error.code})", "set another api_key")
        else:
            yield Check("recipe", name, "note", f"{url} answers, without a list of models ({error.code})")
    except urllib.error.URLError as error:
        remedy = "start it, or correct base_url"
        yield Check("recipe", name, "wrong", f"{url} does not answer: {error.reason}", remedy)
