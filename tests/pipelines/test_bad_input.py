"""Bad input through the whole command line: what is kept, what is said, how the command ends.

Every file holds eight good documents with something bad after the third of them, on line 4.
"""

from __future__ import annotations

import gzip
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from gristmill.operators.kernels.compiling import code_folder
from gristmill.pipelines.cli.main import app
from gristmill.pipelines.report.explain import explain
from gristmill.pipelines.report.query import query

MakeRecipe = Callable[..., Path]
ROOT = Path(__file__).parents[2]
GOOD = [{"id": f"good-{i}", "text": f"The {name} document is good."} for i, name in enumerate("abcdefgh")]
#: The superuser may read everything: once all modules are loaded, the process becomes another user's. What loading
#: them writes is for all users.
#: Runs the command line as a user of no rights, after a run that loads what it may not be able to load as that user.
BECOME_NOBODY = """
import contextlib, io, os, tempfile
from pathlib import Path
import gristmill.pipelines.cli.main

os.umask(0)
here = os.getcwd()
with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
    os.chdir(folder)
    Path("a.jsonl").write_text('{"text": "some text"}')
    sources = "sources: [{name: docs, path: a.jsonl, format: jsonl}]"
    Path("recipe.yaml").write_text(f"version: 1\\nname: first\\nstore: store\\n{sources}\\nwrite: {{}}\\n")
    gristmill.pipelines.cli.main.app(["run", "recipe.yaml", "-q"], standalone_mode=False)
    os.chdir(here)
if os.geteuid() == 0:
    os.setgroups([]), os.setgid(65534), os.setuid(65534)
gristmill.pipelines.cli.main.main()
"""


class Ended(NamedTuple):
    """How a command ended."""

    code: int
    out: str
    err: str


def gristmill(*arguments: str | Path) -> Ended:
    """The command line, in this process."""
    done = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert "Traceback" not in done.output
    return Ended(done.exit_code, done.stdout, done.stderr)


def lines(*records: Any) -> bytes:
    """Records as JSON lines; bytes are lines as they are."""
    return b"".join((r if isinstance(r, bytes) else json.dumps(r).encode()) + b"\n" for r in records)


@pytest.fixture
def folder(tmp_path: Path, make_recipe: MakeRecipe) -> Path:
    """A folder with a recipe that keeps all documents of data/, and one good file."""
    make_recipe(
        tmp_path,
        sources=[{"name": "docs", "path": "data/*"}],
        write={"columns": ["id", "text", "bytes"]},
    )
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "a.jsonl").write_bytes(lines({"id": "neighbour", "text": "This file is good."}))
    return tmp_path


def kept(folder: Path) -> list[str]:
    """Ids in the dataset's current version, sorted; none where there is no dataset."""
    dataset = folder / "store" / "datasets" / "test"
    if not (dataset / "CURRENT").exists():
        return []
    version = dataset / (dataset / "CURRENT").read_text().strip()
    return sorted(pq.read_table(sorted(version.glob("*.parquet")), columns=["id"])["id"].to_pylist())


ALL_GOOD = sorted(["neighbour", *(document["id"] for document in GOOD)])
BAD_RECORDS = {
    "no JSON": (b'{"id": "bad", "text": "cut', "malformed", "this is not JSON"),
    "not an object": (b'["text"]', "not_an_object", "expected a JSON object, found an array"),
    "invalid UTF-8": (
        b'{"id": "bad", "text": "caf\xe9"}',
        "invalid_utf8",
        r"byte 26 of the line \(0xe9\) is not UTF-8",
    ),
    "raw NUL byte": (b'{"id": "bad", "text": "a\x00b"}', "nul_character", "NUL byte at byte 24"),
    "escaped NUL": (rb'{"id": "bad", "text": "a\u0000b"}', "nul_character", r"NUL character \(U\+0000\) at byte 1"),
    "lone surrogate": (rb'{"id": "bad", "text": "a\ud800b"}', "lone_surrogate", "half of a UTF-16 surrogate pair"),
    "missing field": (b'{"id": "bad", "txt": "x"}', "missing_text", r"there is no field text; did you mean txt\?"),
    "null text": (b'{"id": "bad", "text": null}', "null_text", "the field text is null"),
    "number for text": (b'{"id": "bad", "text": 7}', "wrong_type", "the field text is a number, not a text"),
    "list for text": (b'{"id": "bad", "text": ["x"]}', "wrong_type", "the field text is an array, not a text"),
    "object for id": (b'{"id": {}, "text": "x"}', "wrong_type", "an id is a text or a whole number"),
}


@pytest.mark.parametrize(("record", "reason", "told"), BAD_RECORDS.values(), ids=BAD_RECORDS)
def test_a_bad_record_is_named_and_its_neighbours_are_kept(folder: Path, record: bytes, reason: str, told: str) -> None:
    (folder / "data" / "b.jsonl").write_bytes(lines(*GOOD[:3], record, *GOOD[3:]))
    ended = gristmill("run", folder / "recipe.yaml")
    assert ended.code == 0
    assert re.search(rf"quarantined data/b\.jsonl:4: .*{told}", ended.out)
    assert kept(folder) == ALL_GOOD
    assert_counts_add_up(folder, records=10, quarantined=1)
    rejects = json.loads(gristmill("query", "FROM rejects", "--store", folder / "store", "--json").out)
    assert [(r["source"], r["file"], r["line"], r["reason"]) for r in rejects] == [("docs", "data/b.jsonl", 4, reason)]


def assert_counts_add_up(folder: Path, records: int, quarantined: int) -> None:
    """The last run's funnel agrees with what was put in, and with itself."""
    again = json.loads(gristmill("run", folder / "recipe.yaml", "--json").out)
    funnel = again["funnel"]
    assert (funnel["records"], funnel["quarantined"]) == (records, quarantined)
    assert funnel["records"] == funnel["documents"] + funnel["quarantined"]
    assert funnel["documents"] == funnel["kept"] + sum(rule["dropped"] for rule in funnel["rules"]) == len(kept(folder))


def test_metadata_of_another_type_is_named(folder: Path) -> None:
    years = [{**document, "year": 1990 + i} for i, document in enumerate(GOOD)]
    bad = {"id": "bad", "text": "x", "year": "MCMXC"}
    (folder / "data" / "b.jsonl").write_bytes(lines(*years[:3], bad, *years[3:]))
    ended = gristmill("run", folder / "recipe.yaml", "--set", "sources.docs.metadata={year: int}")
    assert ended.code == 0
    told = "the field year for column year is a text ('MCMXC'); a whole number of 64 bits was asked for"
    assert f"quarantined data/b.jsonl:4: {told}" in ended.out
    assert kept(folder) == ALL_GOOD


def test_bad_rows_of_parquet_are_named_by_row(folder: Path) -> None:
    texts = [document["text"].encode() for document in GOOD]
    texts[3:3] = [b"caf\xe9", None, b"a\0b"]
    ids = pa.array([*(d["id"] for d in GOOD[:3]), "x", "y", "z", *(d["id"] for d in GOOD[3:])])
    binary = pa.array(texts, pa.binary())
    pq.write_table(pa.table({"id": ids, "text": binary}), folder / "data" / "b.parquet", row_group_size=5)
    ended = gristmill("run", folder / "recipe.yaml", "--set", "sources.docs.part_bytes=1")
    assert ended.code == 0
    assert "data/b.parquet row 3: byte 3 of the text (0xe9) is not UTF-8" in ended.out
    assert "data/b.parquet row 4: the text is null" in ended.out
    assert "data/b.parquet row 5: the text has a NUL character (U+0000) at byte 1" in ended.out
    assert kept(folder) == ALL_GOOD


def test_bad_rows_of_a_table_are_named_by_line(folder: Path) -> None:
    (folder / "data" / "b.csv").write_bytes(b'id,text\ng1,"two\nlines"\nbad,one,too many\ng2,x\n')
    ended = gristmill("run", folder / "recipe.yaml")
    assert ended.code == 0
    assert "quarantined data/b.csv:4: this row has 3 cells, the header 2" in ended.out
    assert kept(folder) == ["g1", "g2", "neighbour"]


def test_bad_text_files_are_named(folder: Path) -> None:
    for name, content in {"good.txt": b"fine", "latin.txt": b"caf\xe9", "nul.txt": b"a\0b"}.items():
        (folder / "data" / name).write_bytes(content)
    ended = gristmill("run", folder / "recipe.yaml")
    assert ended.code == 0
    assert "quarantined data/latin.txt: byte 3 (0xe9) is not UTF-8" in ended.out
    assert "quarantined data/nul.txt: " in ended.out
    assert kept(folder) == ["data/good.txt", "neighbour"]


def test_a_document_of_50_megabytes_is_a_document(folder: Path) -> None:
    (folder / "data" / "b.jsonl").write_bytes(
        lines(*GOOD[:3], {"id": "large", "text": "word " * 10_000_000}, *GOOD[3:])
    )
    ended = gristmill("run", folder / "recipe.yaml", "--set", "decide=[gopher_rules]")
    assert ended.code == 0
    explained = json.loads(gristmill("explain", "large", "--store", folder / "store", "--json").out)[0]
    assert (explained["bytes"], explained["gopher_words"], explained["fates"][0]["kept"]) == (50_000_000, 10**7, False)


def test_a_document_over_the_limit_is_quarantined(folder: Path) -> None:
    (folder / "data" / "b.jsonl").write_bytes(lines(*GOOD[:3], {"id": "large", "text": "word " * 20_000}, *GOOD[3:]))
    ended = gristmill("run", folder / "recipe.yaml", "--set", "sources.docs.document_bytes=50KB")
    assert ended.code == 0
    assert re.search(r"data/b\.jsonl:4: .*more than document_bytes \(50,000\)", ended.out)
    assert kept(folder) == ALL_GOOD


EMPTY = {
    "empty file": ("b.jsonl", b""),
    "nothing but blank lines": ("b.jsonl", b"\n\n"),
    "empty gzip": ("b.jsonl.gz", gzip.compress(b"")),
    "empty array": ("b.json", b"[]"),
    "header alone": ("b.csv", b"id,text\n"),
}


@pytest.mark.parametrize(("name", "content"), EMPTY.values(), ids=EMPTY)
def test_an_empty_file_is_no_documents(folder: Path, name: str, content: bytes) -> None:
    (folder / "data" / name).write_bytes(content)
    assert gristmill("run", folder / "recipe.yaml").code == 0
    assert kept(folder) == ["neighbour"]


def test_an_empty_shard_is_no_documents(folder: Path) -> None:
    empty = pa.table({"id": pa.array([], pa.string()), "text": pa.array([], pa.string())})
    pq.write_table(empty, folder / "data" / "b.parquet")
    assert gristmill("run", folder / "recipe.yaml", "--set", "decide=[exact_dedup]").code == 0
    assert kept(folder) == ["neighbour"]


def test_nothing_but_empty_files_is_an_empty_dataset(folder: Path) -> None:
    (folder / "data" / "a.jsonl").write_bytes(b"")
    ended = gristmill("run", folder / "recipe.yaml", "--set", "decide=[gopher_rules, exact_dedup]")
    assert ended.code == 0
    assert kept(folder) == []


def test_repeated_ids_are_kept_and_named(folder: Path) -> None:
    again = {"id": "good-3", "text": "Another text of the same id."}
    (folder / "data" / "b.jsonl").write_bytes(lines(*GOOD, again))
    ended = gristmill("run", folder / "recipe.yaml")
    assert ended.code == 0
    assert "! 1 id stands for more than one document (good-3)" in ended.out
    assert kept(folder) == sorted([*ALL_GOOD, "good-3"])
    assert len(json.loads(gristmill("explain", "good-3", "--store", folder / "store", "--json").out)) == 2


def truncated(content: bytes) -> bytes:
    return gzip.compress(content, mtime=0)[:-20]


def parquet(**columns: list[Any]) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table(columns), sink)
    return bytes(sink.getvalue())


BAD_FILES = {
    "truncated gzip": ("b.jsonl.gz", truncated(lines(*GOOD)), "damaged or cut short", "fetch or write it again"),
    "no gzip": ("b.jsonl.gz", b"plain text", "but plain text", "rename it or fetch it again"),
    "cut Parquet": ("b.parquet", parquet(id=["x"], text=["y"])[:-9], "damaged or cut short", "fetch or write it again"),
    "Parquet without text": ("b.parquet", parquet(body=["x"], texts=["y"]), "no column text", "did you mean texts?"),
    "Parquet of numbers": ("b.parquet", parquet(id=["x"], text=[7]), "the column text is int64", "in the recipe"),
    "table without text": ("b.csv", b"id,body\nx,y\n", "no column text", "there is body, id"),
    "cut array": ("b.json", b'[{"text": "x"}, {"te', "not a whole JSON array", "write or fetch it again"),
}


@pytest.mark.parametrize(("name", "content", "told", "remedy"), BAD_FILES.values(), ids=BAD_FILES)
def test_an_unreadable_file_is_named_and_the_work_on_others_kept(
    folder: Path, name: str, content: bytes, told: str, remedy: str
) -> None:
    (folder / "data" / name).write_bytes(content)
    ended = gristmill("run", folder / "recipe.yaml")
    assert ended.code == 3
    assert_names(ended, f"data/{name}", told, remedy)
    assert not (folder / "store" / "datasets").exists()
    left_out = gristmill("run", folder / "recipe.yaml", "--set", "limits.unreadable_shards=1")
    assert left_out.code == 0
    assert f"left out: data/{name}" in left_out.out
    assert kept(folder) == ["neighbour"]
    (folder / "data" / name).unlink()
    mended = json.loads(gristmill("run", folder / "recipe.yaml", "--json").out)
    assert mended["measured_now"] == 0, "the good file was measured by the first run"


RULES = [
    {"drop": "gopher_words < quantile(0.5)"},
    "exact_dedup",
    {"fuzzy_dedup": {"verify": "text"}},
    "paragraph_dedup",
    {"select": {"by": "random", "fraction": 0.5}},
]


@pytest.mark.parametrize("rules", [RULES, [{"fuzzy_dedup": {"index": {"name": "seen"}}}]], ids=["rules", "index"])
def test_where_no_file_can_be_read_every_rule_has_nothing_to_do(
    tmp_path: Path, make_recipe: MakeRecipe, rules: list[Any]
) -> None:
    (tmp_path / "a.jsonl.gz").write_bytes(truncated(lines(*GOOD))[:30])
    source = {"name": "docs", "path": "a.jsonl.gz"}
    recipe = make_recipe(tmp_path, sources=[source], decide=rules, limits={"unreadable_shards": 1})
    for _ in range(2):
        ended = gristmill("run", recipe)
        assert (ended.code, "unexpected" in ended.err) == (0, False), ended.err
        assert "left out: a.jsonl.gz" in ended.out
        assert (tmp_path / "store" / "datasets" / "test" / "CURRENT").is_file()
        assert kept(tmp_path) == []


def assert_names(ended: Ended, file: str, told: str, remedy: str) -> None:
    warning = next(line for line in ended.err.splitlines() if line.startswith(f"! {file}"))
    assert told in warning
    assert remedy in warning
    assert "1 of 2 shards cannot be read" in ended.err


@pytest.fixture
def open_folder(make_recipe: MakeRecipe) -> Iterator[Path]:
    """A folder that every user may read and write, with a recipe and two good files."""
    with tempfile.TemporaryDirectory(prefix="gristmill-test-") as name:
        path = Path(name)
        make_recipe(path, sources=[{"name": "docs", "path": "data/*"}], write={"columns": ["id"]})
        (path / "data").mkdir()
        (path / "data" / "a.jsonl").write_bytes(lines({"id": "neighbour", "text": "This file is good."}))
        (path / "data" / "b.jsonl").write_bytes(lines(*GOOD))
        for entry in (path, path / "data"):
            entry.chmod(0o777)
        yield path


def test_a_file_without_permission_is_named(open_folder: Path) -> None:
    (open_folder / "data" / "b.jsonl").chmod(0)
    ended = as_nobody("run", "recipe.yaml", folder=open_folder)
    assert ended.code == 3
    assert_names(ended, "data/b.jsonl", "may not be read", "give this user the right to read it")
    (open_folder / "data" / "b.jsonl").chmod(0o644)
    again = as_nobody("run", "recipe.yaml", "--json", folder=open_folder)
    assert json.loads(again.out)["measured_now"] == 1
    assert kept(open_folder) == ALL_GOOD


def test_a_store_that_may_not_be_written_is_named(open_folder: Path) -> None:
    open_folder.chmod(0o555)
    ended = as_nobody("run", "recipe.yaml", folder=open_folder)
    assert ended.code == 1
    assert str(open_folder / "store") in ended.err
    assert "Permission denied" in ended.err
    open_folder.chmod(0o777)


def as_nobody(*arguments: str, folder: Path) -> Ended:
    """The command line in a process of a user with no rights to speak of."""
    command = [sys.executable, "-c", BECOME_NOBODY, *arguments]
    kernels = folder / "kernels"
    if not kernels.exists():  # it cannot reach those of this user, and would compile its own
        shutil.copytree(code_folder(), kernels)
        for path in (kernels, *kernels.rglob("*")):
            path.chmod(0o777)
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "NUMBA_CACHE_DIR": str(kernels)}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    assert "Traceback" not in done.stderr
    return Ended(done.returncode, done.stdout, done.stderr)


def test_a_source_that_matches_nothing_stops_the_run_before_it_starts(folder: Path) -> None:
    ended = gristmill("run", folder / "recipe.yaml", "--set", "sources.docs.path=dta/*.jsonl")
    assert ended.code == 2
    assert f"nothing matches {folder}/dta/*.jsonl; the folder {folder} holds" in ended.err
    assert "did you mean data?" in ended.err
    assert not (folder / "store").exists()


def test_too_many_bad_records_stop_the_run(folder: Path) -> None:
    (folder / "data" / "b.jsonl").write_bytes(lines(*GOOD[:2], *[{"txt": "x"}] * 9))
    ended = gristmill("run", folder / "recipe.yaml")
    assert ended.code == 1
    assert "9 of the 12 records of source docs are no documents" in ended.err
    assert "data/b.jsonl:3: there is no field text; did you mean txt? (9 such)" in ended.err
    assert kept(folder) == []
    assert gristmill("run", folder / "recipe.yaml", "--set", "limits.rejects=0.8").code == 0
    assert kept(folder) == ["good-0", "good-1", "neighbour"]


def test_lines_and_rows_count_from_the_start_of_a_file_that_is_read_in_parts(folder: Path) -> None:
    documents = [{"id": f"{i:03d}", "text": "x" * 50} for i in range(100)]
    content = lines(*documents[:70], b"broken", *documents[70:])
    (folder / "data" / "b.jsonl").write_bytes(content)
    ended = gristmill("run", folder / "recipe.yaml", "--set", "sources.docs.part_bytes=1000")
    assert ended.code == 0
    assert "quarantined data/b.jsonl:71: this is not JSON" in ended.out
    assert len(kept(folder)) == 101
    store = str(folder / "store")
    rejects = query(store, "SELECT file, line, file_row FROM quarantine").to_pylist()
    assert rejects == [{"file": "data/b.jsonl", "line": 71, "file_row": 70}]
    for i, row in [(0, 0), (69, 69), (70, 71), (99, 100)]:
        (found,) = explain(store, f"{i:03d}")
        assert (found["file"], found["row"]) == ("data/b.jsonl", row)


@pytest.mark.skipif(sys.platform != "linux", reason="other systems do not limit address space")
@pytest.mark.parametrize("command", ["plan", "run"])
def test_little_address_space_is_told_at_once(folder: Path, command: str) -> None:
    limited = f"ulimit -v 1048576; exec {sys.executable} -m gristmill {command} {folder / 'recipe.yaml'}"
    ended = subprocess.run(["bash", "-c", limited], cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert ended.returncode == 1
    assert "may take 1.1 GB of address space (`ulimit -v`), and needs 4.3 GB" in ended.stderr
    assert not (folder / "store").exists()
