"""Checks of an environment: this Python, its packages and extras, kernels, memory, cores, disks, Ray."""

from __future__ import annotations

import os
import platform
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

from packaging.requirements import Requirement

from gristmill.operators.errors import GristmillError
from gristmill.operators.kernels.compiling import code_folder
from gristmill.operators.kernels.examples import EXAMPLES
from gristmill.pipelines.config.wording import plural
from gristmill.pipelines.engine.local import cores
from gristmill.pipelines.engine.warm_up import compile_missing, missing_groups

#: States of a check: `note` is a fact that needs nothing done, `wrong` stops a run.
State = Literal["ok", "note", "warning", "wrong"]
#: What each extra is for; their packages are those of the installed gristmill.
EXTRAS = {
    "s3": "s3:// URLs",
    "gcs": "gs:// URLs",
    "hf": "hf:// URLs",
    "tokenizers": "exact tokens, packing",
    "web": "pages to text, languages",
    "pii": "telephone numbers",
    "lm": "labelling by a model of your own (torch, transformers)",
    "vllm": "labelling by vLLM; needs a GPU",
    "delta": "datasets export --format delta",
    "lance": "datasets export --format lance",
    "plot": "curves as PNG",
    "cluster": "runs submitted to a Ray cluster",
    "otel": "OpenTelemetry spans of commands and stages",
    "ui": "`gristmill ui`, a store in a browser",
    "datasketch": "index export for online look-ups",
}
#: Bytes below which a check warns, and below which a run is likely to fail.
_MEMORY = (2 << 30, 1 << 30)
_DISK = (5_000_000_000, 500_000_000)
_TESTED = ((3, 11), (3, 13))


@dataclass(frozen=True)
class Check:
    """One check: what was looked at, what was found, what to do about it."""

    area: str
    name: str
    state: State
    found: str
    remedy: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return asdict(self)


def attempted(area: str, name: str, check: Callable[[], Iterable[Check]]) -> Iterator[Check]:
    """Yield the results of a check; an error of what it looks at is a result, too."""
    try:
        yield from check()
    except (GristmillError, OSError, ImportError, ValueError) as error:
        yield Check(area, name, "wrong", str(error) or type(error).__name__)


def environment(compile_kernels: bool = False) -> Iterator[Check]:
    """Yield the checks of this machine and of what is installed on it; with `compile_kernels` all are compiled."""
    yield _python()
    yield from _packages()
    yield from attempted("environment", "kernels", lambda: [_kernels(compile_kernels)])
    yield from _memory()
    yield _cores()
    yield disk("environment", "temporary files", tempfile.gettempdir())
    yield from attempted("environment", "ray", lambda: [_ray()])
    yield from extras()


def _python() -> Check:
    version = sys.version_info[:2]
    found = f"{platform.python_version()} ({sys.executable})"
    low, high = (".".join(map(str, bound)) for bound in _TESTED)
    if version < _TESTED[0]:
        return Check("environment", "python", "wrong", found, f"install Python {low} to {high}")
    if version > _TESTED[1]:
        return Check("environment", "python", "warning", found, f"tested with {low} to {high}")
    return Check("environment", "python", "ok", found)


def _packages() -> Iterator[Check]:
    try:
        required = [Requirement(line) for line in metadata.requires("gristmill") or ()]
    except metadata.PackageNotFoundError:
        yield Check("environment", "packages", "warning", "gristmill is a folder on the path", "pip install gristmill")
        return
    core = [r for r in required if r.marker is None or r.marker.evaluate({"extra": ""})]
    problems = [problem for requirement in core if (problem := _problem(requirement)) is not None]
    wanted = " ".join(f"'{requirement.name}{requirement.specifier}'" for requirement, _ in problems)
    told = "; ".join(told for _, told in problems)
    if problems:
        yield Check("environment", "packages", "wrong", told, f"pip install {wanted}")
    else:
        found = f"gristmill {metadata.version('gristmill')}, {plural(len(core), 'package')} as it needs them"
        yield Check("environment", "packages", "ok", found)


def extras() -> Iterator[Check]:
    """Yield a check of each extra: whether its packages are installed, and what it is for."""
    for extra, purpose in EXTRAS.items():
        try:
            requirements = _of_extra("gristmill", extra)
        except metadata.PackageNotFoundError:
            return
        yield _extra(extra, purpose, requirements)


def _problem(requirement: Requirement) -> tuple[Requirement, str] | None:
    """Return a requirement that is not met, with what there is instead."""
    try:
        version = metadata.version(requirement.name)
    except metadata.PackageNotFoundError:
        return requirement, f"{requirement.name} is not installed"
    if not requirement.specifier.contains(version, prereleases=True):
        return requirement, f"{requirement.name} is {version}, not {requirement.specifier}"
    for extra in requirement.extras:  # ray[llm]: the packages of the extra, too
        for inner in _of_extra(requirement.name, extra):
            if (problem := _problem(inner)) is not None:
                return requirement, problem[1]
    return None


def _of_extra(package: str, extra: str) -> list[Requirement]:
    """Return the requirements that an installed package has only with an extra."""
    required = [Requirement(line) for line in metadata.requires(package) or ()]
    marked = [(r, r.marker) for r in required if r.marker is not None]
    return [r for r, marker in marked if marker.evaluate({"extra": extra}) and not marker.evaluate({"extra": ""})]


def _extra(extra: str, purpose: str, requirements: list[Requirement]) -> Check:
    problems = [told for requirement in requirements if (told := _problem(requirement)) is not None]
    command = f"pip install 'gristmill[{extra}]'"
    if not problems:
        return Check("extras", extra, "ok", purpose)
    missing = [told for _, told in problems if "not installed" in told]
    if len(missing) == len(problems):
        return Check("extras", extra, "note", purpose, f"not installed; {command}")
    return Check("extras", extra, "warning", f"{purpose}: {'; '.join(told for _, told in problems)}", command)


def _kernels(compiles: bool) -> Check:
    folder = code_folder()
    missing = missing_groups()
    if compiles and missing:
        began = time.monotonic()
        compile_missing(EXAMPLES)
        left, seconds = missing_groups(), time.monotonic() - began
        found = f"{plural(len(missing) - len(left), 'group')} compiled in {seconds:.1f} s, in {folder}"
        return Check("environment", "kernels", "warning" if left else "ok", found)
    found = f"{len(EXAMPLES) - len(missing)} of {plural(len(EXAMPLES), 'group')} compiled, in {folder}"
    if Path(tempfile.gettempdir()) in folder.parents and not os.environ.get("NUMBA_CACHE_DIR"):
        remedy = "the user's cache cannot be written: set NUMBA_CACHE_DIR to a folder that stays"
        return Check("environment", "kernels", "warning", found, remedy)
    return Check("environment", "kernels", "ok", found + (" (the others when a run needs them)" if missing else ""))


def _memory() -> Iterator[Check]:
    available, whose = _available_memory()
    if available is not None:
        found = f"{available / 1e9:.1f} GB free {whose}"
        state: State = "wrong" if available < _MEMORY[1] else "warning" if available < _MEMORY[0] else "ok"
        yield Check(
            "environment", "memory", state, found, "" if state == "ok" else "give it more, or run with fewer --workers"
        )
    try:
        import resource
    except ImportError:
        return
    allowed = resource.getrlimit(resource.RLIMIT_AS)[0]
    if allowed != resource.RLIM_INFINITY:
        yield Check("environment", "address space", "note", f"limited to {allowed / 1e9:.1f} GB")  # no command has less


def _available_memory() -> tuple[int | None, str]:
    """Return the bytes that this process may still take, and by whose account."""
    machine: int | None = None
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        machine = next((int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable")), None)
    except OSError:
        pass
    limit, used = _control("memory.max"), _control("memory.current")
    if limit is not None and used is not None and (machine is None or limit - used < machine):
        return limit - used, f"of the container's {limit / 1e9:.1f} GB"
    return machine, "on this machine"


def _control(name: str) -> int | None:
    """Return a number of the container's control group (cgroup v2); None where there is no limit."""
    try:
        value = Path("/sys/fs/cgroup", name).read_text().split()[0]
    except (OSError, IndexError):
        return None
    return int(value) if value.isdecimal() else None


def _cores() -> Check:
    count = cores()
    quota = _quota()
    if quota is not None and quota < count:
        remedy = f"--workers {max(1, int(quota))}: more threads than processor time wait for each other"
        return Check("environment", "cores", "warning", f"{count}, of which the container may use {quota:g}", remedy)
    return Check("environment", "cores", "ok", str(count))


def _quota() -> float | None:
    try:
        limit, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
    except (OSError, ValueError):
        return None
    return int(limit) / int(period) if limit.isdecimal() else None


def disk(area: str, name: str, folder: str) -> Check:
    """Return the check of the room on the disk of a local folder, or of the nearest one that is there."""
    path = Path(folder).absolute()
    while not path.exists():
        path = path.parent
    free = shutil.disk_usage(path).free
    state: State = "wrong" if free < _DISK[1] else "warning" if free < _DISK[0] else "ok"
    if not os.access(path, os.W_OK):
        return Check(area, name, "wrong", f"{path} may not be written", "give this user the right to, or name another")
    return Check(
        area,
        name,
        state,
        f"{free / 1e9:.1f} GB free in {path}",
        "" if state == "ok" else "make room, or name another disk",
    )


def _ray() -> Check:
    from gristmill.pipelines.engine.ray_data import ADDRESS, RayEngine

    version = metadata.version("ray")
    address = os.environ.get(ADDRESS)
    if not address:
        return Check(
            "environment", "ray", "ok", f"{version}; {ADDRESS} is not set, so runs use threads of this machine"
        )
    engine = RayEngine()  # Ray refuses other versions of itself and of Python
    try:
        return Check(
            "environment",
            "ray",
            "ok",
            f"{version}; the cluster at {address} answers, with {plural(engine.workers, 'core')}",
        )
    finally:
        engine.close()
