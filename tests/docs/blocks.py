"""The blocks of code in the pages, and the tests that run them.

Every block is run by the test that `RUN_BY` names, or says in a comment directly above it why it is not:

    <!-- not run: it needs a cluster -->

Blocks of the language `text` are no code: what is printed, or a drawing. `test_blocks.py` holds all pages to this.
"""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass
from pathlib import Path

from markdown_it import MarkdownIt

ROOT = Path(__file__).parents[2]
#: By page and language, the tests that run all its blocks which are not marked.
RUN_BY = {
    ("README.md", "bash"): "tests/docs/test_newcomer.py",
    ("README.md", "yaml"): "tests/docs/test_newcomer.py",
    ("README.md", "python"): "tests/docs/test_newcomer.py",
    ("docs/dedup.md", "python"): "tests/docs/test_dedup.py",
    ("docs/dedup.md", "bash"): "tests/docs/test_guides.py",
    ("docs/distilling.md", "bash"): "tests/docs/test_distilling.py",
    ("docs/distilling.md", "yaml"): "tests/docs/test_distilling.py",
    ("docs/labelling.md", "bash"): "tests/docs/test_guides.py",
    ("docs/labelling.md", "python"): "tests/docs/test_guides.py",
    ("docs/mixtures.md", "python"): "tests/docs/test_mixtures.py",
    ("docs/packing.md", "bash"): "tests/pipelines/test_pack_strata.py",
    ("docs/packing.md", "python"): "tests/docs/test_packing.py",
    ("docs/python.md", "python"): "tests/docs/test_python.py",
    ("docs/python.md", "toml"): "tests/docs/test_python.py",
    ("docs/reading.md", "python"): "tests/docs/test_reading.py",
    ("docs/reports.md", "bash"): "tests/docs/test_guides.py",
    ("docs/rules.md", "bash"): "tests/docs/test_guides.py",
    ("docs/starting.md", "bash"): "tests/docs/test_guides.py",
    ("docs/store.md", "bash"): "tests/docs/test_guides.py",
    ("docs/versions.md", "bash"): "tests/docs/test_guides.py",
    ("docs/what_if.md", "bash"): "tests/docs/test_newcomer.py",
    ("docs/tutorials/laptop.md", "bash"): "tests/docs/test_tutorials.py",
    ("docs/tutorials/laptop.md", "python"): "tests/docs/test_tutorials.py",
    ("docs/tutorials/warc.md", "bash"): "tests/docs/test_tutorials.py",
    ("docs/tutorials/warc.md", "yaml"): "tests/docs/test_tutorials.py",
    ("docs/tutorials/warc.md", "python"): "tests/docs/test_tutorials.py",
    ("docs/tutorials/classifier.md", "bash"): "tests/docs/test_tutorials.py",
    ("docs/tutorials/classifier.md", "yaml"): "tests/docs/test_tutorials.py",
    ("docs/tutorials/classifier.md", "python"): "tests/docs/test_tutorials.py",
    ("docs/tutorials/kubernetes.md", "bash"): "tests/docs/test_tutorials.py",
    ("docs/tutorials/kubernetes.md", "yaml"): "tests/docs/test_tutorials.py",
}
#: The tests that read YAML of all other pages: recipes, tasks and mixtures, or parts of them.
YAML_BY = "tests/docs/test_blocks.py"


@dataclass(frozen=True)
class Block:
    """A fenced block of a page."""

    page: str
    line: int
    heading: str  #: that it stands below
    language: str
    text: str
    mark: str | None  #: the reason why it is not run
    title: str | None  #: the name of the file that it is

    @property
    def name(self) -> str:
        """The place of the block, as an editor opens it."""
        return f"{self.page}:{self.line}"


def pages() -> list[str]:
    """The pages that people read, by their paths in the repository."""
    written = sorted(str(path.relative_to(ROOT)) for path in (ROOT / "docs").rglob("*.md"))
    return ["README.md", "CONTRIBUTING.md", "CHANGELOG.md", "deploy/README.md", *written]


@functools.cache
def blocks(page: str) -> tuple[Block, ...]:
    """All blocks of a page, in their order; one that is set in by four blanks has no language."""
    text = (ROOT / page).read_text()
    lines, found, heading = text.split("\n"), [], ""
    tokens = MarkdownIt("commonmark").parse(text)
    for token, after in zip(tokens, [*tokens[1:], None], strict=True):
        if token.type == "heading_open" and after is not None:
            heading = after.content
        elif token.type in ("fence", "code_block"):
            start = token.map[0] if token.map else 0
            mark = re.fullmatch(r"\s*<!-- not run: (.+) -->", lines[start - 1])
            language, _, rest = token.info.partition(" ")
            title = re.fullmatch(r'title="(.+)"', rest.strip())
            told = (mark[1] if mark else None, title[1] if title else None)
            found.append(Block(page, start + 1, heading, language, token.content, *told))
    return tuple(found)


def code(page: str, language: str) -> list[Block]:
    """The blocks of a page in a language that are not marked: those that the caller has to run."""
    chosen = [block for block in blocks(page) if block.language == language and block.mark is None]
    assert chosen, f"{page} has no block of {language}"
    return chosen
