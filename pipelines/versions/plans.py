"""Versions that plans of mixtures name: each is tagged with the mixture's name, which keeps it until it is released.

A mixture holds what all of its plans named: which of them is still trained on is not known here. Its tags are those of
people in all else, but for a colon in them, which people's have not.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from gristmill.operators.errors import RecipeError, RetryableError, StoreDamaged, StoreLocked
from gristmill.pipelines.readers.mix_plan import MixPlan, load_options, plan_beside
from gristmill.pipelines.readers.mixture import read_plan
from gristmill.pipelines.storage.locations import absolute, folder_of
from gristmill.pipelines.store.datasets import Dataset
from gristmill.pipelines.store.lock import writer_lock

Say = Callable[[str], None]
_PREFIX = "mix"


def _prefix(mixture: str) -> str:
    return f"{_PREFIX}:{mixture}:"


def mixture_of(tag: str) -> str | None:
    """Return the mixture that a tag holds a version for; None for the tags of people."""
    kind, _, rest = tag.partition(":")
    return rest.rpartition(":")[0] if kind == _PREFIX and rest else None


def hold(plan: MixPlan, say: Say = lambda _: None) -> MixPlan:
    """Tag the versions that a plan names; return it with a remark on each that could not be tagged.

    The stores of other people may be closed for writing, and a run may hold one: mixing goes on without a tag there.
    Raises RecipeError where a version was removed in the meantime.
    """
    remarks = []
    for url, version in dict.fromkeys((part.dataset, part.version) for part in plan.parts):
        tag = f"{_prefix(plan.options.name)}{int(version.split('-')[0])}"
        dataset = Dataset.at(url)
        try:
            if dataset.marks.tags.get(tag) != version:
                with writer_lock(dataset.store, say):
                    _tag(Dataset(dataset.store, dataset.name), tag, version)
        except (OSError, NotImplementedError, RetryableError, StoreLocked) as error:
            remarks.append(
                f"{version} of {url} is not held, and `gristmill datasets gc` there may remove it: {error}. "
                "`gristmill mix` again tries again"
            )
    return replace(plan, not_held=tuple(remarks))


def _tag(dataset: Dataset, tag: str, version: str) -> None:
    if not dataset.named(version).committed:
        raise RecipeError(f"{version} of {dataset.url} was removed while it was planned: `gristmill mix` again")
    marks = dataset.marks
    dataset.mark(replace(marks, tags={**marks.tags, tag: version}))


def release(mixture: str, out: str | None = None, say: Say = lambda _: None) -> list[tuple[str, str]]:
    """Take the tags of a mixture from all versions of the datasets that its YAML file or its plan names.

    `out` is where the plan lies, by default beside the YAML file. Return the URLs of the datasets and the versions.
    Raises RecipeError where the file is wrong, StoreLocked where a run holds a store: those before it are released.
    """
    options = load_options(mixture)
    urls = [absolute(part.dataset, folder_of(mixture)) for part in options.parts]
    to = plan_beside(mixture, out)
    try:
        urls += [part["dataset"] for part in read_plan(to)["parts"]]
    except (RecipeError, StoreDamaged):
        if out is not None:
            raise
    released = []
    for dataset in {dataset.url: dataset for dataset in map(Dataset.at, urls)}.values():
        if not _held(dataset, options.name):
            continue
        with writer_lock(dataset.store, say):
            fresh = Dataset(dataset.store, dataset.name)
            held = _held(fresh, options.name)
            marks = fresh.marks
            fresh.mark(replace(marks, tags={tag: of for tag, of in marks.tags.items() if tag not in held}))
            released += [(fresh.url, marks.tags[tag]) for tag in sorted(held)]
    return released


def _held(dataset: Dataset, mixture: str) -> list[str]:
    """Return the tags that a mixture has in a dataset."""
    return [tag for tag in dataset.marks.tags if tag.startswith(_prefix(mixture))]
