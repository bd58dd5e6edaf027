"""Shell scripts whose `gristmill` is this process: bash reads them, and no command loads Python anew."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import IO

import pytest
from typer.testing import CliRunner

from gristmill.pipelines.cli.main import app

#: That of the tests, where their `python` and its `activate` are.
ENVIRONMENT = Path(sys.prefix)
#: Hands its arguments to the process that started the shell, prints what that prints, and ends as that ends.
_FUNCTION = r"""
gristmill() {
    printf '%s\0' "$#" "$PWD" "$@" >&"$ASKS"
    local code
    read -r code <&"$TOLD"
    cat "$PRINTED"
    return "$code"
}
"""


def sh(folder: Path, script: str, **variables: str) -> str:
    """What a script prints that bash runs in a folder, line by line until one fails, which none may."""
    asks, asked = os.pipe()
    told, tells = os.pipe()
    printed, result = folder / ".printed", folder / ".result"
    environment = {
        **os.environ,
        "PATH": f"{ENVIRONMENT / 'bin'}{os.pathsep}{os.environ['PATH']}",
        "NO_COLOR": "1",
        **variables,
        "ASKS": str(asked),
        "TOLD": str(told),
        "PRINTED": str(printed),
    }
    with result.open("w+") as output, os.fdopen(asks, "rb") as questions, os.fdopen(tells, "w") as answers:
        shell = subprocess.Popen(
            ["bash", "-e", "-c", _FUNCTION + script],
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            pass_fds=(asked, told),
        )
        os.close(asked)
        os.close(told)
        errors = _answer(questions, answers, printed, variables)
        code = shell.wait()
        said = result.read_text()
    for file in (printed, result):
        file.unlink(missing_ok=True)
    assert code == 0, f"{said[-3000:]}\n{errors[-3000:]}"
    return said


def _answer(questions: IO[bytes], answers: IO[str], printed: Path, variables: dict[str, str]) -> str:
    """Run each command that the shell asks for, until the shell ends: what all of them wrote to standard error."""
    errors = ""
    while count := _field(questions):
        place, *arguments = (_field(questions) for _ in range(int(count) + 1))
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(place)
            done = CliRunner().invoke(app, arguments, env={"NO_COLOR": "1", "COLUMNS": "150", **variables})
        printed.write_text(done.stdout)
        errors += f"+ gristmill {' '.join(arguments)}\n{done.stderr}{done.exception or ''}\n"
        print(done.exit_code, file=answers, flush=True)
    return errors


def _field(stream: IO[bytes]) -> str:
    """The bytes before the next zero, as text; empty at the end of the stream."""
    field = bytearray()
    while (byte := stream.read(1)) not in (b"", b"\0"):
        field += byte
    return field.decode()
