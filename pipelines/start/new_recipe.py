"""A first recipe, of a look at the data and of trials, or of a template; checked before it is written."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from gristmill.operators.errors import RecipeError
from gristmill.pipelines.config.wording import plural
from gristmill.pipelines.planning.state import plan_run
from gristmill.pipelines.recipe.recipe import read_recipe
from gristmill.pipelines.start.draft import TASK, Draft, Findings, Want, draft_of
from gristmill.pipelines.start.first_look import FirstLook
from gristmill.pipelines.start.templates import shipped, template
from gristmill.pipelines.start.trial import Tried, tried
from gristmill.pipelines.storage import files


@dataclass(frozen=True)
class NewRecipe:
    """A recipe that was checked and is to be written."""

    file: str
    text: str
    command: str  #: that comes next
    tasks: Sequence[str] = ()  #: files of tasks beside it, by their paths below configs/
    trial: Tried | None = None

    def write(self, overwrite: bool = False) -> list[str]:
        """Write the recipe, and its task where there is none; return the paths of what was written.

        Raises RecipeError where there is such a file and `overwrite` is false.
        """
        if not overwrite:
            check_absent(self.file)
        written = []
        for task in self.tasks:
            path = os.path.join(os.path.dirname(os.path.abspath(self.file)), task)
            if not os.path.exists(path):
                os.makedirs(os.path.dirname(path), exist_ok=True)
                lines = shipped(task).splitlines(keepends=True)
                text = "".join(line for line in lines if not line.startswith("# yaml-language-server"))
                files.write_bytes(path, text.encode())
                written.append(os.path.relpath(path))
        os.makedirs(os.path.dirname(os.path.abspath(self.file)), exist_ok=True)
        files.write_bytes(os.path.abspath(self.file), self.text.encode())
        return [self.file, *written]

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        value: dict[str, Any] = {"recipe": self.file, "text": self.text, "next": self.command}
        if self.trial is not None:
            findings = self.trial.findings
            value["sample"] = {
                "languages": dict(findings.languages),
                "bytes": dict(zip(("0.05", "0.5", "0.95"), self.trial.lengths, strict=True)),
                "copies": self.trial.copies,
                "taken": dict(findings.taken),
                "kept": findings.kept,
                "warnings": list(self.trial.warnings),
            }
        return value


def check_absent(file: str) -> None:
    """Raise RecipeError where a file of that name is there already."""
    if os.path.exists(file):
        raise RecipeError(
            f"{file} is there already and was not touched; write to another file with --out, or over it with --force"
        )


def of_look(look: FirstLook, wants: Sequence[Want], file: str, store: str = "./store") -> NewRecipe:
    """Return a recipe for what was looked at; it is tried on the sample.

    Raises RecipeError where it would not run: a package is missing, or no document could be read.
    """
    folder = os.path.dirname(os.path.abspath(file))
    name = _dataset_name(look)
    if not look.documents:
        raise RecipeError(f"no document could be read in {look.place.path}; {'; '.join(look.remarks) or 'it is empty'}")

    def make(findings: Findings) -> Draft:
        return draft_of(look, wants, findings, name, folder, store)

    trial = tried(look, make)
    command = f"gristmill {'refresh' if Want.nightly in wants else 'run'} {file}"
    text = trial.draft.text(_head(look, wants, file, command, trial.draft))
    _check(replace(trial.draft, label=()).text(()), file, folder)
    return NewRecipe(file, text, command, [TASK] if Want.label in wants else [], trial)


def of_template(name: str, file: str, look: FirstLook | None = None) -> NewRecipe:
    """Return the recipe of a template, with the sources that a look found in place of its own.

    Raises RecipeError where there is no such template, or it does not go with these sources.
    """
    folder = os.path.dirname(os.path.abspath(file))
    sources = None
    if look is not None:
        draft = draft_of(look, [], Findings(), _dataset_name(look), folder, "./store")
        lines = draft.text(()).split("\n")
        begin = next(i for i, line in enumerate(lines) if line.startswith("sources:"))
        end = next(i for i in range(begin + 1, len(lines)) if not lines[i].startswith(" "))
        sources = "\n".join(lines[begin:end]) + "\n"
    text = template(name, file, sources)
    labels = TASK if re.search(rf"^label: \[{TASK}\]", text, re.MULTILINE) else None
    _check(re.sub(r"^label: .*\n|, edu_\w+", "", text, flags=re.MULTILINE), file, folder, plans=look is not None)
    command = f"gristmill {'refresh' if 'refresh:' in text else 'run'} {file}"
    return NewRecipe(file, text, command, [labels] if labels else [])


def _check(text: str, file: str, folder: str, plans: bool = True) -> None:
    """Raise RecipeError where a recipe is wrong or, if it is to be planned, its files are not as it says."""
    loaded = read_recipe(text, file, folder)
    if plans:
        plan_run(loaded, asks=False)


def _dataset_name(look: FirstLook) -> str:
    """Return a name for the dataset: that of the place."""
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", os.path.basename(look.place.root.rstrip("/"))).strip("-._")
    return name or look.sources[0].name


def _head(look: FirstLook, wants: Sequence[Want], file: str, command: str, draft: Draft) -> list[str]:
    """Return the comment at the top of a recipe."""
    wanted = " ".join(f"--want {want}" for want in wants)
    lines = [
        f"Written by `gristmill init {look.place.path} {wanted}`,",
        f"from a look at {plural(look.documents, 'document')} in {look.looked:,} of {plural(look.files, 'file')}.",
        f"`gristmill plan {file}` says what would be done; `{command}` does it.",
        "Change what you like and run it again: all measures are kept, so only what is new is computed.",
        f"`gristmill operators` lists what there is, `gristmill operators {_first_rule(draft)}` the options of one.",
    ]
    if Want.label in wants:
        lines.append("The model is named by the environment: LABEL_URL, LABEL_KEY and LABEL_MODEL (OpenAI-compatible).")
    return lines


def _first_rule(draft: Draft) -> str:
    value = draft.decide[0].value if draft.decide else "exact_dedup"
    return str(value if isinstance(value, str) else next(iter(value)))
