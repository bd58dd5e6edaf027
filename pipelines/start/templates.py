"""Recipes to begin with, as they lie in configs/: the same files, which an installed package carries along."""

from __future__ import annotations

import re
from importlib import resources

from gristmill.operators.errors import RecipeError
from gristmill.pipelines.config.wording import did_you_mean

#: Templates by name: their files below configs/. Recipes that need a model or a tokenizer of one's own are none.
TEMPLATES = {
    "dedup": "dedup.yaml",
    "fuzzy": "fuzzy.yaml",
    "paragraphs": "paragraphs.yaml",
    "label": "label.yaml",
    "nightly": "nightly.yaml",
    "fineweb": "web/fineweb.yaml",
    "c4": "web/c4.yaml",
    "dclm": "web/dclm.yaml",
    "common_crawl": "web/common_crawl.yaml",
}
_SOURCES = re.compile(r"^sources:.*\n(?:[ \t].*\n)+", re.MULTILINE)


def template(name: str, file: str, sources: str | None = None) -> str:
    """Return the text of a template as a recipe of its own.

    Args:
        name: A name of TEMPLATES.
        file: The name of the recipe's file, which its comments mention.
        sources: The section `sources` that takes the place of its own; by default its paths start from `data/`.

    Raises:
        RecipeError: There is no such template.
    """
    if name not in TEMPLATES:
        raise RecipeError(f"there is no template {name}{did_you_mean(name, TEMPLATES)}")
    path = TEMPLATES[name]
    lines = shipped(path).splitlines(keepends=True)
    text = "".join(line for line in lines if not _of_the_checkout(line)).replace(f"configs/{path}", file)
    text = re.sub(r"\bconfigs/", "", text).replace('"../data/', '"data/').replace("../store", "./store")
    return text if sources is None else _SOURCES.sub(lambda match: sources, text, count=1)


def shipped(path: str) -> str:
    """Return the text of a file below configs/."""
    return resources.files("gristmill").joinpath("configs", *path.split("/")).read_text(encoding="utf-8")


def _of_the_checkout(line: str) -> bool:
    """Return whether a line of comment is about the folder that a template lies in."""
    return line.startswith("# ") and ("yaml-language-server" in line or "make demo" in line)
