"""`gristmill report`: the page on a run, a labelling task or a model."""

from __future__ import annotations

from typing import Annotated

import typer

from gristmill.pipelines.cli.common import (
    AsJson,
    Debug,
    Progress,
    ProgressChoice,
    Quiet,
    Store,
    Workers,
    errors,
    out,
    print_result,
    reporting,
)


def report(
    about: Annotated[
        str | None,
        typer.Argument(
            metavar="[RUN|DATASET|RECIPE|TASK|MODEL]",
            help="A run by name or number, a dataset, or the file of a recipe, a task or a model; else the newest run.",
            show_default=False,
        ),
    ] = None,
    store: Store = "./store",
    examples: Annotated[
        int, typer.Option(min=0, help="Documents of each kind that are shown for each rule or answer.")
    ] = 3,
    to: Annotated[
        str | None, typer.Option("--out", metavar="FILE", help="Write it there; else beside what it is about.")
    ] = None,
    open_: Annotated[bool, typer.Option("--open", help="Show it in the browser.")] = False,
    workers: Workers = None,
    quiet: Quiet = False,
    progress: Progress = ProgressChoice.auto,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Make the report of a run, a task or a model, one HTML page: losses, histograms, examples, agreement, versions."""
    with errors(debug), reporting(quiet, progress) as reporter:
        from gristmill import api
        from gristmill.pipelines.html.browser import show

        url = api.report(about, store, examples=examples, out=to, workers=workers, reporter=reporter)
        print_result(as_json, {"report": url}, lambda: out.print(f"the report is in {url}", markup=False))
        if open_:
            show(url)
