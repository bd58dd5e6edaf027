"""The runtime environment of a job: its variables, and what is installed for it on the nodes."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import gristmill
from gristmill.operators.errors import FatalError, RecipeError
from gristmill.pipelines.config import located_yaml
from gristmill.pipelines.config.yaml_file import read_text

_BUILT_OF = ("pyproject.toml", "README.md", "LICENSE", "gristmill", "operators", "pipelines")
#: Ray replaces it, in requirements, by the folder that was sent.
_SENT = "${RAY_RUNTIME_ENV_CREATE_WORKING_DIR}"


def read_environment(file: str) -> dict[str, Any]:
    """Return the runtime environment of a YAML file, as Ray takes it. Raises RecipeError where it is none."""
    text = read_text(file, "runtime environment", "--runtime-env takes the path of a YAML file")
    value = located_yaml.load(text, file).value
    if not isinstance(value, dict) or not isinstance(value.get("env_vars", {}), dict):
        raise RecipeError(f"{file}: a runtime environment is a mapping, such as env_vars: {{AWS_PROFILE: curation}}")
    if "working_dir" in value:
        raise RecipeError(f"{file}: leave working_dir out: it is what gristmill sends, the recipe and what it names")
    return value


def with_variables(
    environment: Mapping[str, Any], given: Sequence[str], here: Mapping[str, str] = os.environ
) -> dict[str, Any]:
    """Return the runtime environment with variables, each `NAME`, which takes its value here, or `NAME=VALUE`.

    Raises RecipeError where a variable is not set here.
    """
    variables = dict(environment.get("env_vars", {}))
    for entry in given:
        name, has_value, value = entry.partition("=")
        if not has_value and name not in here:
            raise RecipeError(f"--env {name}: there is no such variable here; set it, or write --env {name}=VALUE")
        variables[name] = value if has_value else here[name]
    return {**environment, "env_vars": variables} if variables else dict(environment)


def with_requirements(environment: Mapping[str, Any], given: Sequence[str], folder: Path) -> dict[str, Any]:
    """Return the runtime environment with what pip installs on the nodes; wheels that are files here go to `folder`.

    Raises RecipeError where a wheel does not exist, or the environment has requirements of its own.
    """
    if not given:
        return dict(environment)
    if clash := {"pip", "conda", "uv"} & {*environment}:
        raise RecipeError(f"--pip: the runtime environment has {clash.pop()} already; write all requirements there")
    requirements = []
    for requirement in given:
        if requirement.endswith(".whl") and "://" not in requirement:
            if not os.path.isfile(requirement):
                raise RecipeError(f"--pip {requirement}: there is no such file")
            shutil.copy(requirement, folder)
            requirement = f"{_SENT}/{os.path.basename(requirement)}"
        requirements.append(requirement)
    return {**environment, "pip": requirements}


def build_wheel(folder: Path) -> str:
    """Build a wheel of the checkout that this process runs from, in an empty folder; return its path.

    Raises RecipeError where gristmill runs from an installation, FatalError where pip fails.
    """
    root, copy = Path(gristmill.__file__).parents[1], folder / "checkout"
    if not (root / "pyproject.toml").is_file():
        asked = f"--pip gristmill=={gristmill.__version__}"
        raise RecipeError(f"--wheel: gristmill runs from an installation, {root}, not from a checkout; {asked} instead")
    copy.mkdir()
    for name in _BUILT_OF:  # a build leaves files behind, which the next one would take up
        if (root / name).is_dir():
            shutil.copytree(root / name, copy / name, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(root / name, copy / name)
    line = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(folder), str(copy)]
    built = subprocess.run(line, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    wheels = [*folder.glob("gristmill-*.whl")]
    if built.returncode or len(wheels) != 1:
        raise FatalError(f"--wheel: pip cannot build {root}: {built.stdout.strip()[-1000:]}")
    return str(wheels[0])
