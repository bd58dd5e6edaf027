"""The files that go to a cluster with a recipe: itself, and those that it names by relative paths. Data stay."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from gristmill.operators.base import FittedMeasure, Operator
from gristmill.operators.errors import RecipeError
from gristmill.operators.table import name_of
from gristmill.pipelines.config.located_yaml import Path as Place
from gristmill.pipelines.config.mistakes import Mistakes
from gristmill.pipelines.label.annotators import SimilarityAnnotator
from gristmill.pipelines.label.task import LoadedTask, load_task
from gristmill.pipelines.recipe.recipe import LoadedRecipe
from gristmill.pipelines.sources.listing import discover_files
from gristmill.pipelines.storage.files import is_local

#: Ray keeps what is sent in the memory of the head node, and takes no more than 512 MiB.
MOST_BYTES = 500_000_000
_SHOWN = 5


@dataclass(frozen=True)
class SentFiles:
    """The files of a recipe, laid out as they lie here beside each other."""

    recipe: str  #: the recipe as the job names it: a path below the sent folder, or a URL
    files: Mapping[str, str]  #: path below the sent folder -> path here
    stay: tuple[str, ...]  #: absolute paths of this machine, which every node must have as well
    unset: tuple[str, ...]  #: variables of the recipe and its tasks that are not set here
    variables: tuple[str, ...]  #: those that are

    def told(self) -> str:
        """Return the names of the first files, and how much all are: `recipe.yaml, a.bin and 7 more (1.2 MB)`."""
        size = sum(os.path.getsize(path) for path in self.files.values())
        shown, more = [*self.files][:_SHOWN], max(0, len(self.files) - _SHOWN)
        return f"{', '.join(shown)}{f' and {more} more' if more else ''} ({size / 1e6:,.1f} MB)"

    def copy_to(self, folder: str | os.PathLike[str]) -> None:
        """Copy the files below an empty folder."""
        for place, path in self.files.items():
            target = Path(folder, place)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)


def sent_files(loaded: LoadedRecipe) -> SentFiles:
    """Return what a job of the recipe needs to be sent.

    Raises RecipeError, with every mistake found: relative paths of data and of the store, files that do not exist, more
    bytes than Ray takes.
    """
    document, mistakes = loaded.document, Mistakes(loaded.document)
    named: list[tuple[Place, LoadedRecipe | LoadedTask, str]] = []
    named += [(place, loaded, path) for place, path in _named_by_operators(loaded)]
    variables, unset = dict(document.variables), list(document.unset)
    for i, path in enumerate(loaded.recipe.label):
        named.append((("label", i), loaded, path))
        with mistakes.located(("label", i)):
            task = load_task(loaded.resolve(path), asks=False)
            named += [(("label", i), task, inner) for inner in _named_by_task(task)]
            variables, unset = variables | task.document.variables, unset + task.document.unset
    if not is_local(loaded.base):  # whatever lies beside a recipe at a URL is reached from everywhere
        mistakes.raise_if_any()
        return SentFiles(document.file, {}, (), tuple(dict.fromkeys(unset)), tuple(variables))
    _refuse_relative_data(loaded, mistakes)
    stay = [path for path in (loaded.recipe.store, *_data(loaded)) if os.path.isabs(os.path.expanduser(path))]
    sent: list[str] = []
    for place, origin, path in named:
        if _is_relative(path):
            with mistakes.noted(place):
                sent += _files_at(path, origin)
        elif is_local(path) and _is_written(path, loaded):
            stay.append(path)
    mistakes.raise_if_any()
    recipe = os.path.abspath(document.file)
    paths = dict.fromkeys([recipe, *sent])
    root = os.path.commonpath([os.path.dirname(path) for path in paths])
    files = {os.path.relpath(path, root): path for path in paths}
    _refuse_too_much(files)
    return SentFiles(
        os.path.relpath(recipe, root), files, tuple(dict.fromkeys(stay)), tuple(dict.fromkeys(unset)), tuple(variables)
    )


def _named_by_operators(loaded: LoadedRecipe) -> Iterator[tuple[Place, str]]:
    """Yield the files and globs that operators open, and those with options of rules; with their places."""
    recipe = loaded.recipe
    for section in ("transform", "measure", "decide"):
        for i, operator in enumerate(getattr(recipe, section)):
            for path in _opened_by(operator):
                yield (section, i, name_of(operator)), path
    for i, rule in enumerate(recipe.decide):
        for measure in rule.needs():
            for path in _opened_by(measure):
                yield ("decide", i, name_of(rule)), path
    yield from loaded.included.items()
    if recipe.write.pack is not None:
        for path in _opened_by(recipe.write.pack):
            yield ("write", "pack"), path


def _opened_by(operator: Operator) -> list[str]:
    try:
        opened = [*operator.resources().values()]
    except RecipeError:  # it lacks a package here; what counts is what the nodes have
        opened = []
    return opened + ([*operator.targets().values()] if isinstance(operator, FittedMeasure) else [])


def _named_by_task(task: LoadedTask) -> Iterator[str]:
    """Yield models, tokenizers and files of a task that lie on this machine; ids of a hub are none."""
    for annotator in task.task.annotators:
        candidates = [annotator.model] if annotator.may_be_folder else []
        candidates += [tokenizer] if (tokenizer := getattr(annotator, "tokenizer", None)) else []
        yield from (path for path in candidates if os.path.exists(task.resolve(path)))
        if isinstance(annotator, SimilarityAnnotator):
            yield annotator.corpus
    if task.task.sample is not None and task.task.sample.import_ is not None:
        yield task.task.sample.import_


def _files_at(path: str, origin: LoadedRecipe | LoadedTask) -> list[str]:
    """Return the files that a path, a folder or a glob stands for. Raises RecipeError where there is none."""
    absolute = origin.resolve(path)
    if os.path.isfile(absolute):
        return [absolute]
    if os.path.isdir(absolute):
        return sorted(str(file) for file in Path(absolute).rglob("*") if file.is_file())
    if not set(path) & set("*?["):
        raise RecipeError(f"there is no file {absolute}; paths in a recipe start from the recipe's folder")
    return [file.url for file in discover_files(path, origin.base)]


def _is_relative(path: str) -> bool:
    return is_local(path) and "${" not in path and not os.path.isabs(os.path.expanduser(path))


def _is_written(path: str, loaded: LoadedRecipe) -> bool:
    """Return whether a path stands in the recipe: what this machine's packages bring along is that of nodes as well."""
    return any(path in line for line in loaded.document.text) or any(
        path in option for option in loaded.document.overrides.values()
    )


def _data(loaded: LoadedRecipe) -> list[str]:
    named = ((source.format, pattern) for source in loaded.recipe.sources for pattern in source.patterns())
    return [path for format_, path in named if (format_, path) != ("python_env", "auto")]


def _refuse_relative_data(loaded: LoadedRecipe, mistakes: Mistakes) -> None:
    """Note data and a store that lie beside the recipe: the job's own folder is a copy that Ray removes."""
    why = "a job works in a copy of the recipe's folder, which has no data and is removed later"
    for i, source in enumerate(loaded.recipe.sources):
        for pattern in source.patterns():
            if _is_relative(pattern) and (source.format, pattern) != ("python_env", "auto"):
                remedy = f"--set sources.{source.name}.path={loaded.resolve(pattern)} where that is a shared disk"
                mistakes.add(
                    ("sources", i, "path"), f"{pattern}: {why}. Give a URL that every node reaches, or {remedy}"
                )
    if _is_relative(loaded.recipe.store):
        remedy = f"--set store={loaded.store} where that is a shared disk"
        mistakes.add(("store",), f"{loaded.recipe.store}: {why}. Give a URL that every node reaches, or {remedy}")


def _refuse_too_much(files: Mapping[str, str]) -> None:
    sizes = {path: os.path.getsize(path) for path in files.values()}
    if (total := sum(sizes.values())) > MOST_BYTES:
        largest = max(sizes, key=sizes.__getitem__)
        raise RecipeError(
            f"the recipe and what it names are {total / 1e6:,.0f} MB, and Ray takes {MOST_BYTES / 1e6:,.0f}; the "
            f"largest is {largest} ({sizes[largest] / 1e6:,.0f} MB). Put it where every node reaches it, and name it "
            "by its URL or absolute path"
        )
