"""`gristmill refresh` and `gristmill datasets`: nights, and the versions that they leave."""

from __future__ import annotations

import sys
from datetime import datetime
from typing import TYPE_CHECKING, Annotated

import typer

from gristmill.operators.errors import RecipeError
from gristmill.pipelines.cli.common import (
    UNPUBLISHED,
    AsJson,
    Debug,
    EngineChoice,
    Engines,
    Overrides,
    Progress,
    ProgressChoice,
    Quiet,
    RecipePath,
    Store,
    Workers,
    err,
    errors,
    out,
    print_result,
    reporting,
    say,
)
from gristmill.pipelines.cli.labels import Yes, confirmation

if TYPE_CHECKING:
    from gristmill.pipelines.versions.publishing import Moved
    from gristmill.pipelines.versions.retention import Collection

datasets_app = typer.Typer(
    help="Look after datasets: what a version holds, which one readers take, what may go.", no_args_is_help=True
)
Dataset = Annotated[str, typer.Argument(metavar="DATASET", help="The dataset.", show_default=False)]
OneVersion = Annotated[str, typer.Argument(metavar="VERSION", help="A version, or its tag.", show_default=False)]
AnyVersion = Annotated[
    str | None,
    typer.Argument(
        metavar="VERSION", help="A version, or its tag; else the one that readers take.", show_default=False
    ),
]


def refresh(
    recipe: RecipePath,
    night: Annotated[
        datetime | None,
        typer.Option("--date", formats=["%Y-%m-%d"], help="The night, by default today (UTC).", show_default=False),
    ] = None,
    since: Annotated[
        datetime | None,
        typer.Option(
            "--since", formats=["%Y-%m-%d"], help="The first night whose files are read, where paths have dates."
        ),
    ] = None,
    set_: Overrides = None,
    engine: Engines = EngineChoice.auto,
    workers: Workers = None,
    yes: Yes = False,
    quiet: Quiet = False,
    progress: Progress = ProgressChoice.auto,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Do one night: take in what is new, write a version, give it to readers if the guards let it pass.

    Ends with 5 where a guard holds the version back.
    """
    with errors(debug), reporting(quiet, progress) as reporter:
        from gristmill import api
        from gristmill.pipelines.report.console.versions import show_night

        done = api.refresh(
            api.load_recipe(recipe, set_ or ()),
            None if night is None else night.date(),
            None if since is None else since.date(),
            engine=engine.value,
            workers=workers,
            reporter=reporter,
            confirm=confirmation(yes),
        )
        print_result(as_json, done.to_json(), lambda: show_night(done.to_json(), done.run, out))
    if not done.published:
        raise typer.Exit(UNPUBLISHED)


@datasets_app.command("list")
def datasets_list(store: Store = "./store", as_json: AsJson = False, debug: Debug = False) -> None:
    """List the datasets of a store, each with the version that readers take."""
    with errors(debug):
        from gristmill.pipelines.report.console.versions import show_versions
        from gristmill.pipelines.versions.facts import datasets

        found = [facts.to_json() for facts in datasets(store)]
        print_result(as_json, found, lambda: show_versions(found, out))


@datasets_app.command("show")
def datasets_show(
    dataset: Dataset,
    version: AnyVersion = None,
    store: Store = "./store",
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Show the versions of a dataset, or what one of them holds: counts, rules, sources, columns, the recipe."""
    with errors(debug):
        from gristmill.pipelines.report.console.versions import show_version, show_versions
        from gristmill.pipelines.store.run_records import RunRecords
        from gristmill.pipelines.versions import facts

        if version is None:
            versions = [found.to_json() for found in facts.versions_of(RunRecords(store), dataset)]
            print_result(as_json, versions, lambda: show_versions(versions, out))
        else:
            found = facts.show(store, dataset, version)
            print_result(as_json, found, lambda: show_version(found, out))


@datasets_app.command("diff")
def datasets_diff(
    dataset: Dataset,
    first: Annotated[str, typer.Argument(metavar="A", help="A version, or its tag.", show_default=False)],
    second: Annotated[
        str | None,
        typer.Argument(metavar="B", help="The other; by default the one that readers take.", show_default=False),
    ] = None,
    examples: Annotated[int, typer.Option(min=0, help="Documents to show that came, and that went.")] = 3,
    html: Annotated[
        str | None, typer.Option("--html", metavar="FILE", help="Write a page on it there, with histograms.")
    ] = None,
    store: Store = "./store",
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Compare two versions: which documents came and went and why, by source, and how the measures moved."""
    with errors(debug):
        from gristmill.pipelines.report.console.versions import show_comparison
        from gristmill.pipelines.versions.compare import EXCERPT, PAGE_EXCERPT, compare

        found = compare(store, dataset, first, second, examples, EXCERPT if html is None else PAGE_EXCERPT)
        told = {**found.to_json(), "html": html}
        if html is not None:
            from gristmill.pipelines.html.comparison_page import write_comparison

            write_comparison(found, html)
        print_result(as_json, told, lambda: show_comparison(told, out))


@datasets_app.command("publish")
def datasets_publish(
    dataset: Dataset, version: OneVersion, store: Store = "./store", as_json: AsJson = False, debug: Debug = False
) -> None:
    """Make a version the one that readers take, one that was held back too."""
    with errors(debug):
        from gristmill.pipelines.versions.publishing import publish

        _print_moved(publish(store, dataset, version, say), as_json)


@datasets_app.command("rollback")
def datasets_rollback(
    dataset: Dataset,
    to: Annotated[
        str | None, typer.Option("--to", metavar="VERSION", help="How far; by default to the version before.")
    ] = None,
    store: Store = "./store",
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Move readers back to an earlier version. No run publishes again what they leave; `publish` does."""
    with errors(debug):
        from gristmill.pipelines.versions.publishing import roll_back

        _print_moved(roll_back(store, dataset, to, say), as_json)


@datasets_app.command("tag")
def datasets_tag(
    dataset: Dataset,
    tag: Annotated[str, typer.Argument(metavar="TAG", help="Such as train-2026-11.", show_default=False)],
    version: AnyVersion = None,
    store: Store = "./store",
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Give a version a name, which keeps it: a tagged version is never collected."""
    with errors(debug):
        from gristmill.pipelines.versions import publishing

        named = publishing.tag(store, dataset, tag, version, say).name
        _print_tag(dataset, tag, named, f"{named} is {tag} of {dataset} now", as_json)


@datasets_app.command("untag")
def datasets_untag(
    dataset: Dataset,
    tag: Annotated[str, typer.Argument(metavar="TAG", help="The tag.", show_default=False)],
    store: Store = "./store",
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Take a tag from its version."""
    with errors(debug):
        from gristmill.pipelines.versions import publishing

        named = publishing.untag(store, dataset, tag, say).name
        _print_tag(dataset, tag, named, f"{named} of {dataset} is {tag} no more", as_json)


@datasets_app.command("gc")
def datasets_gc(
    dataset: Dataset,
    nightly: Annotated[int, typer.Option(min=0, help="Nights of which the newest version stays.")] = 7,
    weekly: Annotated[int, typer.Option(min=0, help="Weeks of which the newest version stays.")] = 0,
    monthly: Annotated[int, typer.Option(min=0, help="Months of which the newest version stays.")] = 0,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Remove without asking.")] = False,
    store: Store = "./store",
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Remove old versions, and the runs that made them: none that is tagged, held back, read, or built upon."""
    with errors(debug):
        from gristmill.pipelines.report.console.versions import show_collection
        from gristmill.pipelines.store.run_records import RunRecords
        from gristmill.pipelines.versions.retention import collect, retention

        def confirm(found: Collection) -> bool:
            if not found.going or yes:
                return True
            show_collection(found.to_json(), False, err)
            if not sys.stdin.isatty():
                raise RecipeError("nothing was removed, and there is no terminal to confirm it on: add --yes")
            if not typer.confirm("Remove?", err=True):
                raise typer.Exit(0)
            return True

        found = collect(RunRecords(store), dataset, retention(nightly, weekly, monthly), confirm, say)
        print_result(as_json, found.to_json(), lambda: show_collection(found.to_json(), True, out))


@datasets_app.command("verify")
def datasets_verify(
    dataset: Dataset,
    store: Store = "./store",
    quiet: Quiet = False,
    progress: Progress = ProgressChoice.auto,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Read every file of a dataset, of all its versions, as `gristmill verify DATASET` does."""
    from gristmill.pipelines.cli.main import verify

    verify(dataset, store, False, quiet, progress, as_json, debug)


@datasets_app.command("card")
def datasets_card(
    dataset: Dataset,
    version: AnyVersion = None,
    to: Annotated[
        str | None, typer.Option("--out", metavar="FILE", help="Write it there, as README.md for example.")
    ] = None,
    store: Store = "./store",
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Write a dataset card: ingredients and licences, what was taken out and by which limits, labels, known limits."""
    with errors(debug):
        from gristmill.pipelines.storage import files
        from gristmill.pipelines.versions.card import card

        text = card(store, dataset, version)
        if to is not None:
            files.write_bytes(to, text.encode())
        result = {"dataset": dataset, "card": text, "out": to}
        print_result(as_json, result, lambda: out.print(text if to is None else f"the card is in {to}", markup=False))


@datasets_app.command("export")
def datasets_export(
    dataset: Dataset,
    to: Annotated[
        str, typer.Argument(metavar="FOLDER", help="A folder or URL that holds nothing.", show_default=False)
    ],
    version: Annotated[str | None, typer.Option("--version", help="A version, or its tag.")] = None,
    format_: Annotated[str, typer.Option("--format", help="huggingface, delta or lance.")] = "huggingface",
    store: Store = "./store",
    quiet: Quiet = False,
    progress: Progress = ProgressChoice.auto,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Write a version where other programs look for it: a Hugging Face folder with its card, a Delta table, Lance."""
    with errors(debug), reporting(quiet, progress) as reporter:
        from gristmill.pipelines.config.wording import plural
        from gristmill.pipelines.versions.export import export

        done = export(store, dataset, to, format_, reporter, version)
        told = f"{plural(done['documents'], 'document')} of {done['version']} in {to} ({format_})"
        print_result(as_json, done, lambda: out.print(told, markup=False))


def _print_moved(moved: Moved, as_json: bool) -> None:
    from gristmill.pipelines.report.console.versions import show_moved

    print_result(as_json, moved.to_json(), lambda: show_moved(moved.to_json(), out))


def _print_tag(dataset: str, tag: str, version: str, told: str, as_json: bool) -> None:
    result = {"dataset": dataset, "tag": tag, "version": version}
    print_result(as_json, result, lambda: out.print(told, markup=False))
