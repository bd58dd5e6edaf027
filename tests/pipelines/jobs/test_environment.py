"""The runtime environment of a job, as Ray checks it, and the options of the command."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest
from ray.runtime_env import RuntimeEnv
from typer.testing import CliRunner, Result

from gristmill.operators.errors import RecipeError
from gristmill.pipelines.cli.main import app
from gristmill.pipelines.jobs.environment import build_wheel, read_environment, with_requirements, with_variables

ROOT = Path(__file__).parents[3]


def submit(*arguments: str | Path, code: int = 2) -> Result:
    """`gristmill submit` without a cluster, which ends with this code."""
    result = CliRunner().invoke(
        app, ["submit", *map(str, arguments)], env={"COLUMNS": "200", "RAY_API_SERVER_ADDRESS": ""}
    )
    assert result.exit_code == code, result.output
    return result


def test_variables_go_by_name_with_their_value_here(tmp_path: Path) -> None:
    file = tmp_path / "env.yaml"
    file.write_text("env_vars: {AWS_PROFILE: curation, REGION: a}\n")
    environment = with_variables(read_environment(str(file)), ["REGION", "A=b=c"], {"REGION": "eu", "OTHER": "x"})
    assert environment["env_vars"] == {"AWS_PROFILE": "curation", "REGION": "eu", "A": "b=c"}
    RuntimeEnv(**environment)
    assert with_variables({}, []) == {}
    with pytest.raises(RecipeError, match="--env NOWHERE: there is no such variable here"):
        with_variables({}, ["NOWHERE"], {})


@pytest.mark.slow
def test_a_wheel_of_the_checkout_travels_with_the_recipe(tmp_path: Path) -> None:
    (tmp_path / "built").mkdir()
    (tmp_path / "sent").mkdir()
    wheel = build_wheel(tmp_path / "built")
    with zipfile.ZipFile(wheel) as archive:
        assert "gristmill/pipelines/jobs/environment.py" in archive.namelist()
    assert {path.name for path in (tmp_path / "built").iterdir()} == {"checkout", Path(wheel).name}
    environment = with_requirements({}, [wheel, "s3fs>=2025.3"], tmp_path / "sent")
    name = Path(wheel).name
    assert environment == {"pip": [f"${{RAY_RUNTIME_ENV_CREATE_WORKING_DIR}}/{name}", "s3fs>=2025.3"]}
    assert [path.name for path in (tmp_path / "sent").iterdir()] == [name]
    RuntimeEnv(**environment)


@pytest.mark.parametrize(
    ("written", "told"),
    [
        ("[1]", "a runtime environment is a mapping"),
        ("env_vars: 3", "a runtime environment is a mapping"),
        ("working_dir: .", "leave working_dir out"),
    ],
)
def test_an_environment_that_is_none_is_refused(tmp_path: Path, written: str, told: str) -> None:
    (tmp_path / "env.yaml").write_text(written)
    with pytest.raises(RecipeError, match=told):
        read_environment(str(tmp_path / "env.yaml"))


def test_requirements_come_from_one_place(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="has conda already"):
        with_requirements({"conda": "x"}, ["a"], tmp_path)
    with pytest.raises(RecipeError, match="there is no such file"):
        with_requirements({}, ["gone.whl"], tmp_path)


def test_the_environment_of_deploy_is_one() -> None:
    environment = read_environment(str(ROOT / "deploy" / "runtime_env.yaml"))
    RuntimeEnv(**environment)
    assert not any("KEY" in name or "SECRET" in name or "TOKEN" in name for name in environment["env_vars"])


def test_what_is_wrong_is_told_before_anything_is_sent(tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("version: 1\nname: t\nstore: s3://b/s\nsources: [{name: d, path: 's3://b/d/*'}]\nwrite: {}\n")
    assert "--address is missing" in submit(recipe).stderr
    assert "is not the URL of a dashboard" in submit(recipe, "--address", "ray://localhost:10001").stderr
    assert "No such option" in submit(recipe, "--address", "http://localhost:1", "--", "--workrs", "3").stderr
    assert "No such option" in submit(recipe, "--address", "http://localhost:1", "--", "--date", "2026-11-30").stderr
    wrong = submit(recipe, "--address", "http://localhost:1", "--", "--set", "decide=[exact_dedupe]").stderr
    assert "did you mean exact_dedup" in wrong
    unanswered = submit(recipe, "--address", "http://localhost:1", "--refresh", "--", "--date", "2026-11-30", code=1)
    assert "nothing answers at http://localhost:1" in unanswered.stderr
