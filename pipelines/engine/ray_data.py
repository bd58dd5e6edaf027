"""The Ray engine: Ray Data over descriptors, one task per item.

Besides this module only `jobs/server.py`, `label/ray/backend.py` and `readers/open_dataset.py` import ray.

Items and results travel pickled in a binary column: a descriptor is small, and Ray Data's own reading and writing of
files, which loses shard lineage and writes at final names, is not used.

Errors of the function become outcomes inside the task. A task that dies as a whole (its worker was killed) is run again
by Ray up to RETRIES times and then left out by Ray Data; the engine notices, runs such an item once more by itself, and
only then gives it up, naming it in the error.
"""

from __future__ import annotations

import contextlib
import logging
import os
import pickle
import socket
import textwrap
import warnings
from collections.abc import Callable, Generator, Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from gristmill.operators.errors import FatalError
from gristmill.pipelines.engine.base import RETRIES, Outcome, Result
from gristmill.pipelines.engine.local import attempt
from gristmill.pipelines.engine.signals import still_end_in_order
from gristmill.pipelines.progress.meters import METERS, Progressed

#: The variable that announces a cluster: inside `ray job submit` Ray sets it itself.
ADDRESS = "RAY_ADDRESS"
#: The folder that holds the packages: workers of a private cluster import the same code as the driver.
ROOT = str(Path(__file__).parents[2])
CONNECT_SECONDS = 10
#: Read by Ray when it is imported; values that the user has set are kept.
SETTINGS = {
    "RAY_DATA_LOG_LEVEL": "CRITICAL",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_task_oom_retries": str(RETRIES),  # without limit by default: a document that eats all memory would loop
}
#: Figures on Ray's metrics endpoints, by what follows `ray_gristmill_` (counters end in `_total` there).
COUNTED = {
    "steps": "Steps that have ended: shards that were measured, rules, files that were written.",
    "documents": "Documents that were read and measured.",
    "text_bytes": "Text that was processed, bytes of UTF-8.",
    "quarantined": "Records that are no documents.",
}
STATES = {
    "steps_planned": "Steps of a stage in all.",
    "stage": "1 while a stage is at work, 0 once it is over.",
}


class RayEngine:
    """One Ray task per item. Joins the announced cluster, or starts a private one on this machine and ends it."""

    name = "ray"

    def __init__(self, workers: int | None = None) -> None:
        for name, value in SETTINGS.items():
            os.environ.setdefault(name, value)
        import ray

        self._ray = ray
        self._started = not ray.is_initialized()
        self._meter: Callable[[Progressed], None] | None = None
        if self._started:
            _join(ray) if os.environ.get(ADDRESS) else _start(ray, workers)
        still_end_in_order()
        if os.environ.get(ADDRESS):
            self._meter = cluster_meter()
            METERS.append(self._meter)
        cpus = int(ray.cluster_resources().get("CPU", 0))  # type: ignore[no-untyped-call]
        if cpus < 1 and workers is None:
            self.close()
            raise FatalError(
                "the Ray cluster has no CPU to run tasks on; add a worker node, say with --workers how many CPUs an "
                "autoscaler may start, or use --engine local"
            )
        self.workers = workers or cpus  # more than there are yet, where the cluster grows with the work

    def map(self, function: Callable[[Any], Result], items: Sequence[Any]) -> Generator[Outcome[Result]]:
        """Yield the outcome of each item as its task ends, lost tasks last; see `Engine.map`."""
        if not items:
            return
        rows = [{"index": i, "item": pickle.dumps(item)} for i, item in enumerate(items)]
        missing = dict(enumerate(rows))
        for outcome in self._stream(_task(function), rows):
            del missing[outcome.index]
            yield outcome
        for index, row in missing.items():
            yield self._alone(_task(function), row, f"{_name(function)}({_shown(items[index])})")

    def close(self) -> None:
        """End the private cluster or leave the joined one, unless Ray was initialised by the caller."""
        if self._meter is not None:
            METERS.remove(self._meter)
            self._meter = None
        if self._started:
            self._ray.shutdown()

    def _stream(self, task: Callable[[pa.Table], pa.Table], rows: Sequence[dict[str, Any]]) -> Iterator[Outcome[Any]]:
        """Yield outcomes as tasks end; none for a task that Ray could not complete."""
        from ray.data import TaskPoolStrategy, from_items

        configure(self._ray)
        descriptors = from_items(list(rows), override_num_blocks=len(rows))
        with limiting_retries():
            tasks = descriptors.map_batches(
                task,
                batch_size=None,
                batch_format="pyarrow",
                compute=TaskPoolStrategy(size=min(self.workers, len(rows))),
                num_cpus=1,
                max_retries=RETRIES,
            )
        for batch in tasks.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0):
            yield from _outcomes(batch)

    def _alone(self, task: Callable[[pa.Table], pa.Table], row: dict[str, Any], what: str) -> Outcome[Any]:
        """Run a task that Ray gave up, with no other task next to it; an error that still ends it is the outcome's."""
        remote = self._ray.remote(num_cpus=1, max_retries=0)(task)
        try:
            (outcome,) = _outcomes(self._ray.get(remote.remote(pa.Table.from_pylist([row]))))
        except self._ray.exceptions.RayError as error:
            return Outcome(row["index"], error=_given_up(what, error, self._ray.exceptions))
        return outcome


@contextlib.contextmanager
def limiting_retries() -> Iterator[None]:
    """Suppress Ray's warning about `max_retries`, the only way in Ray 2.60 to limit the retries of Ray Data."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "`ray_remote_args")
        yield


def cluster_meter() -> Callable[[Progressed], None]:
    """Return a meter whose figures every node's Prometheus endpoint has, beside Ray's own: `ray_gristmill_...`."""
    from ray.util.metrics import Counter, Gauge

    steps, documents, text_bytes, quarantined = (Counter(f"gristmill_{n}", d, ("stage",)) for n, d in COUNTED.items())
    planned, at_work = (Gauge(f"gristmill_{n}", d, ("stage",)) for n, d in STATES.items())

    def meter(progressed: Progressed) -> None:
        of_stage = {"stage": progressed.stage}
        planned.set(progressed.total, of_stage)
        at_work.set(not progressed.ended, of_stage)
        counts = (progressed.steps, progressed.documents, progressed.text_bytes, progressed.quarantined)
        for counter, n in zip((steps, documents, text_bytes, quarantined), counts, strict=True):
            if n:
                counter.inc(n, of_stage)

    return meter


def configure(ray: Any) -> None:
    """Set Ray Data to be quiet and to leave errors to the caller of `map`; to be called before anything is executed."""
    context = ray.data.DataContext.get_current()
    context.max_errored_blocks = -1  # a dead task must not end the others; the caller knows which are missing
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    for name in ("ray.data", "ray.llm"):
        logging.getLogger(name).setLevel(logging.CRITICAL)


def _start(ray: Any, workers: int | None) -> None:
    """Start a private cluster on this machine, which ends with this process."""
    path = os.pathsep.join(filter(None, [ROOT, os.environ.get("PYTHONPATH")]))
    ray.init(
        address="local",
        num_cpus=workers,
        include_dashboard=False,
        logging_level=logging.ERROR,
        log_to_driver=False,
        runtime_env={"env_vars": {"PYTHONPATH": path}},
    )


def _join(ray: Any) -> None:
    """Join the cluster that RAY_ADDRESS announces. Raises FatalError where none answers or the token is refused.

    `ray start` asks for a token wherever its user has one, and a cluster that misses it does not say so to the joining
    process; whether to show one cannot be tried, as a cluster that asks for none then hangs.
    """
    address = os.environ[ADDRESS]
    try:
        _knock(address)
        ray.init(address=address, logging_level=logging.ERROR, log_to_driver=False)
    except ray.exceptions.AuthenticationError as error:
        raise FatalError(
            f"the Ray cluster at {ADDRESS}={address} refuses this user's token: {last_line(error)}. Put the cluster's "
            "token into ~/.ray/auth_token or RAY_AUTH_TOKEN and set RAY_AUTH_MODE=token"
        ) from None
    except (OSError, RuntimeError, ValueError) as error:
        raise FatalError(
            f"no Ray cluster answers at {ADDRESS}={address}: {last_line(error)}. Start one (ray start --head); if "
            "there is one, it may want a token: set RAY_AUTH_MODE=token; or unset the variable, or use --engine local"
        ) from None


def _knock(address: str) -> None:
    """Raise OSError where nothing listens: Ray itself would try for minutes."""
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if colon and port.isdecimal():
        socket.create_connection((host.strip("[]"), int(port)), timeout=CONNECT_SECONDS).close()


def _task(function: Callable[[Any], Any]) -> Callable[[pa.Table], pa.Table]:
    """Return a Ray Data function with the name of the function that it runs: Ray's dashboard shows it."""

    def task(batch: pa.Table) -> pa.Table:
        return _run(function, batch)

    task.__name__ = _name(function)
    return task


def _run(function: Callable[[Any], Any], batch: pa.Table) -> pa.Table:
    """Run the function on each item of a batch of descriptors; errors become outcomes."""
    outcomes = [
        attempt(lambda item: function(pickle.loads(item)), index, item)
        for index, item in zip(batch["index"].to_pylist(), batch["item"].to_pylist(), strict=True)
    ]
    outcomes_pickled = pa.array(map(pickled, outcomes), pa.large_binary())
    return pa.table({"index": [outcome.index for outcome in outcomes], "outcome": outcomes_pickled})


def pickled(outcome: Outcome[Any]) -> bytes:
    """Return a pickled outcome; an error that cannot be pickled is replaced by a FatalError with its text."""
    try:
        content = pickle.dumps((outcome.value, outcome.error))
        if outcome.error is not None:
            pickle.loads(content)
        return content
    except Exception as trouble:
        error = outcome.error or trouble
        return pickle.dumps((None, FatalError(f"{type(error).__name__}: {error}")))


def _outcomes(batch: pa.Table) -> Iterator[Outcome[Any]]:
    for index, content in zip(batch["index"].to_pylist(), batch["outcome"].to_pylist(), strict=True):
        value, error = pickle.loads(content)
        yield Outcome(index, value=value, error=error)


def _given_up(what: str, error: Exception, exceptions: Any) -> FatalError:
    if isinstance(error, exceptions.RayTaskError):
        return FatalError(
            f"{what} could not start on the cluster: {last_line(error)}. Every node needs gristmill as it is here: "
            "install it there, or send it along with `gristmill submit --wheel`"
        )
    return FatalError(
        f"{what} ended its worker process {RETRIES + 2} times, the last time with nothing else running "
        f"({type(error).__name__}). Memory is the usual cause: use nodes with more, or cut the input into smaller "
        "shards. What is finished is kept; run the same command to go on"
    )


def _name(function: Any) -> str:
    return str(getattr(getattr(function, "func", function), "__name__", type(function).__name__))


def _shown(item: Any) -> str:
    return textwrap.shorten(str(item), 200, placeholder=" ...")


def last_line(error: Exception) -> str:
    """Return the last line of an error's message, or the name of its type if it has none."""
    return (str(error).strip().splitlines() or [type(error).__name__])[-1]
