"""`gristmill thresholds`: limits for each language from what a run measured."""

from __future__ import annotations

from typing import Annotated

import typer

from gristmill.pipelines.cli.common import AsJson, Debug, Overrides, RecipePath, errors, out, print_result


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
        from gristmill.pipelines.report.console.thresholds import show_thresholds
        from gristmill.pipelines.storage import files

        result = api.thresholds(api.load_recipe(recipe, set_ or ()), column, quantile, by=by, least=least)
        if to is not None:
            files.write_bytes(to, result.to_yaml().encode())
        print_result(as_json, result.to_json(), lambda: show_thresholds(result, out))
