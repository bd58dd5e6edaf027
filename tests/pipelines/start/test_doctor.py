"""`gristmill doctor`: every check of a healthy place holds, and each fault is named with its remedy."""

from __future__ import annotations

import json
import os
import time
import tomllib
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from typer.testing import CliRunner

from gristmill.pipelines.cli.main import app
from gristmill.pipelines.start import checks, store_checks
from gristmill.pipelines.start.checks import Check
from gristmill.pipelines.storage import files
from gristmill.pipelines.store.lock import owner_of, writer_lock
from tests.pipelines.label.endpoint import endpoint
from tests.test_layout import ROOT


def doctor(*arguments: str | Path, code: int = 0) -> dict[str, dict[str, Any]]:
    """The checks by area and name."""
    done = CliRunner().invoke(app, ["doctor", *map(str, arguments), "--json"])
    assert done.exit_code == code, done.output
    return {f"{check['area']} {check['name']}": check for check in json.loads(done.stdout)}


def one(found: Any, name: str) -> Check:
    return next(check for check in found if check.name == name)


def test_a_healthy_place(corpus: Path, make_recipe: Callable[..., Path]) -> None:
    before = sorted(corpus.rglob("*"))
    found = doctor(make_recipe(corpus, file="recipe.yaml"))
    states = {check["state"] for check in found.values()}
    assert states <= {"ok", "note"} or found["environment memory"]["state"] == "warning"
    assert "4 files" in found["recipe source docs"]["found"]
    assert found["store exclusive creation"]["state"] == found["store lock"]["state"] == "ok"
    assert sorted(set(corpus.rglob("*")) - set(before)) == [corpus / "recipe.yaml"], "nothing is left behind"
    printed = CliRunner().invoke(app, ["doctor"]).output
    assert "python" in printed
    assert "pip install 'gristmill[" in printed


def test_every_extra_is_explained() -> None:
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert {*declared} - {"test", "lint", "docs", "browser"} == {*checks.EXTRAS}
    states = {check.name: check.state for check in checks.extras()}
    for extra in checks.EXTRAS:
        names = [Requirement(line).name for line in declared[extra]]
        installed = all(any(True for _ in metadata.distributions(name=name)) for name in names)
        assert states[extra] == "ok" if installed and extra != "vllm" else states[extra] != "wrong", extra


def test_packages_out_of_bounds_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    real = metadata.version
    monkeypatch.setattr(metadata, "version", lambda name: "0.1" if name == "duckdb" else real(name))
    check = one(checks.environment(), "packages")
    assert (check.state, check.found) == ("wrong", "duckdb is 0.1, not >=2.0")
    assert check.remedy == "pip install 'duckdb>=2.0'"


def test_who_holds_the_store(tmp_path: Path) -> None:
    store = str(tmp_path / "store")
    assert owner_of(store) is None
    with writer_lock(store):
        check = one(store_checks.store(store), "lock")
        assert (check.state, check.found) == ("warning", f"process {os.getpid()} on {os.uname().nodename} writes to it")
    lock = tmp_path / "store" / "LOCK" / "00000001"
    with writer_lock(store):
        content = next(lock.parent.iterdir()).read_bytes()
    lock.parent.mkdir(parents=True, exist_ok=True)
    lock.write_bytes(content)  # of a process that did not live to release it
    assert "which is gone" in one(store_checks.store(store), "lock").found


def test_a_store_that_may_not_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    found = list(store_checks.store(str(tmp_path / "file" / "store")))
    assert one(found, "reachable").state in ("ok", "wrong")
    assert all(check.found for check in found)


def test_two_writers_of_a_store_that_cannot_tell_them_apart(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def create(url: str, content: bytes) -> bool:
        files.write_bytes(url, content)
        return True

    monkeypatch.setattr(store_checks.exclusive, "create", create)
    check = one(store_checks.store(str(tmp_path)), "exclusive creation")
    assert check.state == "wrong"
    assert "conditional puts" in check.remedy
    assert not [*tmp_path.iterdir()]


@pytest.mark.parametrize(("seconds", "state"), [(0, "ok"), (-300, "warning"), (3600, "wrong")])
def test_clocks_apart(seconds: float, state: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_checks, "_written", lambda url: time.time() + seconds)
    check = one(store_checks.store(str(tmp_path)), "clock")
    assert check.state == state
    assert seconds == 0 or f"{abs(seconds):.0f} s apart" in check.found


def test_a_recipe_with_faults(corpus: Path, make_recipe: Callable[..., Path]) -> None:
    recipe = make_recipe(corpus, decide=["exact_dedup"], store="${GRISTMILL_NO_STORE}")
    assert "GRISTMILL_NO_STORE is not set" in doctor(recipe, code=1)["recipe file"]["found"]
    gone = doctor(make_recipe(corpus, sources=[{"name": "docs", "path": "nowhere/*"}]), code=1)
    assert "nothing matches" in gone["recipe plan"]["found"]


def test_endpoints_of_tasks(corpus: Path, make_recipe: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    task = {"name": "api", "engine": "http", "base_url": "${LABEL_URL}", "model": "m"}
    (corpus / "task.yaml").write_text(
        json.dumps(
            {"version": 1, "name": "t", "instruction": "Rate it.", "answer": {"scale": [0, 5]}, "annotators": [task]}
        )
    )
    recipe = make_recipe(corpus, label=["task.yaml"])
    monkeypatch.delenv("LABEL_URL", raising=False)
    found = doctor(recipe)
    assert found["recipe task t"]["state"] == "warning"
    monkeypatch.setenv("LABEL_URL", "http://127.0.0.1:9/v1")
    assert "does not answer" in doctor(recipe, "--endpoints", code=1)["recipe endpoint api"]["found"]
    with endpoint() as server:
        monkeypatch.setenv("LABEL_URL", server.url)
        assert doctor(recipe, "--endpoints")["recipe endpoint api"]["state"] in ("ok", "note")
