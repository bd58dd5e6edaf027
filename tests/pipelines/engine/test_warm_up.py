"""Compiling kernels before the work: what a run needs, nothing else, in processes that may die."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from gristmill.pipelines.engine import warm_up
from gristmill.pipelines.progress.reporter import Reporter
from tests.test_layout import ROOT

#: Runs the examples of all groups that a run names, then the run; prints kernels that it called with other types.
_PROGRAM = """
import sys
from gristmill.operators.kernels import compiling
from gristmill.operators.kernels.examples import EXAMPLES
from gristmill.pipelines.engine import warm_up

kernels, create = [], compiling.Kernel.__init__
groups = set()
warm_up.compile_missing = lambda names, reporter=None: groups.update(names)
from gristmill.pipelines.shard_tasks import measure
from gristmill.pipelines.stages import prepare
measure.compile_missing = prepare.compile_missing = warm_up.compile_missing
from gristmill.pipelines.cli.main import app

app(["run", sys.argv[1]], standalone_mode=False)

def called():
    modules = [m for name, m in sorted(sys.modules.items()) if name.startswith("gristmill.operators.kernels.")]
    found = {k.function: k for m in modules for k in vars(m).values() if isinstance(k, compiling.Kernel)}
    return {f.__qualname__: {*k._entry.signatures} for f, k in found.items() if k._entry is not None}

run = called()
for module in sys.modules.values():
    for kernel in [k for k in vars(module).values() if isinstance(k, compiling.Kernel)]:
        kernel._entry = None
for name in groups:
    for kernel, arguments in EXAMPLES[name]():
        kernel(*arguments)
examples = called()
print("GROUPS", *sorted(groups))
for name in run:
    if left := run[name] - examples.get(name, set()):
        print("NOT COMPILED BEFORE", name, left)
print("NOT CALLED", *({*examples} - {*run}))
"""


def _reporter() -> tuple[Reporter, io.StringIO]:
    written = io.StringIO()
    return Reporter(Console(file=written, width=200)), written


def test_what_is_compiled_before_is_what_a_run_calls(tmp_path: Path, tokenizer_file: Path) -> None:
    texts = ["A text of some words, which are all here.", "Caf\u00c3\u00a9 au lait\r\nand more of it"] * 3
    lines = [json.dumps({"id": str(i), "text": text}) for i, text in enumerate(texts)]
    (tmp_path / "a.jsonl").write_text("\n".join(lines) + "\n")
    (tmp_path / "recipe.yaml").write_text(
        "version: 1\nname: test\nstore: ./store\nsources: [{name: docs, path: a.jsonl}]\n"
        "transform: [normalize_unicode, {clean_lines: dclm}]\n"
        "measure: [gopher, page_statistics, tokens, language, {importance: {target: a.jsonl, buckets: 64}}]\n"
        "decide: [exact_dedup, fuzzy_dedup, {select: {by: importance, documents: 2}}]\n"
        f"write: {{pack: {tokenizer_file}}}\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM, str(tmp_path / "recipe.yaml")],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    lines = done.stdout.splitlines()
    assert not [line for line in lines if line.startswith("NOT COMPILED BEFORE")]
    (groups,) = (line.split()[1:] for line in lines if line.startswith("GROUPS"))
    measures = [
        "buckets",
        "byte_pairs",
        "estimate_tokens",
        "gopher",
        "hash_normalized_texts",
        "page_statistics",
        "sign_kperm",
    ]
    assert groups == sorted(
        [
            *measures,
            "clean_lines",
            "cleaning",
            "hash_texts",
            "fasttext_reader",
            "language",
            "near_duplicates",
            "noise",
            "packing",
        ]
    )
    (idle,) = (line.split()[2:] for line in lines if line.startswith("NOT CALLED"))
    of_tokens = {"word_table", "may_compose"}
    of_pairs = {"agreements", "bucket_pairs", "first_occurrences", "hash_pairs", "smallest_members"}
    assert {*idle} <= {"uniform", *of_tokens, *of_pairs}


def _children(monkeypatch: pytest.MonkeyPatch, program: str) -> None:
    def start() -> subprocess.Popen[str]:
        pipe = subprocess.PIPE
        return subprocess.Popen([sys.executable, "-c", program], stdin=pipe, stdout=pipe, text=True)

    monkeypatch.setattr(warm_up, "_start", start)


def test_a_process_that_is_killed_takes_only_its_group_along(monkeypatch: pytest.MonkeyPatch) -> None:
    program = "import sys, os\nfor l in sys.stdin:\n  os._exit(9) if 'noise' in l else print(l.strip(), flush=True)"
    _children(monkeypatch, program)
    monkeypatch.setattr(warm_up, "cores", lambda: 2)
    groups = ["noise", "gopher", "buckets", "cleaning"]
    assert sorted(warm_up.compiled(groups)) == ["buckets", "cleaning", "gopher"]


def test_groups_are_compiled_once_and_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    _children(monkeypatch, "import sys\nfor l in sys.stdin: print(l.strip(), flush=True)")
    monkeypatch.setattr(warm_up, "code_folder", lambda: tmp_path)
    monkeypatch.setattr(warm_up, "_DONE", set())
    reporter, written = _reporter()
    warm_up.compile_missing(["noise", "gopher", "gopher"], reporter)
    assert "2 kernel groups, once for this machine" in written.getvalue()
    assert "2 kernel groups in" in written.getvalue()
    monkeypatch.setattr(warm_up, "_DONE", set())  # as another process
    _children(monkeypatch, "raise SystemExit")
    reporter, written = _reporter()
    warm_up.compile_missing(["gopher", "noise"], reporter)
    assert written.getvalue() == ""


def test_a_folder_that_cannot_be_written_to_stops_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(warm_up, "code_folder", lambda: tmp_path / "a file" / "below")
    (tmp_path / "a file").write_text("")
    monkeypatch.setattr(warm_up, "_DONE", set())
    _children(monkeypatch, "raise SystemExit")
    warm_up.compile_missing(["gopher"])


def code_folder_without_a_home(folder: Path) -> Path:
    (folder / "file").write_text("")
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "XDG_CACHE_HOME": str(folder / "file"),
        "TMPDIR": str(folder),
    }
    environment.pop("NUMBA_CACHE_DIR", None)
    program = "from gristmill.operators.kernels.compiling import code_folder; print(code_folder())"
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True)
    return Path(done.stdout.strip())


def test_without_a_home_machine_code_lies_among_temporary_files(tmp_path: Path) -> None:
    own = tmp_path / f"gristmill-{os.getuid()}"
    assert code_folder_without_a_home(tmp_path).parent == own
    assert code_folder_without_a_home(tmp_path).parent == own


def test_machine_code_is_taken_from_no_folder_that_others_can_write_to(tmp_path: Path) -> None:
    others = tmp_path / f"gristmill-{os.getuid()}"
    others.mkdir()
    others.chmod(0o777)
    folder = code_folder_without_a_home(tmp_path)
    assert folder.is_relative_to(tmp_path)
    assert not folder.is_relative_to(others)
