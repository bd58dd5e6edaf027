"""Reports in a store: made by a run when it ends, and by `gristmill report` with all that takes reading texts again."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from gristmill.operators.errors import RecipeError
from gristmill.pipelines.config.wording import did_you_mean
from gristmill.pipelines.engine.base import Engine
from gristmill.pipelines.html.leaving import left
from gristmill.pipelines.html.run_report import RunPage, report_url, run_page
from gristmill.pipelines.progress.reporter import Reporter
from gristmill.pipelines.stages.context import Context, RunResult
from gristmill.pipelines.storage import files
from gristmill.pipelines.store.datasets import FOLDER
from gristmill.pipelines.store.lock import writer_lock
from gristmill.pipelines.store.run_records import RunRecords
from gristmill.pipelines.store.runs import RECORD, Run, is_numbered, read_run
from gristmill.pipelines.store.shown import shown_version

if TYPE_CHECKING:
    from gristmill.pipelines.versions.refresh import NightResult


#: What the pages of runs are made of, by run: kept while one call goes on, to be shown again with what came after it.
Kept = dict[str, RunPage]


def leave_report(context: Context, kept: Kept | None = None) -> RunResult:
    """Write the report of the run that has just finished and holds the lock; return its result, with the page in it.

    Runs that completed the labels of earlier ones get pages as well. What the pages are made of goes into `kept`. No
    run fails for its report: where it cannot be made, the reporter says why.
    """
    result = context.result
    assert result is not None
    own = None if result.cached else read_run(context.store, result.run)
    url = None
    for run in [*context.completing, *([] if own is None else [own])]:
        context.records.add(run)  # who asks for it next need not read it

        def make(run: Run = run) -> bytes:
            page = run_page(run, context.engine)
            if kept is not None:
                kept[run.name] = page
            return page.shown()

        url = left(report_url(run), make, context.reporter, f"gristmill report {run.name}")
    return replace(result, report=url)


def leave_night(done: NightResult, kept: Kept, store: str, reporter: Reporter) -> None:
    """Write the report of a night's run again, with what the night came to: versions, guards, sources."""
    page = kept.get(done.run.run)
    if page is not None and done.changed:
        with writer_lock(store, reporter.say):
            if files.exists(files.join(page.run.url, RECORD)):
                left(report_url(page.run), page.shown, reporter, f"gristmill report {page.run.name}")


def make_report(
    store: str, wanted: str | None, examples: int, engine: Engine, reporter: Reporter, out: str | None = None
) -> str:
    """Make the report of a run, with examples and the versions before it; return its URL.

    `wanted` is the name or number of a run, or the name of a dataset, of the version that readers take; by default it
    is the newest run. With `out` it is written there, and nothing into the store. Raises RecipeError where there is no
    such run, StoreLocked where another run holds the store.
    """
    from gristmill.pipelines.html.extras import gathered  # which loads much that a run does without

    records = RunRecords(store)
    run = find_run(records, wanted)
    content = run_page(run, engine).shown(gathered(records, run, examples))
    if out is not None:
        files.write_bytes(out, content)
        return out
    with writer_lock(store, reporter.say):
        if not files.exists(files.join(run.url, RECORD)):
            raise RecipeError(f"the run {run.name} has been removed meanwhile")
        files.write_bytes(report_url(run), content)
    return report_url(run)


def find_run(records: RunRecords, wanted: str | None) -> Run:
    """Return a finished run by its name or number, or the one that made the version that readers of a dataset take.

    By default it is the newest. Raises RecipeError where there is none.
    """
    if wanted is None:
        return records.newest()
    for name in records.names:
        number = int(name.split("-")[0]) if is_numbered(name) else None
        if wanted == name or (wanted.isdecimal() and number == int(wanted)):
            if (run := records.run(name)) is None:
                raise RecipeError(f"the run {name} was never finished: there is nothing to report")
            return run
    datasets = files.names(files.join(records.store, FOLDER))
    if wanted not in datasets:
        known = [*datasets, *records.names]
        raise RecipeError(f"{records.store} has no run and no dataset {wanted}{did_you_mean(wanted, known)}")
    return shown_version(records, wanted).standing[0].run
