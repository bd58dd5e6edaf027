"""The checkout in which a newcomer has called `make demo`, which tests of several pages share."""

from __future__ import annotations

import re
import shutil
import sys
from pathlib import Path

import pytest

from tests.docs.blocks import ROOT
from tests.docs.shell import ENVIRONMENT, sh
from tests.support import copy_package


@pytest.fixture(scope="session")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fresh checkout in which `make demo` has run, over a few packages."""
    folder = tmp_path_factory.mktemp("checkout")
    shutil.copytree(
        ROOT / "configs", folder / "configs", ignore=shutil.ignore_patterns("data", "store", "target", "models")
    )
    (folder / ".venv").symlink_to(ENVIRONMENT)
    for name in ("typer", "rich", "numpy"):
        copy_package(name, folder / "site-packages")
    recipe = folder / "configs" / "demo" / "harvest.yaml"
    recipe.write_text(recipe.read_text().replace("path: auto", f"path: {folder}/site-packages"))
    recipe = folder / "configs" / "demo" / "curate.yaml"
    recipe.write_text(re.sub(r"documents: \d+", "documents: 50", recipe.read_text()))
    (folder / "printed.txt").write_text(sh(folder, demo_commands()))
    return folder


def demo_commands() -> str:
    """The shell commands of the Makefile's target `demo`."""
    text = (ROOT / "Makefile").read_text().replace("\\\n", " ")
    target = re.search(r"^demo:.*\n((?:\t.*\n)+)", text, re.MULTILINE)
    assert target
    commands = target[1].replace("$(BIN)/gristmill", "gristmill").replace("$(BIN)/python", sys.executable)
    return commands.replace("\t", "").replace("$$", "$")
