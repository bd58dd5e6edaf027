"""The command line. Results go to standard output, all else to standard error.

Exit codes: 0 done; 1 the run failed (what was finished is kept); 2 the recipe or the command line is wrong, nothing was
started; 3 files could not be read, nothing was committed; 4 another run holds the store; 5 a guard holds the version
back; 128 and the signal's number.
"""

from __future__ import annotations

import gc
import io
import os
import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from gristmill.pipelines.cli.common import (
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
    Unsafe,
    Versions,
    Workers,
    asked_versions,
    check_address_space,
    errors,
    out,
    print_result,
    print_table,
    reporting,
    teller,
)
from gristmill.pipelines.cli.datasets import datasets_app, refresh
from gristmill.pipelines.cli.index import index_app
from gristmill.pipelines.cli.labels import Yes, confirmation, label, labels_app
from gristmill.pipelines.cli.mix import mix
from gristmill.pipelines.cli.report import report
from gristmill.pipelines.cli.start import doctor, init
from gristmill.pipelines.cli.submit import submit
from gristmill.pipelines.cli.train import distil, loop, train_app
from gristmill.pipelines.cli.ui import ui
from gristmill.pipelines.cli.what_if import sweep, what_if
from gristmill.pipelines.engine.signals import end_in_order
from gristmill.pipelines.progress.spans import command_span

app = typer.Typer(
    name="gristmill",
    epilog="Exit codes: 0 done, 1 failed, 2 wrong recipe or arguments, 3 unreadable files, 4 store in use, "
    "5 held back by a guard, 129 to 143 ended by a signal.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)
app.command()(init)
app.command()(doctor)
app.command()(refresh)
app.command()(submit)
app.add_typer(train_app, name="train")
app.add_typer(index_app, name="index")
app.add_typer(datasets_app, name="datasets")
app.command()(label)
app.add_typer(labels_app, name="labels")
app.command()(distil)
app.command()(loop)
app.command()(what_if)
app.command()(sweep)
app.command()(mix)
app.command()(report)
app.command()(ui)


def _print_version(asked: bool) -> None:
    if asked:
        import gristmill

        print(f"gristmill {gristmill.__version__}")
        raise typer.Exit


@app.callback()
def gristmill(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    """Curate text corpora into training data: measure every document once, decide globally, write Parquet."""


@app.command()
def run(
    recipe: RecipePath,
    set_: Overrides = None,
    engine: Engines = EngineChoice.auto,
    workers: Workers = None,
    refit: Annotated[
        bool, typer.Option("--refit", help="Fit measures such as importance again, on the corpus as it is now.")
    ] = False,
    examples: Annotated[int, typer.Option(min=0, help="Show some documents that were dropped, with the reason.")] = 0,
    yes: Yes = False,
    quiet: Quiet = False,
    progress: Progress = ProgressChoice.auto,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Run a recipe: measure what is new, decide, write a dataset version."""
    with errors(debug), reporting(quiet, progress) as reporter:
        from gristmill import api
        from gristmill.pipelines.report.console.run import show_result
        from gristmill.pipelines.report.examples import examples as dropped_by

        loaded = api.load_recipe(recipe, set_ or ())
        result = api.run(
            loaded,
            engine=engine.value,
            workers=workers,
            refit=refit,
            reporter=reporter,
            confirm=confirmation(yes),
        )
        shown = dropped_by(loaded.store, result.recipe, result.run, examples) if examples else []
        print_result(as_json, {**result.to_json(), "examples": shown}, lambda: show_result(result, shown, out))


@app.command()
def plan(recipe: RecipePath, set_: Overrides = None, as_json: AsJson = False, debug: Debug = False) -> None:
    """Show what a run would do: shards, what is cached, the columns after each stage. Nothing is executed."""
    with errors(debug):
        from gristmill import api
        from gristmill.pipelines.report.console.plan import show_plan

        made = api.plan(api.load_recipe(recipe, set_ or ()))
        print_result(as_json, made, lambda: show_plan(made, out))


@app.command()
def explain(
    id: Annotated[
        str, typer.Argument(metavar="ID", help="A document's id, content id or address.", show_default=False)
    ],
    score: Annotated[
        str | None, typer.Option("--score", metavar="COLUMN", help="Why a student gave it what this column says.")
    ] = None,
    student: Annotated[
        str | None, typer.Option("--student", metavar="MODEL", help="Why any other student gives it its score.")
    ] = None,
    label: Annotated[str | None, typer.Option("--label", help="Of which label; by default the most probable.")] = None,
    version: Versions = None,
    store: Store = "./store",
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Show a document's measures and its fate: the rule, the value against the limit, the copy that was kept."""
    with errors(debug):
        from gristmill import api
        from gristmill.pipelines.report.console.documents import show_documents

        asked, tell = asked_versions(version), teller(as_json)
        documents = api.explain(store, id, score=score, student=student, label=label, versions=asked, tell=tell)
        print_result(as_json, documents, lambda: show_documents(documents, out))


@app.command()
def clusters(
    dataset: Annotated[
        str | None,
        typer.Argument(metavar="DATASET", help="A dataset; by default that of the newest run.", show_default=False),
    ] = None,
    version: Annotated[
        str | None,
        typer.Option("--version", help="A version, by its name, number or tag; by default the one that readers take."),
    ] = None,
    store: Store = "./store",
    largest: Annotated[
        int | None, typer.Option(min=0, help="How many of the largest clusters; 5 where nothing else is asked for.")
    ] = None,
    sample: Annotated[int, typer.Option(min=0, help="How many clusters of any size, chosen by a hash.")] = 0,
    id: Annotated[str | None, typer.Option("--id", help="The clusters of the document with this id.")] = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Show clusters that fuzzy_dedup found: what went, and how its words differ from what was kept in its place."""
    with errors(debug):
        from gristmill.pipelines.report import clusters as cluster_report
        from gristmill.pipelines.report.console.documents import show_clusters

        most = largest if largest is not None else 0 if sample else 5
        result = cluster_report.clusters(store, dataset, most, sample, id, version, teller(as_json))
        print_result(as_json, result, lambda: show_clusters(result, out))


@app.command()
def query(
    sql: Annotated[
        str,
        typer.Argument(
            metavar="SQL",
            help="DuckDB SQL over documents, decisions, clusters, losses, quarantine, datasets.",
            show_default=False,
        ),
    ],
    version: Versions = None,
    store: Store = "./store",
    unsafe: Unsafe = False,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Ask the store: SQL over its documents (every measure), decisions, quarantine and datasets."""
    with errors(debug):
        from gristmill import api

        asked, tell = asked_versions(version), teller(as_json)
        print_table(as_json, api.query(store, sql, unsafe, versions=asked, tell=tell))


@app.command()
def verify(
    dataset: Annotated[
        str | None, typer.Argument(metavar="DATASET", help="One dataset; by default the store.", show_default=False)
    ] = None,
    store: Store = "./store",
    repair: Annotated[
        bool, typer.Option("--repair", help="Remove leftovers and what a run makes again; write again what can be.")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Only the result.")] = False,
    progress: Progress = ProgressChoice.auto,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Read every file of a store and say what is damaged, gone, left over or foreign. Ends with 1 if any is wrong."""
    with errors(debug), reporting(quiet, progress) as reporter:
        from gristmill.pipelines.report import verify as verification
        from gristmill.pipelines.report.console.store import show_findings

        result = verification.verify(store, dataset, repair, reporter)
        print_result(as_json, result.to_json(), lambda: show_findings(result, out))
    if result.wrong:
        raise typer.Exit(1)


@app.command()
def operators(
    name: Annotated[str | None, typer.Argument(help="One operator, in full.", show_default=False)] = None,
    schema: Annotated[bool, typer.Option("--schema", help="Print the JSON schema of recipes, for editors.")] = False,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """List the operators that recipes can use, those of installed packages among them, or describe one."""
    with errors(debug):
        from gristmill.pipelines.planning.schema import as_text, recipe_schema
        from gristmill.pipelines.report import catalogue
        from gristmill.pipelines.report.console.plan import show_operator, show_operators

        if schema:
            print(as_text(recipe_schema()), end="")
        elif name is None:
            entries = catalogue.catalogue()
            print_result(as_json, entries, lambda: show_operators(entries, out))
        else:
            entry = catalogue.describe(name)
            print_result(as_json, entry, lambda: show_operator(entry, out))


@app.command()
def thresholds(
    recipe: RecipePath,
    column: Annotated[list[str], typer.Option("--column", help="A measured column of numbers; may be repeated.")],
    quantile: Annotated[
        list[float], typer.Option("--quantile", min=0, max=1, help="A share of the documents; may be repeated.")
    ],
    by: Annotated[str, typer.Option("--by", help="The column whose values have thresholds of their own.")] = "lang",
    least: Annotated[int, typer.Option(min=1, help="Leave out groups with fewer documents.")] = 1000,
    to: Annotated[
        str | None, typer.Option("--out", metavar="FILE", help="Write a file for the rule thresholds.")
    ] = None,
    set_: Overrides = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Derive thresholds for each language: quantiles of what a run of the recipe measured. Nothing is measured."""
    with errors(debug):
        from gristmill import api
        from gristmill.pipelines.report.console.tables import show_thresholds
        from gristmill.pipelines.storage import files

        result = api.thresholds(api.load_recipe(recipe, set_ or ()), column, quantile, by=by, least=least)
        if to is not None:
            files.write_bytes(to, result.to_yaml().encode())
        print_result(as_json, result.to_json(), lambda: show_thresholds(result, out))


def _command(arguments: Sequence[str]) -> str:
    """Return the name of the command that is asked for: `run`, `datasets list`."""
    words = [word for word in arguments if not word.startswith("-")]
    groups = {group.name for group in app.registered_groups}
    return " ".join(words[: 2 if words and words[0] in groups else 1])


def _take_all_names() -> None:
    """Start again with names in UTF-8 if the locale knows ASCII only (a bare container, cron)."""
    if sys.getfilesystemencoding() == "ascii" and not sys.flags.utf8_mode and sys.executable:
        arguments = [sys.executable, "-X", "utf8", *sys.orig_argv[1:]]
        os.execve(sys.executable, arguments, {**os.environ, "PYTHONUTF8": "1"})


def main() -> None:
    """Run the command line: the entry point `gristmill`."""
    _take_all_names()
    end_in_order()
    check_address_space()
    for stream in (sys.stdout, sys.stderr):  # the locale may be unable to write names of files
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    # Parsing makes millions of objects and no cycles: at Python's own threshold a third of the time goes to collection.
    gc.set_threshold(200_000, 20, 20)
    try:
        with command_span(_command(sys.argv[1:])):
            app()
    except SystemExit as ended:
        if isinstance(ended.code, int) and ended.code > 128:  # threads that are still at work must not delay the end
            sys.stdout.flush()
            os._exit(ended.code)
        raise


if __name__ == "__main__":
    main()
