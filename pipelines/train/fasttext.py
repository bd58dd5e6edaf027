"""Training by the fastText library, in a separate process.

The process gets memory that malloc has filled with zeros (glibc's `perturb`): fastText 0.9.3 initialises a tenth of the
input matrix for each thread and leaves the rest uninitialised, so that in a used heap the same training gives another
model every time, or none ("Encountered NaN"). Earlier versions started from zeros. A crash of the library ends
that process only, and its memory is released.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

from gristmill.operators.errors import FatalError, RecipeError

#: Trainings before it is given up.
ATTEMPTS = 4
#: Program that trains as its argument says; it ends when its standard input does, with the process that started it.
_PROGRAM = """
import json, os, sys, threading
threading.Thread(target=lambda: (os.read(0, 1), os._exit(1)), daemon=True).start()
import fasttext
job = json.loads(sys.argv[1])
try:
    fasttext.train_supervised(**job["options"]).save_model(job["model"])
except (ValueError, RuntimeError) as error:
    sys.exit(str(error))
"""

_ZEROED_MEMORY = {"GLIBC_TUNABLES": "glibc.malloc.perturb=255", "MALLOC_PERTURB_": "255"}  # filled with ~255 == 0


@dataclass(frozen=True)
class TrainingArguments:
    """Training arguments of fastText, whose documentation explains each."""

    dim: int
    word_ngrams: int
    epochs: int
    learning_rate: float
    min_count: int
    buckets: int
    seed: int
    threads: int
    loss: str = "softmax"

    def __post_init__(self) -> None:
        """Raise RecipeError for numbers with which fastText would crash or learn nothing."""
        for name in ("dim", "word_ngrams", "epochs", "learning_rate", "min_count", "buckets", "threads"):
            if getattr(self, name) <= 0:
                raise RecipeError(f"{name} is {getattr(self, name)}; it must be more than 0")
        if not 0 <= self.seed < 2**31:
            raise RecipeError(f"seed is {self.seed}; it must be from 0 to 2147483647")


def train_model(lines: Path, model: Path, arguments: TrainingArguments) -> TrainingArguments:
    """Train on a file of lines, each a label and a text; write the model, and return the arguments that it has.

    Where fastText meets NaN, it is tried again at half the rate with the next seed, ATTEMPTS times in all. Raises
    RecipeError where that does not help, FatalError where fastText fails in another way.
    """
    for attempt in range(ATTEMPTS):
        rate = arguments.learning_rate / 2**attempt
        tried = replace(arguments, learning_rate=rate, seed=(arguments.seed + attempt) % 2**31)
        code, said = _attempt(lines, model, tried)
        if code == 0:
            return tried
        if "NaN" not in said:
            raise FatalError(f"fastText failed with exit code {code}: {said or 'it said nothing'}")
    raise RecipeError(
        f"fastText cannot train at learning rate {arguments.learning_rate}, nor at {ATTEMPTS - 1} lower ones down to "
        f"{rate} ({said}); lower it"
    )


def _attempt(lines: Path, model: Path, arguments: TrainingArguments) -> tuple[int, str]:
    """Train once; return the exit code and what was said."""
    options = {
        "input": str(lines),
        "dim": arguments.dim,
        "wordNgrams": arguments.word_ngrams,
        "epoch": arguments.epochs,
        "lr": arguments.learning_rate,
        "minCount": arguments.min_count,
        "bucket": arguments.buckets,
        "seed": arguments.seed,
        "thread": arguments.threads,
        "loss": arguments.loss,
        "verbose": 0,
    }
    command = [sys.executable, "-c", _PROGRAM, json.dumps({"options": options, "model": str(model)})]
    with tempfile.TemporaryFile() as errors:
        environment = {**os.environ, **_ZEROED_MEMORY}
        with subprocess.Popen(command, stdin=subprocess.PIPE, stderr=errors, env=environment) as process:
            process.wait()
        errors.seek(0)
        return process.returncode, errors.read().decode(errors="replace").strip()
