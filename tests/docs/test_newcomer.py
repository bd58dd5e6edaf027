"""What a newcomer does, as it is printed: `make demo`, the recipes where they lie, the README's blocks line by line."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from gristmill.pipelines.cli.main import app
from tests.docs.blocks import code
from tests.docs.shell import ENVIRONMENT, sh

pytestmark = pytest.mark.xdist_group("newcomer")  # the demo is made once


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
    (asked, swept) = code("docs/what_if.md", "bash")  # of configs/quickstart.yaml, which has been run now
    assert "would come" in sh(checkout, asked.text)
    assert "now 50" in sh(checkout, swept.text)
    assert (checkout / "curve.svg").is_file()


def test_the_readme_runs_as_it_is_printed(
    checkout: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    if not (ENVIRONMENT / "bin" / "activate").is_file():
        pytest.skip("the tests do not run in a virtual environment")
    (recipe,) = code("README.md", "yaml")
    (checkout / "recipe.yaml").write_text(recipe.text)
    targets, commands = code("README.md", "bash")
    for line in targets.text.splitlines():
        assert re.fullmatch(r"make (demo|test) +#.*", line)  # the one is the fixture, the other is what runs this
    assert len(targets.text.splitlines()) == 2
    printed = sh(checkout, commands.text)
    assert "rich/rich/__init__.py:inspect" in printed
    assert "now 50" in printed
    assert "all as they were written" in printed
    (reading,) = code("README.md", "python")
    monkeypatch.chdir(checkout)
    capsys.readouterr()
    exec(compile(reading.text, reading.name, "exec"), {"__name__": "__main__"})
    assert re.fullmatch(r"\d+ documents\n", capsys.readouterr().out)
