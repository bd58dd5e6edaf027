"""`gristmill init`, a first recipe for one's own data, and `gristmill doctor`, checks of what it needs."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from gristmill.operators.errors import RecipeError
from gristmill.pipelines.cli.common import AsJson, Debug, Overrides, err, errors, out, print_result
from gristmill.pipelines.config.wording import did_you_mean

if TYPE_CHECKING:
    from gristmill.pipelines.start.draft import Want
    from gristmill.pipelines.start.first_look import FirstLook
    from gristmill.pipelines.start.new_recipe import NewRecipe


def init(
    place: Annotated[
        str | None,
        typer.Argument(metavar="PLACE", help="Your texts: a folder, a file, a glob, or a URL.", show_default=False),
    ] = None,
    want: Annotated[
        list[str] | None,
        typer.Option("--want", help="dedup, quality, mask, label or nightly; may be repeated.", show_default=False),
    ] = None,
    template: Annotated[
        str | None,
        typer.Option(
            help="A recipe to begin with, in place of questions: dedup, fuzzy, paragraphs, label, nightly, fineweb, "
            "c4, dclm, common_crawl.",
            show_default=False,
        ),
    ] = None,
    to: Annotated[str, typer.Option("--out", metavar="FILE", help="The recipe that is written.")] = "recipe.yaml",
    text: Annotated[str | None, typer.Option("--text", metavar="FIELD", help="The field that holds the text.")] = None,
    id: Annotated[str | None, typer.Option("--id", metavar="FIELD", help="The field that holds the id.")] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Take the suggested answers, without a question.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Write over a file that is there.")] = False,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Write a first recipe: look at a sample of your texts, ask what you want, try the rules on the sample.

    Nothing is asked where standard input is no terminal.
    """
    with errors(debug):
        from gristmill.pipelines.report.console.start import show_look, show_trial, show_written
        from gristmill.pipelines.start import new_recipe

        asks = is_a_terminal() and not (yes or as_json or template)
        if not force:
            new_recipe.check_absent(to)
        if template is not None and want:
            raise RecipeError("a template says itself what is wanted: leave --want or --template out")
        look = None
        if place is not None or template is None:
            look = _look(place, to, text, id, asks)
            if not as_json:
                show_look(look.to_json(), out)
        if template is not None:
            made = new_recipe.of_template(template, to, look)
        else:
            assert look is not None
            look, made = _recipe(look, want or [], to, text, id, asks)
        written = made.write(overwrite=force)
        told = {**({} if look is None else {"look": look.to_json()}), **made.to_json(), "written": written}

        def show() -> None:
            if "sample" in told:
                show_trial(told["sample"], out)
            show_written(written, told, out)

        print_result(as_json, told, show)


def is_a_terminal() -> bool:
    """Return whether someone can be asked."""
    return sys.stdin.isatty()


def _look(place: str | None, to: str, text: str | None, id: str | None, asks: bool) -> FirstLook:
    from gristmill.pipelines.start.first_look import first_look

    if place is None and not asks:
        raise RecipeError("name your texts: gristmill init PLACE, a folder, a file, a glob or a URL")
    if place is None:
        default = "data" if os.path.isdir("data") else "."
        place = typer.prompt("Where are your texts? A folder, a file, a glob, or s3://bucket/folder", default, err=True)
    return first_look(str(place), os.curdir, os.path.dirname(os.path.abspath(to)), text, id)


def _recipe(
    look: FirstLook, want: list[str], to: str, text: str | None, id: str | None, asks: bool
) -> tuple[FirstLook, NewRecipe]:
    """Ask what is not said; return the look, with the field of the text that was chosen, and the recipe."""
    from gristmill.pipelines.start import new_recipe
    from gristmill.pipelines.start.draft import WANTS, Want
    from gristmill.pipelines.start.roles import texts_of

    source = look.sources[0]
    if asks and text is None and not source.pages and len(texts_of(source.facts)) > 1:
        chosen = typer.prompt("Which field holds the text?", source.roles.text, err=True)
        if chosen != source.roles.text:
            look = _look(look.place.path, to, chosen, id, asks)
    suggested = [Want.dedup] if look.code else [Want.dedup, Want.quality]
    if asks and not want:
        for name, meaning in WANTS.items():
            err.print(f"  {name:<8} {meaning}")
        answer = typer.prompt("What do you want? One or more of these", ", ".join(suggested), err=True)
        want = [name for name in str(answer).replace(",", " ").split() if name]
    wants = [_want(name) for name in want] or suggested
    err.print("trying the rules on the sample (on a new machine their kernels are compiled first) ...", style="dim")
    return look, new_recipe.of_look(look, wants, to)


def _want(name: str) -> Want:
    from gristmill.pipelines.start.draft import Want

    if name not in list(Want):
        raise RecipeError(f"{name} is nothing that `init` knows to do{did_you_mean(name, list(Want))}")
    return Want(name)


def doctor(
    recipe: Annotated[
        str | None, typer.Argument(metavar="RECIPE", help="A recipe whose files to check, too.", show_default=False)
    ] = None,
    store: Annotated[
        str | None, typer.Option("--store", help="A store to check; by default the recipe's.", show_default=False)
    ] = None,
    set_: Overrides = None,
    endpoints: Annotated[
        bool, typer.Option("--endpoints", help="Ask the endpoints of the recipe's tasks for their models, at no cost.")
    ] = False,
    compile_: Annotated[
        bool, typer.Option("--compile", help="Compile all kernels now, and say how long it took.")
    ] = False,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Check this machine, what is installed, a store and a recipe, and say what to do. Ends with 1 if any is wrong."""
    with errors(debug):
        from gristmill.pipelines.report.console.start import show_checks
        from gristmill.pipelines.start import checks, store_checks
        from gristmill.pipelines.storage.locations import absolute

        found = [*checks.environment(compile_)]
        if recipe is not None:
            found += store_checks.recipe(recipe, set_ or (), endpoints)
        if store is not None:
            found += store_checks.store(absolute(store, os.curdir))
        told = [check.to_json() for check in found]
        print_result(as_json, told, lambda: show_checks(told, out))
    if any(check.state == "wrong" for check in found):
        raise typer.Exit(1)
