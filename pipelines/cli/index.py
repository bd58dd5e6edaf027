"""`gristmill index`: commands for the indexes of a store."""

from __future__ import annotations

import os
from contextlib import closing
from typing import Annotated

import typer

from gristmill.operators.errors import RecipeError
from gristmill.pipelines.cli.common import (
    AsJson,
    Debug,
    EngineChoice,
    Engines,
    IdField,
    Overrides,
    Progress,
    ProgressChoice,
    Quiet,
    RecipePath,
    Store,
    TextField,
    Workers,
    errors,
    out,
    print_result,
    reporting,
)

index_app = typer.Typer(help="Look after indexes: what fuzzy_dedup keeps of earlier runs.", no_args_is_help=True)
IndexName = Annotated[str, typer.Argument(metavar="NAME", help="The index.", show_default=False)]


@index_app.command("info")
def index_info(
    name: Annotated[
        str | None, typer.Argument(metavar="NAME", help="One index; by default all.", show_default=False)
    ] = None,
    store: Store = "./store",
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Show what an index was made with, and its generations: run, sources, shards, documents, size."""
    with errors(debug):
        _show_indexes(store, name, as_json)


@index_app.command("compact")
def index_compact(
    name: IndexName,
    store: Store = "./store",
    engine: Engines = EngineChoice.auto,
    workers: Workers = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Make all generations of an index one. Runs give the same as before, and read fewer files."""
    with errors(debug):
        from gristmill.pipelines.engine import open_engine
        from gristmill.pipelines.index.upkeep import compact

        with closing(open_engine(engine.value, workers)) as opened:
            compact(store, name, opened)
        _show_indexes(store, name, as_json)


@index_app.command("remove")
def index_remove(
    name: IndexName,
    generation: Annotated[str | None, typer.Option("--generation", help="Forget this generation.")] = None,
    source: Annotated[str | None, typer.Option("--source", help="Forget the shards of this source.")] = None,
    store: Store = "./store",
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Take shards out of an index. Later runs match them no more, and decide them again where they are sources."""
    with errors(debug):
        from gristmill.pipelines.engine import open_engine
        from gristmill.pipelines.index.upkeep import remove_generation, remove_source

        if (generation is None) == (source is None):
            raise RecipeError("name a --generation or a --source to remove; `gristmill index info` shows both")
        if generation is not None:
            remove_generation(store, name, generation)
        elif source is not None:
            with closing(open_engine("local", None)) as opened:
                remove_source(store, name, source, opened)
        _show_indexes(store, name, as_json)


@index_app.command("import")
def index_import(
    recipe: RecipePath,
    path: Annotated[
        str, typer.Argument(metavar="GLOB", help="Files of the dataset, of any format.", show_default=False)
    ],
    source: Annotated[str, typer.Option("--source", help="What the index calls them.")] = "import",
    text: TextField = "text",
    id: IdField = "id",
    set_: Overrides = None,
    engine: Engines = EngineChoice.auto,
    workers: Workers = None,
    quiet: Quiet = False,
    progress: Progress = ProgressChoice.auto,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Add a dataset that is there already to the index of a recipe's fuzzy_dedup: later runs are resolved against it.

    All its documents count as kept. Parameters and transforms are those of the recipe.
    """
    with errors(debug), reporting(quiet, progress) as reporter:
        from gristmill.pipelines.engine import open_engine
        from gristmill.pipelines.planning.plan import indexed_rule
        from gristmill.pipelines.recipe.recipe import load_recipe
        from gristmill.pipelines.sources.spec import Source
        from gristmill.pipelines.stages.index_import import import_dataset

        loaded = load_recipe(recipe, set_ or ())
        dataset = Source(name=source, path=os.path.abspath(path) if "://" not in path else path, text=text, id=id)
        with closing(open_engine(engine.value, workers)) as opened:
            import_dataset(loaded, dataset, opened, reporter)
        indexed = indexed_rule(loaded.recipe.decide)
        assert indexed is not None
        _show_indexes(loaded.store, indexed[1].name, as_json)


@index_app.command("export")
def index_export(
    name: IndexName,
    datasketch: Annotated[
        str, typer.Option("--datasketch", metavar="OUT", help="The Parquet file to write: id, address, LeanMinHash.")
    ],
    store: Store = "./store",
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Write an index for online look-ups: ids and LeanMinHash objects of datasketch."""
    with errors(debug):
        from gristmill.pipelines.config.wording import plural
        from gristmill.pipelines.index.export import export_datasketch

        count = export_datasketch(store, name, datasketch)
        result = {"documents": count, "path": datasketch}
        print_result(as_json, result, lambda: out.print(f"{plural(count, 'document')} in {datasketch}", markup=False))


def _show_indexes(store: str, name: str | None, as_json: bool) -> None:
    from gristmill.pipelines.report.console.store import show_indexes
    from gristmill.pipelines.report.index import info

    indexes = info(store, name)
    print_result(as_json, indexes, lambda: show_indexes(indexes, out))
