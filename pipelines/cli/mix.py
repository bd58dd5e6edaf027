"""The command that plans a mixture of packed datasets."""

from __future__ import annotations

from typing import Annotated

import typer

from gristmill.pipelines.cli.common import AsJson, Debug, errors, out, print_result, say


def mix(
    mixture: Annotated[str, typer.Argument(metavar="MIX", help="The mixture, a YAML file.", show_default=False)],
    to: Annotated[
        str | None, typer.Option("--out", metavar="FILE", help="The plan; by default mix.json beside mix.yaml.")
    ] = None,
    release: Annotated[
        bool, typer.Option("--release", help="Plan nothing: let gc remove the versions that its plans named.")
    ] = False,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Plan a mixture of packed datasets by weights or tokens, for gristmill.open_mixture. Nothing is copied.

    The versions that it names are kept, until it is released.
    """
    with errors(debug):
        from gristmill import api
        from gristmill.pipelines.report.console.mix import show_mix, show_released

        if release:
            held = api.release_mixture(mixture, to, say)
            released = [{"dataset": url, "version": version} for url, version in held]
            print_result(as_json, {"released": released}, lambda: show_released(held, out))
            return
        plan = api.mix(mixture, to, say)
        told = {**plan.to_json(), "plan": plan.url, "remarks": plan.remarks}
        print_result(as_json, told, lambda: show_mix(plan, out))
