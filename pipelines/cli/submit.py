"""`gristmill submit`: a run, or a night, as a job of a Ray cluster."""

from __future__ import annotations

import shlex
import tempfile
from collections.abc import Container, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gristmill.pipelines.cli.common import Debug, Overrides, RecipePath, err, errors, out
from gristmill.pipelines.engine.signals import Ended

if TYPE_CHECKING:
    from gristmill.pipelines.jobs.sent_files import SentFiles


def submit(
    recipe: RecipePath,
    options: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="-- OPTIONS",
            help="Options of `gristmill run` (or `refresh`) for the job, such as -- --examples 5.",
            show_default=False,
        ),
    ] = None,
    address: Annotated[
        str,
        typer.Option(
            "--address",
            metavar="URL",
            envvar="RAY_API_SERVER_ADDRESS",
            help="The dashboard of the cluster, such as http://localhost:8265.",
            show_default=False,
        ),
    ] = "",
    refresh: Annotated[
        bool, typer.Option("--refresh", help="Do a night: `gristmill refresh` in place of `run`.")
    ] = False,
    set_: Overrides = None,
    env: Annotated[
        list[str] | None,
        typer.Option(
            "--env",
            metavar="NAME[=VALUE]",
            help="A variable for the job, with its value here. The cluster keeps it in clear: no secrets.",
        ),
    ] = None,
    pip: Annotated[
        list[str] | None,
        typer.Option(
            "--pip", metavar="REQUIREMENT", help="What pip installs on the nodes; a wheel that is here is sent."
        ),
    ] = None,
    wheel: Annotated[
        bool, typer.Option("--wheel", help="Build a wheel of this checkout, and install it there.")
    ] = False,
    runtime_env: Annotated[
        str | None,
        typer.Option("--runtime-env", metavar="FILE", help="More of Ray's runtime environment, a YAML file."),
    ] = None,
    wait: Annotated[
        bool, typer.Option("--wait/--no-wait", help="Follow the log; end with the job's exit code.")
    ] = True,
    debug: Debug = False,
) -> None:
    """Run a recipe on a Ray cluster: send it with the models, tasks and lists that it names, and follow the log.

    Data and the store stay where they are: every node must reach them. Ctrl-C leaves the job running.
    """
    command = "refresh" if refresh else "run"
    overrides = [*(set_ or ()), *_overrides_among(options or (), command, recipe)]
    with errors(debug):
        from gristmill.operators.errors import RecipeError
        from gristmill.pipelines.jobs import environment as runtime
        from gristmill.pipelines.jobs.sent_files import sent_files
        from gristmill.pipelines.jobs.server import JobServer
        from gristmill.pipelines.recipe.recipe import load_recipe

        if not address:
            raise RecipeError("--address is missing: the URL of the cluster's dashboard, such as http://localhost:8265")
        loaded = load_recipe(recipe, overrides, resolves=False)
        sent = sent_files(loaded)
        environment = runtime.read_environment(runtime_env) if runtime_env is not None else {}
        environment = runtime.with_variables(environment, env or ())
        server = JobServer(address)
        with tempfile.TemporaryDirectory() as built, tempfile.TemporaryDirectory() as folder:
            if wheel:
                err.print("wheel    of this checkout ...")
            wheels = [runtime.build_wheel(Path(built))] if wheel else []
            environment = runtime.with_requirements(environment, [*wheels, *(pip or ())], Path(folder))
            sent.copy_to(folder)
            _tell(sent, {*environment.get("env_vars", {})})
            sets = [word for override in set_ or () for word in ("--set", override)]
            line = ["python", "-m", "gristmill", command, sent.recipe, *sets, *(options or ())]
            about = {"gristmill": command, "recipe": loaded.recipe.name}
            job = server.submit(line, {**environment, "working_dir": folder}, about)
        if not wait:
            out.print(job)
            _tell_how_to_follow(job, server.address, "submitted")
            return
        err.print(f"job      {job} at {server.address}; Ctrl-C leaves it running")
        try:
            code = server.follow(job, lambda piece: out.print(piece.expandtabs(), end=""))
        except KeyboardInterrupt as interruption:
            _tell_how_to_follow(job, server.address, "detached")
            raise typer.Exit(interruption.exit_code if isinstance(interruption, Ended) else 130) from None
    if code:
        err.print(f"the job {job} ended with exit code {code}", style="bold red")
        raise typer.Exit(code)


def _overrides_among(options: Sequence[str], command: str, recipe: str) -> list[str]:
    """Return the values of --set among options of a command. Options that it does not take end this one, with 2."""
    from gristmill.pipelines.cli.main import app

    context = typer.main.get_command(app).commands[command].make_context(command, [recipe, *options])  # type: ignore[attr-defined]
    return [*(context.params["set_"] or ())]


def _tell(sent: SentFiles, variables: Container[str]) -> None:
    """Say what is sent, and what the nodes must have of their own."""
    err.print(f"sent     {sent.told() if sent.files else 'nothing: the recipe lies at a URL'}")
    if sent.stay:
        err.print(f"! not sent: {', '.join(sent.stay)}; each node must reach it under this path", style="yellow")
    if needed := [name for name in sent.unset if name not in variables]:
        err.print(f"! not set here: {', '.join(needed)}; the nodes must have it in their environment", style="yellow")
    if kept := [name for name in sent.variables if name not in variables]:
        told = f"the job has what the nodes' environment says, not what it is here (--env {kept[0]} would send it)"
        err.print(f"! of {', '.join(kept)} {told}", style="yellow")


def _tell_how_to_follow(job: str, address: str, what: str) -> None:
    err.print(f"{what}: the job {job} goes on without this command")
    for purpose, words in (("follow", "logs --follow"), ("state", "status"), ("stop", "stop")):
        err.print(f"  {purpose:<7}ray job {words} {job} --address {shlex.quote(address)}")
