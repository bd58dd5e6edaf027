"""`gristmill ui`: a store in a browser."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from gristmill.operators.errors import RecipeError
from gristmill.pipelines.cli.common import Debug, Store, errors, out
from gristmill.pipelines.engine.signals import Ended

if TYPE_CHECKING:
    from gristmill.pipelines.ui.site import SectionMaker


def ui(
    store: Store = "./store",
    port: Annotated[int, typer.Option(min=0, max=65535, help="A port of this machine; 0 takes any free one.")] = 8765,
    cache: Annotated[
        str | None,
        typer.Option(
            metavar="FOLDER",
            help="Where the indexes of the search lie; else in the user's cache.",
            show_default=False,
        ),
    ] = None,
    open_: Annotated[bool, typer.Option("--open/--no-open", help="Show it in the browser.")] = True,
    recipe: Annotated[
        str | None,
        typer.Option("--recipe", metavar="RECIPE", help="A recipe of this store, whose limits get sliders."),
    ] = None,
    review: Annotated[
        str | None,
        typer.Option("--review", metavar="TASK", help="A labelling task that --annotator answers."),
    ] = None,
    annotator: Annotated[
        str | None, typer.Option("--annotator", metavar="NAME", help="Who reviews; answers are stored as theirs.")
    ] = None,
    debug: Debug = False,
) -> None:
    """Show a store in a browser, live: runs, search, explain, clusters, quarantine, labels; sliders, and a review.

    All of it is read-only but for the answers of a review, which is off unless --review names a task.
    """
    with errors(debug):
        import webbrowser

        if (review is None) != (annotator is None):
            raise RecipeError("a review is of a task by a person: give both --review TASK and --annotator NAME")

        from gristmill.pipelines.storage.locations import absolute
        from gristmill.pipelines.ui.serve import serve

        url = absolute(store, ".")
        page = ""

        def more() -> list[SectionMaker]:
            from gristmill.pipelines.ui.held_recipe import check_recipe
            from gristmill.pipelines.ui.what_if import what_if_section

            if recipe is not None:
                check_recipe(recipe, url)
            sections = [what_if_section(recipe)]
            if review is not None and annotator is not None:
                from gristmill.pipelines.label.task import load_task
                from gristmill.pipelines.ui.review import ReviewAccess, review_section
                from gristmill.pipelines.ui.review_queue import ReviewQueue

                nonlocal page
                access = ReviewAccess()
                queue = ReviewQueue(load_task(review, asks=False), url, annotator)
                sections.append(review_section(queue, access))
                page = access.page
            return sections

        def ready(address: str) -> None:
            out.print(f"{address} shows {store}, for this machine alone; Ctrl-C ends it", markup=False)
            if page:
                out.print(f"{address}{page} is the review by {annotator}; it opens once", markup=False, soft_wrap=True)
            if open_:
                webbrowser.open(address + page)

        try:
            serve(url, port, cache, ready, more)
        except Ended as ended:  # the way to end it
            out.print("ended")
            raise typer.Exit(ended.exit_code) from None
