"""Commands that answer from stored measures what a changed recipe would keep."""

from __future__ import annotations

from typing import Annotated

import typer

from gristmill.operators.errors import RecipeError
from gristmill.pipelines.cli.common import (
    AsJson,
    Debug,
    Overrides,
    Progress,
    ProgressChoice,
    Quiet,
    RecipePath,
    Workers,
    errors,
    out,
    print_result,
    reporting,
)

Changes = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="KEY=VALUE", help='A change, such as decide.low_quality.when="quality < 0.4"; may be repeated.'
    ),
]


def what_if(
    recipe: RecipePath,
    set_: Changes = None,
    examples: Annotated[
        int, typer.Option(min=0, help="How many documents that would come are shown, and how many that would go.")
    ] = 3,
    workers: Workers = None,
    quiet: Quiet = False,
    progress: Progress = ProgressChoice.auto,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Show what a changed recipe would keep, and what would come and go, from stored measures. Nothing is measured."""
    with errors(debug), reporting(quiet, progress) as reporter:
        from gristmill import api
        from gristmill.pipelines.report.console.what_if import show_what_if

        result = api.what_if(recipe, set_ or (), examples=examples, workers=workers, reporter=reporter)
        print_result(as_json, result.to_json(), lambda: show_what_if(result, out))


def sweep(
    recipe: RecipePath,
    column: Annotated[
        str,
        typer.Argument(metavar="COLUMN", help="Whose limit moves; with a sign where it has two.", show_default=False),
    ],
    limits: Annotated[str, typer.Argument(metavar="LOW..HIGH", help="From where to where.", show_default=False)],
    steps: Annotated[int, typer.Option(min=2, help="How many limits, evenly spread.")] = 17,
    rule: Annotated[
        str | None,
        typer.Option("--rule", help='The rule whose limit it is, or a condition to add: "quality < {}".'),
    ] = None,
    to: Annotated[
        str | None, typer.Option("--out", metavar="FILE", help="Write the curve: .png, .svg, .csv or .json.")
    ] = None,
    set_: Overrides = None,
    workers: Workers = None,
    quiet: Quiet = False,
    progress: Progress = ProgressChoice.auto,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Draw how many documents and tokens are kept as the limit on a column moves. Nothing is measured."""
    with errors(debug), reporting(quiet, progress) as reporter:
        from gristmill import api
        from gristmill.pipelines.report.console.sweep import show_sweep
        from gristmill.pipelines.report.curve_file import writer_for
        from gristmill.pipelines.storage import files

        low, high = _ends(limits)
        write = None if to is None else writer_for(to)
        loaded = api.load_recipe(recipe, set_ or ())
        result = api.sweep(loaded, column, low, high, steps=steps, rule=rule, workers=workers, reporter=reporter)
        if to is not None and write is not None:
            files.write_bytes(to, write(result))
        print_result(as_json, result.to_json(), lambda: show_sweep(result, out))


def _ends(limits: str) -> tuple[float, float]:
    low, _, high = limits.partition("..")
    try:
        return float(low), float(high)
    except ValueError:
        raise RecipeError(f"{limits} is no range: write LOW..HIGH, such as 0.1..0.9") from None
