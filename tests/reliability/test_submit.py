"""`gristmill submit` to real clusters with token authentication, as deploy/README.md has it."""

from __future__ import annotations

import os
import re
import secrets
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from gristmill.pipelines.engine.ray_data import COUNTED, STATES
from tests.deploy import dashboard
from tests.reliability.cluster import RAY, Head, added_node, started_head
from tests.reliability.command import PATIENCE, ROOT, gristmill, tree, wait_for
from tests.reliability.proxy import Proxy

pytestmark = pytest.mark.ray
INSTALLED = ("--env", f"PYTHONPATH={ROOT}")  # gristmill is on the nodes, as it is in an image


@pytest.fixture(scope="module")
def head() -> Iterator[Head]:
    with started_head() as head:
        yield head


def on_a_shared_disk(recipe: Path) -> tuple[str, ...]:
    """Options for a store and sources that nodes reach."""
    sources = f"sources.docs.path={recipe.parent}/data/docs-*"
    return ("--set", f"store={recipe.parent}/shared/store", "--set", sources)


def same_as_here(recipe: Path, command: str = "run", *options: str) -> bool:
    """Whether a run on this machine gives the versions that the job gave, to the byte."""
    folder, store = recipe.parent, recipe.parent / "store"
    gristmill(command, recipe, *on_a_shared_disk(recipe), "--set", f"store={store}", *options)
    here, there = ({**tree(place / "datasets" / "test")} for place in (store, folder / "shared" / "store"))
    return bool(here) and {**here, "marks.json": b""} == {**there, "marks.json": b""}  # which has the time


def test_a_night_as_a_job_gives_the_local_bytes_and_its_exit_code(
    head: Head, corpus: Path, make_recipe: Callable[..., Path]
) -> None:
    """One job that shows all: it is sent a file, it refuses a record, and a guard ends it with 5."""
    (corpus / "limits.yaml").write_text("by: lang\nminimum: {gopher_words: {en: 60, de: 50}}\n")
    with (corpus / "data" / "docs-9.jsonl").open("w") as file:
        file.write('{"id": "odd", "text": 7}\n')
    guards = {"kept": {"max": 0.1}}
    recipe = make_recipe(corpus, measure=["gopher"], decide=[{"thresholds": "limits.yaml"}], refresh={"guards": guards})
    night = ("--date", "2026-11-30")
    code, said = head.submit("--refresh", recipe, *on_a_shared_disk(recipe), *INSTALLED, "--", *night)
    assert code == 5, said
    assert said.splitlines()[-1].endswith("ended with exit code 5")
    assert same_as_here(recipe, "refresh", *night)
    for line in ("sent     recipe.yaml, limits.yaml (", "measure  5 shards in ", "kept "):
        assert line in said
    assert f"! not sent: {corpus}/shared/store, {corpus}/data/docs-*; each node" in said
    assert len(said.splitlines()) < 60, said
    assert "Traceback" not in said
    assert "Deprecat" not in said
    assert head.raylets() == 1, "the job started a second cluster"
    assert head.environment["RAY_AUTH_TOKEN"] not in said
    figures = dict(re.findall(r'^ray_gristmill_(\w+)_total\{.*stage="measure"\} (\S+)$', head.figures(), re.M))
    assert {*figures} == {*COUNTED}
    until = time.monotonic() + 60  # a node tells of itself every few seconds
    while left := dashboard.figures() - dashboard.PASSING - {*re.findall(r"^(\w+)\{", head.figures(), re.M)}:
        assert time.monotonic() < until, left
        time.sleep(1)
    assert [float(figures[name]) for name in ("steps", "documents", "quarantined")] == [5, 400, 1]

    stranger = replace(head, environment={**head.environment, "RAY_AUTH_TOKEN": secrets.token_hex(32)})
    code, said = stranger.submit(recipe, *on_a_shared_disk(recipe))
    assert code == 1
    assert "refuses this user's token" in said


@pytest.mark.slow
def test_ctrl_c_leaves_the_job_running(head: Head, recipe: Path) -> None:
    process = head.start(recipe, *on_a_shared_disk(recipe), *INSTALLED)
    wait_for(recipe.parent / "shared" / "store", "measures/*/0*.parquet", process, 5 * PATIENCE)
    while not (figures := {*re.findall(r"^ray_gristmill_(\w+)\{", head.figures(), re.M)}) >= {*STATES}:
        assert process.poll() is None, f"the run is over, and there were only {figures}"
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    said, _ = process.communicate(timeout=5 * PATIENCE)
    assert process.returncode == 130, said
    job = re.search(r"detached: the job (\w+) goes on", said)
    assert job is not None, said
    assert f"  follow ray job logs --follow {job[1]} --address {head.dashboard}" in said
    followed = head.ray("logs", "--follow", job[1])
    assert "dataset  " in followed, followed
    assert same_as_here(recipe)


@pytest.mark.slow
def test_a_connection_that_breaks_costs_nothing_of_the_log(head: Head, recipe: Path) -> None:
    with Proxy(head.dashboard) as proxy:
        process = replace(head, dashboard=proxy.address).start(recipe, *on_a_shared_disk(recipe), *INSTALLED)
        wait_for(recipe.parent / "shared" / "store", "measures/*/0*.parquet", process, 5 * PATIENCE)
        proxy.cut()
        said, _ = process.communicate(timeout=5 * PATIENCE)
    assert process.returncode == 0, said
    assert proxy.cuts > 0
    assert said.count("Running entrypoint for job") == 1
    assert said.count("dataset  ") == 1


@pytest.mark.slow
def test_a_wheel_of_this_checkout_is_installed_on_the_nodes(head: Head, recipe: Path) -> None:
    """The nodes compile the kernels of what they are sent: that is what this takes long for."""
    code, said = head.submit(recipe, *on_a_shared_disk(recipe), "--wheel")
    assert code == 0, said
    assert same_as_here(recipe)


@pytest.mark.slow
def test_a_node_killed_in_the_middle_does_not_show(recipe: Path) -> None:
    with started_head(cpus=1) as head, added_node(head, cpus=2) as node:
        process = head.start(recipe, *on_a_shared_disk(recipe), *INSTALLED)
        wait_for(recipe.parent / "shared" / "store", "measures/*/0*.parquet", process, 5 * PATIENCE)
        os.killpg(node.pid, signal.SIGKILL)
        node.wait(PATIENCE)
        said, _ = process.communicate(timeout=5 * PATIENCE)
        assert process.returncode == 0, said
        alive = subprocess.run(
            [RAY, "list", "nodes", "--address", head.dashboard], env=head.environment, capture_output=True, text=True
        )
        assert "DEAD" in alive.stdout, alive
    assert same_as_here(recipe)
