"""Sources and store on a real S3 server (moto, on loopback): the same datasets as on a local disk."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner, Result

from gristmill import api
from gristmill.operators.errors import StoreLocked
from gristmill.pipelines.cli.main import app
from gristmill.pipelines.sources.listing import discover_files
from gristmill.pipelines.storage import files
from gristmill.pipelines.store.lock import writer_lock
from tests.reliability.command import gristmill, start, tree
from tests.reliability.object_store import bucket
from tests.support import make_documents, write_jsonl

SECRET = "an-example-of-a-secret-access-key"
BUCKET = "s3://curation"


@pytest.fixture(scope="module")
def server() -> Iterator[dict[str, str]]:
    """An S3 server for this module; the environment that reaches it, which is set in this process too."""
    with bucket(BUCKET) as (_, environment):
        yield environment


@pytest.fixture
def recipe(corpus: Path, make_recipe: Callable[..., Path]) -> Path:
    """A smaller corpus than for other tests of this folder: every file is a request."""
    write_jsonl(corpus / "target" / "t.jsonl", make_documents(40, seed=7))
    measure = ["gopher", {"importance": {"target": "target/*", "buckets": 4096}}]
    decide = [{"exact_dedup": {"keep": "best: importance"}}, {"select": {"by": "importance", "documents": 200}}]
    return make_recipe(corpus, measure=measure, decide=decide, write={"shard_bytes": "40KB"})


@pytest.fixture
def on_s3(server: dict[str, str], recipe: Path) -> Iterator[Path]:
    """The recipe with sources, target and store in a bucket, emptied afterwards."""
    fs, _ = files.filesystem(BUCKET)
    for folder in ("data", "target"):
        fs.put(str(recipe.parent / folder), f"{BUCKET}/{folder}", recursive=True)
    held: dict[str, Any] = yaml.safe_load(recipe.read_text())
    held["store"] = f"{BUCKET}/store"
    held["sources"][0]["path"] = f"{BUCKET}/data/docs-*"
    held["measure"][1]["importance"]["target"] = f"{BUCKET}/target/*"
    path = recipe.with_name("on-s3.yaml")
    path.write_text(yaml.safe_dump(held, sort_keys=False))
    yield path
    fs.invalidate_cache()
    fs.rm([f"{BUCKET}/{name}" for name in files.names(BUCKET)], recursive=True)


def in_process(*arguments: str) -> Result:
    """A command in this process, which has loaded what a new one would have to."""
    return CliRunner().invoke(app, arguments)


def downloaded(folder: Path) -> Path:
    """A copy of the store on the local disk."""
    fs, _ = files.filesystem(BUCKET)
    fs.invalidate_cache()
    fs.get(f"{BUCKET}/store", str(folder), recursive=True)
    return folder


def without_places(manifest: bytes) -> dict[str, Any]:
    """A manifest but for the recipe, which says where things lie, and the seal over it."""
    return {key: value for key, value in json.loads(manifest).items() if key not in ("recipe", "seal")}


def test_the_dataset_is_that_of_a_local_run(recipe: Path, on_s3: Path, tmp_path: Path) -> None:
    assert gristmill("run", recipe)[0] == 0
    code, _, err = gristmill("run", on_s3)
    assert code == 0, err
    store = downloaded(tmp_path / "downloaded")
    local, remote = tree(recipe.parent / "store" / "datasets"), tree(store / "datasets")
    assert list(local) == list(remote), "the version has the same name"
    for name, content in local.items():
        if name.endswith("manifest.json"):
            assert without_places(remote[name]) == without_places(content)
        else:
            assert remote[name] == content
    assert not any(SECRET.encode() in content for content in tree(store).values())
    assert not (store / "LOCK").exists()

    code, out, err = gristmill("run", on_s3, "--json")
    assert code == 0, err
    assert json.loads(out)["cached"] is True
    code, out, err = gristmill("plan", on_s3)
    assert code == 0, err
    code, out, err = gristmill("explain", "doc-0-00009", "--store", f"{BUCKET}/store")
    assert code == 0, err
    assert "dropped by exact_dedup as a duplicate of doc-0-00008" in out
    code, out, err = gristmill("query", "SELECT count(*) AS n FROM test", "--store", f"{BUCKET}/store", "--json")
    assert code == 0, err
    assert json.loads(out) == [{"n": 200}]


def test_nights_on_an_object_store_are_read_together(server: dict[str, str], tmp_path: Path) -> None:
    fs, _ = files.filesystem(BUCKET)
    recipe = {
        "version": 1,
        "name": "web",
        "store": f"{BUCKET}/nights",
        "sources": [{"name": "docs", "path": f"{BUCKET}/in/*"}],
        "decide": [{"fuzzy_dedup": {"index": {"name": "web"}}}],
        "write": {"columns": ["id", "text"]},
    }
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    expected: set[str] = set()
    for night in range(3):
        documents = [{**row, "id": f"{night}-{row['id']}"} for row in make_documents(20, seed=night)]
        write_jsonl(tmp_path / "docs.jsonl", documents)
        fs.put(str(tmp_path / "docs.jsonl"), f"{BUCKET}/in/{night}.jsonl")
        result = api.run(str(tmp_path / "recipe.yaml"))
        assert result.whole == len(expected) + result.funnel.kept
        dataset = api.open_dataset(f"{BUCKET}/nights/datasets/web")
        ids = dataset.arrow().to_table()["id"].to_pylist()
        assert len(ids) == len({*ids}) == result.whole
        assert expected < {*ids}
        expected = {*ids}
    found = api.query(f"{BUCKET}/nights", "SELECT count(*) AS n, count(DISTINCT id) AS ids FROM web").to_pylist()
    assert found == [{"n": len(expected), "ids": len(expected)}]
    listed = [file.url.removeprefix("s3://") for file in discover_files(f"{BUCKET}/nights/datasets/web")]
    assert sorted(listed) == sorted(path.removeprefix("s3://") for path in dataset.paths)
    assert {id for (id,) in dataset.duckdb().project("id").fetchall()} == expected
    assert {*dataset.stream("id", seed=1).iterate()} == expected
    assert len({url.rsplit("/", 1)[0] for url in listed}) == 3
    fs.rm([f"{BUCKET}/nights", f"{BUCKET}/in"], recursive=True)


@pytest.mark.slow
def test_a_killed_run_leaves_no_half_object_and_completes(recipe: Path, on_s3: Path, tmp_path: Path) -> None:
    process = start("run", on_s3)
    until = time.monotonic() + 60
    while not files.names(f"{BUCKET}/store/measures") and time.monotonic() < until:
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    for name in (name for name in tree(downloaded(tmp_path / "killed")) if name.endswith(".parquet")):
        files.read_table(str(tmp_path / "killed" / name))
    code, _, err = gristmill("run", on_s3)
    assert code == 0, err
    assert gristmill("run", recipe)[0] == 0
    remote, local = tree(downloaded(tmp_path / "done") / "datasets"), tree(recipe.parent / "store" / "datasets")
    assert {n: c for n, c in remote.items() if n.endswith(".parquet")} == {
        n: c for n, c in local.items() if n.endswith(".parquet")
    }


def test_credentials_may_come_from_a_profile(on_s3: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    profiles = tmp_path / "aws"
    profiles.write_text(f"[curation]\naws_access_key_id = AKIDOFATEST\naws_secret_access_key = {SECRET}\n")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    profile = {"AWS_PROFILE": "curation", "AWS_SHARED_CREDENTIALS_FILE": str(profiles)}
    code, _, err = gristmill("plan", on_s3, env=profile)
    assert code == 0, err
    assert gristmill("plan", on_s3, env={**profile, "AWS_PROFILE": "nobody"})[0] != 0


def test_the_lock_is_exclusive(on_s3: Path) -> None:
    store = f"{BUCKET}/store"
    with writer_lock(store):
        with pytest.raises(StoreLocked, match="the store is in use"), writer_lock(store):
            pytest.fail("two writers at once")
        code, _, err = gristmill("run", on_s3)
        assert code == 4
        assert "the store is in use" in err
    assert "LOCK" not in files.names(store)


@pytest.mark.slow
def test_a_server_that_does_not_answer_is_a_clear_error(recipe: Path, server: dict[str, str]) -> None:
    nowhere = {"AWS_ENDPOINT_URL": "http://127.0.0.1:9"}
    code, _, err = gristmill("run", recipe, "--set", f"store={BUCKET}/store", env=nowhere)
    assert code == 1
    assert f"{BUCKET}/store" in err
    assert "cannot be reached" in err
    assert "tried 8 times" in err
    assert "Traceback" not in err
    assert "unexpected" not in err


def test_a_bucket_that_is_not_there_is_a_clear_error(on_s3: Path) -> None:
    code, _, err = gristmill("run", on_s3, "--set", "store=s3://no-such-bucket/store")
    assert code == 1
    assert "s3://no-such-bucket/store/LOCK/00000001 cannot be written" in err
    assert "Traceback" not in err


def test_a_source_in_a_bucket_that_is_not_there_is_a_mistake_of_the_recipe(on_s3: Path) -> None:
    code, _, err = gristmill("run", on_s3, "--set", "sources.docs.path=s3://curatoin/data/docs-*")
    assert code == 2
    assert "sources.docs.path" in err
    assert "nothing matches s3://curatoin/data/docs-*; there is no bucket curatoin; did you mean curation?" in err


def test_a_recipe_for_a_bucket_is_drafted_and_the_bucket_is_checked(
    on_s3: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "new").mkdir()
    monkeypatch.chdir(tmp_path / "new")
    drafted = in_process("init", f"{BUCKET}/data", "--yes")
    assert drafted.exit_code == 0, drafted.output
    held = yaml.safe_load(Path("recipe.yaml").read_text())
    assert held["sources"][0]["path"] == f"{BUCKET}/data"
    ran = in_process("run", "recipe.yaml", "--set", f"store={BUCKET}/store", "--quiet")
    assert ran.exit_code == 0, ran.output
    missing = in_process("init", f"{BUCKET}/dta", "--yes", "--out", "other.yaml")
    assert missing.exit_code == 2
    assert "nothing matches s3://curation/dta" in missing.output
    checked = {
        check["name"]: check["state"]
        for check in json.loads(in_process("doctor", "--store", f"{BUCKET}/store", "--json").stdout)
    }
    assert checked["exclusive creation"] == checked["clock"] == "ok"
    elsewhere = in_process("doctor", "--store", "s3://no-such-bucket/store")
    assert elsewhere.exit_code == 1
    assert "Create the bucket, or correct the store's URL" in " ".join(elsewhere.output.split())
