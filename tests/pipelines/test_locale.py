"""Consoles that know ASCII only: every command prints what is not, into a pipe, and ends as it would elsewhere."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import sentences, write_jsonl

ROOT = Path(__file__).parents[2]
SMALL = ["--dim", "4", "--buckets", "1000", "--min-count", "1", "--holdout", "0.3"]
#: The commands, each with its exit code: all in one process, since most of a process is imports.
COMMANDS: list[tuple[int, list[str]]] = [
    (0, ["init", "dätä", "--out", "nëw.yaml", "--text", "text", "--want", "dedup"]),
    (2, ["init", "dätä", "--out", "nëw.yaml"]),
    (2, ["init", "nö", "--out", "öther.yaml"]),
    (0, ["plan", "nëw.yaml"]),
    (0, ["doctor", "récipe.yaml"]),
    (1, ["doctor", "nö.yaml"]),
    (0, ["plan", "récipe.yaml"]),
    (0, ["run", "récipe.yaml", "--examples", "3"]),
    (0, ["run", "récipe.yaml", "-q"]),
    (2, ["run", "nö.yaml"]),
    (2, ["run", "récipe.yaml", "--set", "sources.quëlle.path=文"]),
    (0, ["explain", "dük-3 ☃", "--store", "störe"]),
    (2, ["explain", "nön", "--store", "störe"]),
    (0, ["clusters", "--store", "störe"]),
    (0, ["report", "--store", "störe"]),
    (2, ["report", "nön", "--store", "störe"]),
    (0, ["query", "FROM documents", "--store", "störe"]),
    (0, ["query", "FROM quarantine", "--store", "störe"]),
    (0, ["query", "FROM documents", "--store", "störe", "--json"]),
    (2, ["query", "FRÖM documents", "--store", "störe"]),
    (0, ["verify", "--store", "störe"]),
    (0, ["datasets", "list", "--store", "störe"]),
    (0, ["datasets", "show", "test", "1", "--store", "störe"]),
    (0, ["datasets", "card", "test", "--store", "störe"]),
    (2, ["datasets", "tag", "test", "märz", "--store", "störe"]),
    (2, ["submit", "récipe.yaml", "--address", "http://localhost:1"]),
    (2, ["submit", "récipe.yaml", "--address", "http://löcalhost:1", "--", "--wörkers", "3"]),
    (0, ["operators"]),
    (0, ["operators", "gopher"]),
    (2, ["operators", "göpher"]),
    (0, ["index", "info", "web", "--store", "störe"]),
    (0, ["index", "remove", "web", "--source", "quëlle", "--store", "störe"]),
    (2, ["labels", "info", "--store", "störe"]),
    (0, ["train", "quality", "--positive", "a/*", "--negative", "b/*", "--out", "mödel.bin", *SMALL]),
    (0, ["--version"]),
    (0, ["run", "--help"]),
]
PROGRAM = """
import json, sys
from gristmill.pipelines.cli import main as cli

for expected, arguments in json.loads(sys.argv[1]):
    sys.argv = ["gristmill", *arguments]
    try:
        cli.main()
    except SystemExit as ended:
        assert ended.code == expected, (arguments, ended.code)
"""
RECIPE = """
version: 1
name: test
store: ./störe
sources: [{name: "quëlle", path: "dätä/*.jsonl", metadata: [kind]}]
decide: [{drop: {when: "gopher_words < 5", name: "kürz"}}, exact_dedup, {fuzzy_dedup: {index: {name: web}}}]
write: {}
"""


@pytest.mark.parametrize("encoding", [pytest.param("", marks=pytest.mark.slow), "ascii"])
def test_every_command_prints_to_a_console_of_ascii(tmp_path: Path, encoding: str) -> None:
    rows = [
        {"id": f"dük-{i} ☃", "text": f"the {sentences(i % 30, 60)} ſtraße 文 {i % 4}", "kind": "ä"} for i in range(50)
    ]
    write_jsonl(tmp_path / "dätä" / "dö.jsonl", [*rows, {"id": "bäd", "text": 5}])
    for kind, first in (("a", 0), ("b", 1000)):
        examples = [{"id": f"{kind} ☃ {i}", "text": sentences(first + i, 9) + "文"} for i in range(60)]
        write_jsonl(tmp_path / kind / "x.jsonl", examples)
    (tmp_path / "récipe.yaml").write_text(RECIPE, "utf-8")
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, json.dumps(COMMANDS)],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT), "LC_ALL": "C", "PYTHONIOENCODING": encoding},
        capture_output=True,
        timeout=600,
    )
    said = (done.stdout + done.stderr).decode("utf-8")
    assert done.returncode == 0, said[-3000:]
    assert "unexpected" not in said
    assert "Traceback" not in said
    assert ("dük-3 ☃" if not encoding else "d\\xfck-3 \\u2603") in said
    assert encoding != "ascii" or said.isascii()
