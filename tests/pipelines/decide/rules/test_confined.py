"""Expressions that take too much: they end, and nothing else does; those that do not are computed as all others."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from gristmill.operators.errors import RecipeError, ShardError
from gristmill.operators.expressions.condition import compile_condition
from gristmill.operators.rules.drop import Drop
from gristmill.pipelines.decide import decide
from gristmill.pipelines.decide.rules import confined
from gristmill.pipelines.engine.local import LocalEngine
from tests.pipelines.decide.fakes import check_rules, documents, split
from tests.test_layout import ROOT

TABLE = pa.table({"w": pa.array(range(100), pa.int64()), "s": [f"{i} é" for i in range(100)]})


def evaluate(text: str) -> list[tuple[Any, ...]]:
    condition = confined.compile_confined(text, TABLE.schema)
    fired = confined.evaluate_confined(condition, TABLE, {})
    here = compile_condition(text, TABLE.schema).evaluate(TABLE, {})
    assert fired.rows.tolist() == here.rows.tolist()
    assert fired.values == here.values
    assert fired.limits == here.limits
    return fired.rows.tolist()


def test_they_say_what_they_would_say_here() -> None:
    assert evaluate("len(repeat(s, 3)) > 9") == list(range(10, 100))
    assert evaluate("list_sum(list_transform([w, 1], lambda x: x * 2)) > 20 or w = 3") == [3, *range(10, 100)]


@pytest.mark.parametrize("text", ["len(repeat('a', 2000000000)) > w", "len(range(1000000000)) > w"])
def test_too_much_memory_ends_the_check(text: str) -> None:
    with pytest.raises(RecipeError, match="takes more than 1 GB of memory to compute"):
        check_rules([Drop(when=text)], TABLE.schema)
    assert evaluate("len(repeat(s, 3)) > 9"), "the next one is computed"


def test_too_much_memory_for_a_shard_ends_the_run(tmp_path: Path) -> None:
    rules = [Drop(when="len(repeat(repeat(id, 100000), tokens)) > 3")]
    with pytest.raises(ShardError, match="takes more than 1 GB of memory to compute"):
        decide(rules, split(documents(60), [30, 30]), LocalEngine(2), str(tmp_path))


def test_too_much_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(confined, "CHECK_SECONDS", 1)
    with pytest.raises(RecipeError, match="takes more than 1 seconds of processor time"):
        confined.compile_confined("levenshtein(repeat('a', 300000), repeat('b', 300000)) > w", TABLE.schema)


def test_mistakes_are_told_as_ever() -> None:
    with pytest.raises(RecipeError, match=r"No function matches .* \(in 'len\(range\(s\)\) > w'\)"):
        confined.compile_confined("len(range(s)) > w", TABLE.schema)
    condition = confined.compile_confined("len(repeat(s, 3)) > 9 or s::int > 3", TABLE.schema)
    with pytest.raises(ShardError, match="cannot be computed for every document: Could not convert string"):
        confined.evaluate_confined(condition, TABLE, {})


def test_a_process_that_ends_while_it_is_asked_is_not_taken_for_one_that_took_too_much() -> None:
    evaluate("len(repeat(s, 3)) > 9")
    (worker,) = confined._PROCESSES._idle
    os.kill(worker._process.pid, signal.SIGSTOP)  # it is alive when it is asked
    threading.Timer(0.3, os.kill, (worker._process.pid, signal.SIGKILL)).start()
    assert evaluate("len(repeat(s, 3)) > 9")


def test_a_process_that_was_killed_is_not_asked_again() -> None:
    evaluate("len(repeat(s, 3)) > 9")
    for worker in confined._PROCESSES._idle:
        os.kill(worker._process.pid, signal.SIGTERM)
        worker._process.wait()
    assert evaluate("len(repeat(s, 3)) > 9")


def test_hard_limits_of_an_ordinary_user_are_kept(tmp_path: Path) -> None:
    """Under `ulimit -t` an ordinary process may lower its limits and never raise them."""
    program = (
        "import pyarrow as pa; from gristmill.pipelines.decide.rules.confined import compile_confined; "
        "print(compile_confined(\"len(repeat('a', 3)) > w\", pa.schema([('w', pa.int64())])).columns)"
    )
    ordinary = ["setpriv", "--bounding-set=-sys_resource"] if os.geteuid() == 0 else []
    command = [*ordinary, "bash", "-c", 'ulimit -t 600; exec "$0" -c "$1"', sys.executable, program]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert "'w'" in done.stdout, done.stderr
