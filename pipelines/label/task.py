"""A labelling task: a YAML file of the question, the annotators, the sample of documents, the budget and the prices."""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass
from typing import Any, Literal

import yaml
from pydantic import Field, ValidationError, model_validator

from gristmill.operators.errors import RecipeError
from gristmill.operators.label.task import Sample, TaskQuestion
from gristmill.pipelines.config import located_yaml
from gristmill.pipelines.config.located_yaml import LocatedYaml
from gristmill.pipelines.config.mistakes import Mistakes
from gristmill.pipelines.config.wording import did_you_mean
from gristmill.pipelines.config.yaml_file import read_text
from gristmill.pipelines.label.annotators import Annotator, AnyAnnotator, SimilarityAnnotator
from gristmill.pipelines.label.budget import Budget, Prices
from gristmill.pipelines.label.models import THREE_WAYS, is_path
from gristmill.pipelines.storage.locations import absolute, folder_of

USAGE = "`gristmill label TASK` takes the path of a YAML file"


class LabelTask(TaskQuestion):
    """A checked task. Its fingerprint (`asked_fingerprint`) names its answers in the store."""

    version: Literal[1] = Field(description="version of this format")
    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", description="name of the task, for people and columns")
    annotators: tuple[AnyAnnotator, ...] = Field(min_length=1, description="who answers, in this order")
    sample: Sample | None = Field(default=None, description="which documents; without it all")
    budget: Budget = Field(default=Budget(), description="ceilings over all runs of the task in a store")
    prices: dict[str, Prices] = Field(default={}, description="what tokens cost, by annotator")

    @model_validator(mode="after")
    def _check_names(self) -> LabelTask:
        names = [annotator.name for annotator in self.annotators]
        if twice := next((name for name in names if names.count(name) > 1), None):
            raise ValueError(f"two annotators are called {twice!r}; give each a name of its own")
        if unknown := next((name for name in self.prices if name not in names), None):
            raise ValueError(f"prices has {unknown!r}, which is no annotator{did_you_mean(unknown, names)}")
        if (self.budget.cost is not None or self.budget.night.cost is not None) and not self.prices:
            raise ValueError("budget has a ceiling for cost, but no annotator has prices; add them under prices")
        if self.sample is not None and self.sample.comparisons is not None and not self.pairs:
            raise ValueError("sample has `comparisons`, which go with answers of pairs: `answer: {pair: ...}`")
        return self

    def prices_of(self, annotator: Annotator) -> Prices:
        """Return the prices of the annotator's tokens; zero if the task does not say."""
        return self.prices.get(annotator.name, Prices())


@dataclass(frozen=True)
class LoadedTask:
    """A task with its origin."""

    task: LabelTask
    document: LocatedYaml
    base: str  #: folder (path or URL) of the file
    as_written: dict[str, Any]  #: the task as a value, `${NAME}` unresolved: what stores keep

    @property
    def name(self) -> str:
        """Return the task's name."""
        return self.task.name

    @property
    def fingerprint(self) -> str:
        """Return the fingerprint that names the task's answers in a store."""
        return self.task.asked_fingerprint()

    def local(self, annotator: AnyAnnotator) -> AnyAnnotator:
        """Return the annotator with paths resolved from the task's folder, if there is such a file or folder."""
        named = {"model": annotator.model, "tokenizer": getattr(annotator, "tokenizer", None)}
        if not annotator.may_be_folder:
            del named["model"]
        paths = {key: place for key, value in named.items() if value and (place := self._place(value)) is not None}
        if isinstance(annotator, SimilarityAnnotator):
            paths["corpus"] = self.resolve(annotator.corpus)
        return annotator.model_copy(update=paths)

    def require_folders(self) -> None:
        """Raise RecipeError for models that are named by paths that do not exist, before any work is done."""
        mistakes = Mistakes(self.document)
        for i, annotator in enumerate(self.task.annotators):
            if annotator.may_be_folder and is_path(annotator.model) and self._place(annotator.model) is None:
                message = f"there is no folder {self.resolve(annotator.model)}"
                mistakes.add(("annotators", i, "model"), f"{annotator.name}: {message}. {THREE_WAYS}")
        mistakes.raise_if_any()

    def resolve(self, path: str) -> str:
        """Return a path of the task as one that can be opened from anywhere."""
        return absolute(path, self.base)

    def _place(self, value: str) -> str | None:
        path = self.resolve(value)
        return path if os.path.exists(path) else None


def load_task(url: str, asks: bool = True) -> LoadedTask:
    """Read and check a task. Raises RecipeError with every mistake found, one a line.

    asks: whether annotators are to be asked. If not, their variables, such as keys, need not be set.
    """
    return read_task(read_text(url, "task", USAGE), url, folder_of(url), asks)


def is_task(url: str) -> bool:
    """Return whether a YAML file has an instruction, as tasks do and recipes do not; whoever loads it checks the rest.

    Raises RecipeError where there is no such file.
    """
    value = None
    with contextlib.suppress(yaml.YAMLError):
        value = yaml.safe_load(read_text(url, "recipe or task", "name its YAML file"))
    return isinstance(value, dict) and "instruction" in value


def read_task(text: str, file: str, base: str, asks: bool = True) -> LoadedTask:
    """Check a task given as text: see `load_task`."""
    document = located_yaml.load(text, file, may_be_unset=() if asks else ("annotators",))
    if not isinstance(document.value, dict):
        raise RecipeError(f"{document.where(())}: a task is a mapping (version: 1, name: ..., instruction: ...)")
    mistakes = Mistakes(document)
    try:
        task = LabelTask.model_validate(document.value)
    except ValidationError as error:
        mistakes.add_invalid(error, (), LabelTask)
    mistakes.raise_if_any()
    return LoadedTask(task, document, base, document.redact_value(document.value))
