"""What a newcomer does, as it is printed: `make demo`, the recipes where they lie, the README's blocks line by line."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from gristmill.pipelines.cli.main import app
from tests.pipelines.label.endpoint import endpoint
from tests.support import copy_package

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
#: Those of the environment that the tests run in, where its `activate` is.
ENVIRONMENT = Path(sys.prefix)
pytestmark = pytest.mark.xdist_group("newcomer")  # the demo is made once


def sh(folder: Path, script: str, **variables: str) -> str:
    """What a script prints that bash runs in a folder, line by line until one fails, which none may."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "NO_COLOR": "1", **variables}
    command = ["bash", "-ex", "-c", script]
    done = subprocess.run(
        command, cwd=folder, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True
    )
    assert done.returncode == 0, f"{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return done.stdout


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
    run = f"{sys.executable} -m gristmill"
    commands = target[1].replace("$(BIN)/gristmill", run).replace("$(BIN)/python", sys.executable)
    return commands.replace("\t", "").replace("$$", "$")


def test_the_demo_can_be_believed(checkout: Path) -> None:
    printed = (checkout / "printed.txt").read_text()
    assert printed.count("dropped by") == 5, "--examples 5"
    assert "is that meant?" not in printed, "the demo's rules say what they take"
    assert "length alone tells" not in printed
    assert "a few weights outweigh all others" not in printed
    assert re.search(r"select: effective sample size .* before, \d\d[\d,.]* after", printed)
    report = json.loads((checkout / "demo" / "quality.bin.report.json").read_text())
    assert 0.6 < report["auc"] < 1
    assert 0.3 < report["length_auc"] < 0.7, "the classifier cannot get by on length"
    datasets = {path.name for path in (checkout / "demo" / "store" / "datasets").iterdir()}
    assert datasets == {"python_env", "explained", "reference", "numeric", "demo"}


def test_recipes_run_where_they_lie(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("LABEL_URL", "LABEL_KEY", "LABEL_MODEL"):
        monkeypatch.delenv(name, raising=False)
    for recipe in sorted((checkout / "configs").glob("*.yaml")):
        head = recipe.read_text().partition("\nversion:")[0]
        assert "make demo" in head, "it says where its files come from"
        command = "plan" if "LABEL_URL" in head else "run --quiet"
        done = CliRunner().invoke(app, [*command.split(), str(recipe)])
        if "gristmill loop" in head:  # a model's answers make its student
            assert done.exit_code == 2
            assert "edu.bin" in done.output
            continue
        assert done.exit_code == 0, done.output
        expected = "LABEL_URL, LABEL_KEY, LABEL_MODEL" if command == "plan" else "kept"
        assert expected in " ".join(done.stdout.split())


def test_the_readme_runs_as_it_is_printed(checkout: Path) -> None:
    if not (ENVIRONMENT / "bin" / "activate").is_file():
        pytest.skip("the tests do not run in a virtual environment")
    recipe, task = re.findall(r"```yaml\n(.*?)```", README, re.DOTALL)
    (checkout / "recipe.yaml").write_text(recipe)
    (checkout / "edu.yaml").write_text(task)
    targets, *blocks = re.findall(r"```bash\n(.*?)```", README, re.DOTALL)
    for line in targets.splitlines():
        assert re.fullmatch(r"make (demo|test) +#.*", line)  # the one is the fixture, the other is what runs this
    with endpoint(answers={"array": "4", "return": "1", "class": "3", "a": "2"}) as server:
        keys = {"LABEL_URL": server.url, "LABEL_KEY": "sesame"}
        printed = sh(checkout, "".join(blocks), **keys)
    assert "rich/rich/__init__.py:inspect" in printed
    assert (checkout / "labels.parquet").is_file()
    assert (checkout / "best.parquet").is_file()
    assert (checkout / "models" / "edu.bin").is_file()
    assert (checkout / "models" / "quality.bin").is_file()
